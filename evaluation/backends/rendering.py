"""From an ask to what the model's forward takes: its own chat template, the image first and processed once a group."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError
from torch import Tensor

from commandline import InputError, first_line
from evaluation.asks import Ask
from hooks.encoding import encode

if TYPE_CHECKING:
    from PIL.Image import Image

_SYSTEM, _QUESTION = "Reply tersely.", "Which of the two is it?"
_SAMPLES = (
    "What is this?\n\nA. a bird\nB. a plant",
    "What is this?\n\nA. something else\nB. a bird\nC. a plant",
    "What bird?",
)
_CONTEXT = 24
"""Characters of the question that are looked at, with what the template adds, to see which tokens say a letter."""


@dataclass(frozen=True)
class Prompt:
    """One ask as the model reads it."""

    ask: Ask
    inputs: dict[str, Tensor]
    """The forward's inputs, one sample."""
    image_end: int
    """How many first tokens hold the whole image; 0 without an image or a place for it."""
    before: str
    """The end of the text that stands before the answer."""

    @property
    def length(self) -> int:
        """Tokens."""
        return self.inputs["input_ids"].shape[1]


@dataclass(frozen=True)
class Renderer:
    """Renders asks by a model's processor (images and text) or tokenizer (text alone).

    Without a chat template, the prompt is the image's placeholder followed by the plain text.
    """

    processor: Any
    """transformers' processor, or None for a language model without vision."""
    tokenizer: Any
    image_ids: frozenset[int] = frozenset()
    """The tokens that stand for an image."""
    system_turn: bool = True
    """Whether the template has a place for a system message; otherwise that goes before the question."""
    tail: str = ""
    """What the template adds after the question."""
    limit: int | None = None
    """How many tokens the model reads at most."""

    def render(self, asks: Sequence[Ask], image: Image | None = None) -> tuple[list[Prompt], list[tuple[Ask, str]]]:
        """The prompts, and the asks that have none with the reason. The image is processed once."""
        prompts: list[Prompt] = []
        refused: list[tuple[Ask, str]] = []
        with _processed_once(self.processor):
            for ask in asks:
                try:
                    prompts.append(self._prompt(ask, image))
                except InputError as error:
                    refused.append((ask, str(error)))
                except TemplateError as error:
                    refused.append((ask, f"the chat template does not take this message: {first_line(error)}"))
        return prompts, refused

    def samples(self, image: Image | None = None) -> list[Prompt]:
        """Short questions of different lengths, to try a model on. Raises InputError where they have no prompt."""
        prompts, refused = self.render([Ask(text, None, text, ("A", "B")) for text in _SAMPLES], image)
        if refused:
            raise InputError(f"{type(self.processor or self.tokenizer).__name__} takes no question: {refused[0][1]}")
        return prompts

    def _prompt(self, ask: Ask, image: Image | None) -> Prompt:
        ask = ask if self.system_turn or ask.system is None else replace(ask, text=f"{ask.system}\n\n{ask.text}")
        system = ask.system if self.system_turn else None
        inputs = self._text(ask.text, system) if image is None else encode(self.processor, image, ask.text, system)
        if "input_ids" not in inputs:
            raise InputError(f"{type(self.processor).__name__} makes no input_ids of a question, so it is not asked")
        inputs = {name: value for name, value in inputs.items() if name != "labels"}  # for training only
        ids = inputs["input_ids"][0].tolist()
        room = len(ids) + ask.max_new_tokens
        if self.limit and room > self.limit:
            raise InputError(
                f"the prompt takes {len(ids)} tokens and up to {ask.max_new_tokens} are to follow, but the model reads "
                f"at most {self.limit}; shorten the prompt or lower max_pixels"
            )
        end = (
            0 if image is None else max((at + 1 for at, token in enumerate(ids) if token in self.image_ids), default=0)
        )
        # Without a template the processor may add an end of its own.
        before = ask.text[-_CONTEXT:] + self.tail if self.template else self.tokenizer.decode(ids[-8:])
        return Prompt(ask, inputs, end, before)

    def _text(self, text: str, system: str | None) -> dict[str, Tensor]:
        rendered = self._rendered(text, system)
        # Templates differ in whether they write the first token; a tokenizer that adds it would add a second one.
        first = self.tokenizer.bos_token
        options = {
            "return_tensors": "pt",
            "add_special_tokens": not (self.template and first and rendered.startswith(first)),
        }
        if self.processor is not None:
            try:
                return dict(self.processor(text=[rendered], **options))
            except (ValueError, TypeError, AttributeError, IndexError, KeyError):
                pass  # it wants an image; the text alone is the tokenizer's
        encoded = self.tokenizer([rendered], **options)
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}

    def _rendered(self, text: str, system: str | None = None) -> str:
        if not self.template:
            if system is not None:
                raise InputError("there is no chat template for a system turn to go into")
            return text
        last: Exception | None = None
        for wrap in (lambda said: [{"type": "text", "text": said}], str) if self.processor is not None else (str,):
            turns = [{"role": "system", "content": wrap(system)}] if system is not None else []
            turns.append({"role": "user", "content": wrap(text)})
            try:
                rendered = self._owner.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            except Exception as error:  # a template raises what it likes, jinja's own errors among them
                last = error
                continue
            # One made for plain text prints the parts of a message as they stand.
            if (
                text.strip() in rendered
                and "{'type'" not in rendered
                and (system is None or system.strip() in rendered)
            ):
                return rendered
        raise InputError(
            f"the chat template does not take this message: {first_line(last) if last else 'it changes its text'}"
        )

    @property
    def template(self) -> str | None:
        """The chat template."""
        found = getattr(self._owner, "chat_template", None)
        return str(found) if found else None

    @property
    def _owner(self) -> Any:
        return self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer


def renderer(processor: Any, tokenizer: Any, config: Any, image: Image | None) -> Renderer:
    """The renderer of a model; `image` is any picture, by which the placeholders are found (None: text alone).

    Raises InputError for a processor or template that takes no question.
    """
    limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    made = Renderer(processor, tokenizer, limit=limit if isinstance(limit, int) and limit > 0 else None)
    try:
        made._rendered(_QUESTION, _SYSTEM)
    except InputError:
        made = replace(made, system_turn=False)
    rendered = made._rendered(_QUESTION)
    made = replace(made, tail=rendered[rendered.rindex(_QUESTION) + len(_QUESTION) :])
    if image is None:
        return made
    seen, unseen = (set(made.samples(picture)[0].inputs["input_ids"][0].tolist()) for picture in (image, None))
    named = {
        getattr(owner, name, None)
        for owner in (processor, tokenizer, config)
        for name in ("image_token_id", "image_id")
    }
    return replace(made, image_ids=frozenset((seen & named) or (seen - unseen)))


class _Once:
    """An image processor that does not process the picture it has just processed a second time."""

    def __init__(self, processor: Any):
        self._processor, self._key, self._images, self._result = processor, None, None, None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        images = kwargs.get("images", args[0] if args else None)
        rest = {name: value for name, value in kwargs.items() if name != "images"}
        key = ([id(image) for image in _leaves(images)], repr(args[1:]), repr(sorted(rest.items())))
        if key != self._key:
            # The images are kept so that no other takes their id.
            self._result, self._key, self._images = self._processor(*args, **kwargs), key, images
        return copy.copy(self._result)  # processors take entries out of it

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)


def _leaves(images: Any) -> list[Any]:
    return [leaf for part in images for leaf in _leaves(part)] if isinstance(images, (list, tuple)) else [images]


@contextmanager
def _processed_once(processor: Any) -> Iterator[None]:
    own = getattr(processor, "image_processor", None)
    if own is None:
        yield
        return
    processor.image_processor = _Once(own)
    try:
        yield
    finally:
        processor.image_processor = own
