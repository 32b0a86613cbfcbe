"""The model's own answers while something is erased at one of its sites.

The edit acts on every visual token, in the forward that reads the question: each prompt is a forward of its own, image
and all, through `hooks.edit`. Nothing is taken from a cache that was filled without the edit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from commandline import InputError
from evaluation.asks import Answer, Ask, failed
from evaluation.backends.batches import halving
from evaluation.backends.identity import identity
from evaluation.backends.letters import Letters
from evaluation.backends.prefix import Sharing
from evaluation.backends.rendering import Prompt, renderer
from hooks import edit, find_sites
from hooks.editing import Edit
from hooks.fingerprints import weights_hash
from hooks.inputs import collate, signature
from hooks.loading import Loaded
from taxonomy.pictures import UnreadableImage, read


class ErasingBackend:
    """A vision-language model that answers with the first token, less what `functions` take away."""

    def __init__(self, loaded: Loaded, batch_size: int, picture: Any):
        """
        Args:
            batch_size: prompts in a forward, at most; only those of equal shapes go together.
            picture: any image, by which the model's sites are found.

        Raises:
            InputError: a model that takes no image, or no question.
        """
        if loaded.kind != "image-text" or loaded.tokenizer is None:
            raise InputError(f"{loaded.source} does not answer questions on images; give an image-text-to-text model")
        self.loaded, self.functions = loaded, {}
        self._rows = batch_size
        self._renderer = renderer(loaded.processor, loaded.tokenizer, loaded.model.config, picture)
        self._letters = Letters(loaded.tokenizer)
        self.sites = find_sites(loaded.model, self._renderer.samples(picture)[0].inputs)

    functions: Mapping[str, Edit]
    """{site: what replaces its rows}; none: the model as it is."""

    @property
    def identity(self) -> dict[str, Any]:
        """What the answers depend on, the edit left out: it is a setting of the run."""
        return identity("erasing", self.loaded, self._renderer, Sharing.no("every prompt takes an edited forward"))

    def answer(self, groups: Sequence[Sequence[Ask]]) -> Iterator[Answer]:
        """Answers to the asks of some images, each group of one image, in any order."""
        alike: dict[Any, list[Prompt]] = {}
        for group in groups:
            if not group:
                continue
            path = group[0].image
            assert path is not None
            try:
                image = read(path)
            except UnreadableImage as error:
                yield from (failed(ask, str(error)) for ask in group)
                continue
            prompts, refused = self._renderer.render(group, image)
            yield from (failed(ask, why) for ask, why in refused)
            for prompt in prompts:
                alike.setdefault(signature(prompt.inputs), []).append(prompt)
        for prompts in alike.values():
            for start in range(0, len(prompts), size := self._rows):
                yield from halving(self._answers, prompts[start : start + size], self._too_large, self._at_most)

    def _answers(self, prompts: Sequence[Prompt]) -> list[Answer]:
        inputs = collate([prompt.inputs for prompt in prompts])
        edited = edit(self.loaded.model, inputs, self.functions, self.sites, read=())
        logits = edited.logits[:, -1].float().cpu()
        return [self._said(*pair) for pair in zip(prompts, logits, strict=True)]

    def _said(self, prompt: Prompt, logits: torch.Tensor) -> Answer:
        text = self._letters.tokenizer.decode([int(logits.argmax())], skip_special_tokens=True)
        try:
            scores = self._letters.logits(logits, prompt.ask.letters, prompt.before).numpy()
        except InputError:  # the reply says something all the same
            scores = None
        return Answer(prompt.ask.key, text, scores, prompt.length, 1)

    def _too_large(self, prompt: Prompt, error: Exception) -> list[Answer]:
        return [failed(prompt.ask, "out of memory with this question alone; use a larger device")]

    def _at_most(self, size: int) -> None:
        self._rows = min(self._rows, size)


def require_same_model(loaded: Loaded, store: Mapping[str, Any]) -> None:
    """Raise InputError where a store's activations are not of this model. store: its attributes."""
    told = store.get("model") or {}
    if told.get("weights_hash") not in (None, weights_hash(loaded.model)):
        raise InputError(
            f"{loaded.source} does not have the weights that the store was made with ({told.get('id')}, "
            f"{told.get('dtype')}), and a subspace of one model means nothing in another; give that --model and --dtype"
        )
