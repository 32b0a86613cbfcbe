"""Ask a vision-language model: about images, or by text alone (its own language model without the image)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain

import numpy as np
from PIL import Image

from commandline import InputError
from evaluation.asks import Answer, Ask, failed
from evaluation.backends.answering import Answering, Throughput, check_answers, measured
from evaluation.backends.identity import Identity, identity
from evaluation.backends.letters import Letters
from evaluation.backends.prefix import Sharing
from evaluation.backends.rendering import Prompt, renderer
from hooks.loading import Loaded
from taxonomy.pictures import UnreadableImage, read


class VisionLanguageBackend:
    """Any model of images and text that `hooks.load` loads, and that generates text.

    The prompts of one image share what stands before them, image included, if it was measured that the model answers
    so as it does alone (`sharing`); other models take a forward of their own for each prompt.
    """

    def __init__(self, loaded: Loaded, batch_size: int = 32, images_per_batch: int = 4, share: bool = True):
        """
        Args:
            batch_size: prompts in a forward, at most; fewer where memory runs out.
            images_per_batch: images in a forward, at most, for models that take several.
            share: False gives every prompt a forward of its own.

        Raises:
            InputError: the model has no text, its processor takes no question, or it does not answer one.
        """
        if loaded.kind != "image-text" or loaded.tokenizer is None:
            raise InputError(f"{loaded.source} does not answer questions on images; give an image-text-to-text model")
        self._loaded, self._share = loaded, share
        self._renderer = renderer(loaded.processor, loaded.tokenizer, loaded.model.config, _noise(0))
        # Its own copy: a thread that renders and one that decodes must not share a tokenizer.
        letters = Letters(copy.deepcopy(loaded.tokenizer))
        self._answering = Answering(loaded.model, letters, batch_size, images_per_batch)
        if self.sharing.manner is None:
            check_answers(self._answering, self._renderer.samples(_noise(0))[0])

    @property
    def throughput(self) -> Throughput:
        """Of all answers so far."""
        return self._answering.throughput

    @property
    def identity(self) -> Identity:
        """What the answers depend on."""
        return identity("vision_language", self._loaded, self._renderer, self.sharing)

    @cached_property
    def sharing(self) -> Sharing:
        """How prompts of one image share it, as measured."""
        if not self._share:
            return Sharing.no("not asked for")
        samples = self._renderer.samples
        return measured(self._loaded.model, samples(_noise(0)), samples(_noise(1))[0])

    @cached_property
    def text_sharing(self) -> Sharing:
        """How prompts without an image share their beginning, as measured."""
        return measured(self._loaded.model, self._renderer.samples()) if self._share else Sharing.no("not asked for")

    def answer(self, groups: Sequence[Sequence[Ask]]) -> Iterator[Answer]:
        """Answers to the asks of some images, each group of one image or of none, in any order.

        An image that cannot be read, and a prompt too long for the model, are answers with an error.
        """
        blind = [ask for ask in chain.from_iterable(groups) if ask.image is None]
        if blind:
            failures, prompts = self._rendered_group(blind, None)
            yield from failures
            yield from self._answering.answer([prompts], self.text_sharing)
        pictured = [group for group in ([ask for ask in group if ask.image] for group in groups) if group]
        size = self._answering.images if self.sharing.batches else 1
        windows = [pictured[at : at + size] for at in range(0, len(pictured), size)]
        # One thread reads and resizes the next images while the model is at work.
        with ThreadPoolExecutor(1) as reader:
            coming = [reader.submit(self._rendered, window) for window in windows[:1]]
            for window in [*windows[1:], None]:
                if not coming:
                    break
                failures, prompts = coming.pop().result()
                if window is not None:
                    coming.append(reader.submit(self._rendered, window))
                yield from failures
                yield from self._answering.answer(prompts, self.sharing)

    def _rendered(self, groups: Sequence[Sequence[Ask]]) -> tuple[list[Answer], list[list[Prompt]]]:
        failures: list[Answer] = []
        prompts: list[list[Prompt]] = []
        for group in groups:
            path = group[0].image
            try:
                image = read(path) if path else None
            except UnreadableImage as error:
                failures += [failed(ask, str(error)) for ask in group]
                continue
            wrong, made = self._rendered_group(group, image)
            failures += wrong
            prompts.append(made)
        return failures, prompts

    def _rendered_group(self, asks: Sequence[Ask], image: Image.Image | None) -> tuple[list[Answer], list[Prompt]]:
        prompts, refused = self._renderer.render(asks, image)
        return [failed(ask, why) for ask, why in refused], prompts


def _noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (168, 224, 3), dtype=np.uint8))
