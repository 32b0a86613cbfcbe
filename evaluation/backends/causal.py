"""Ask a language model without vision: by text alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain

from commandline import InputError
from evaluation.asks import Answer, Ask, failed
from evaluation.backends.answering import Answering, Throughput, check_answers, measured
from evaluation.backends.identity import Identity, identity
from evaluation.backends.letters import Letters
from evaluation.backends.prefix import Sharing
from evaluation.backends.rendering import renderer
from hooks.loading import Loaded


class CausalBackend:
    """Any causal language model that `hooks.load` loads, through its chat template, or by the plain text without one.

    A vision-language model's own language model is asked through `VisionLanguageBackend`, by asks without an image.
    """

    def __init__(self, loaded: Loaded, batch_size: int = 32, share: bool = True):
        """
        Args:
            batch_size: prompts in a forward, at most; fewer where memory runs out.
            share: False gives every prompt a forward of its own.

        Raises:
            InputError: the model is no causal language model, or does not answer a question.
        """
        if loaded.kind != "text":
            raise InputError(f"{loaded.source} is no causal language model; ask it with images, or by text, as it is")
        self._loaded, self._share = loaded, share
        self._renderer = renderer(None, loaded.tokenizer, loaded.model.config, None)
        self._answering = Answering(loaded.model, Letters(loaded.tokenizer), batch_size, 1)
        if self.sharing.manner is None:
            check_answers(self._answering, self._renderer.samples()[0])

    @property
    def throughput(self) -> Throughput:
        """Of all answers so far."""
        return self._answering.throughput

    @property
    def identity(self) -> Identity:
        """What the answers depend on."""
        return identity("causal", self._loaded, self._renderer, self.sharing)

    @cached_property
    def sharing(self) -> Sharing:
        """How prompts share their beginning, as measured."""
        return measured(self._loaded.model, self._renderer.samples()) if self._share else Sharing.no("not asked for")

    def answer(self, groups: Sequence[Sequence[Ask]]) -> Iterator[Answer]:
        """Answers to asks without an image, in any order; one with an image, or too long, is answered by an error."""
        asks = list(chain.from_iterable(groups))
        yield from (failed(ask, "this model sees no images; ask by text alone") for ask in asks if ask.image)
        prompts, refused = self._renderer.render([ask for ask in asks if not ask.image])
        yield from (failed(ask, why) for ask, why in refused)
        yield from self._answering.answer([prompts], self.sharing)
