"""Dual encoders: the option whose text lies nearest to the image. CLIP, SigLIP, OpenCLIP, BioCLIP and their like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from commandline import InputError, first_line
from evaluation.asks import Answer, Ask, failed
from evaluation.backends.identity import Identity, of_model
from evaluation.config import AskConfig, ZeroShotConfig
from hooks import load
from hooks.inputs import to_model
from hooks.loading import Loaded
from hooks.openclip import HUB, is_open_clip
from taxonomy.pictures import UnreadableImage, read

if TYPE_CHECKING:
    from PIL import Image


TEMPLATES = {
    "plain": ("{}",),
    "photo": ("a photo of a {}.",),
    "ensemble": (
        "{}",
        "a photo of a {}.",
        "a photo of the {}.",
        "a close-up photo of a {}.",
        "a blurry photo of a {}.",
        "a photo of a large {}.",
        "a photo of a small {}.",
    ),
}


@dataclass(frozen=True, eq=False)
class DualEncoder:
    """Images and texts in one space. Built by `DualEncoder.of`."""

    loaded: Loaded
    templates: tuple[str, ...]
    batch_size: int
    tokenize: Any
    """list of texts -> the text tower's inputs, padded as the model was trained."""
    _texts: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, loaded: Loaded, templates: Sequence[str], batch_size: int = 32) -> DualEncoder:
        """Raises InputError for a model without a text tower."""
        if is_open_clip(loaded.source):
            return cls(loaded, tuple(templates), batch_size, _open_clip_tokens(loaded.source))
        if loaded.tokenizer is None or not hasattr(loaded.model, "get_text_features"):
            raise InputError(f"{loaded.source} encodes images and no text, so there is nothing to compare them with")
        return cls(loaded, tuple(templates), batch_size, _tokens(loaded))

    @property
    def scale(self) -> float:
        """What a cosine is multiplied by to be a logit."""
        return float(self.loaded.model.logit_scale.float().exp())  # pyright: ignore

    @property
    def offset(self) -> float:
        """What is added to it (SigLIP)."""
        bias = getattr(self.loaded.model, "logit_bias", None)
        return 0.0 if bias is None else float(bias)

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """float32 (image, feature) of length 1."""
        inputs = to_model(self.loaded.model, dict(self.loaded.processor(images=list(pictures), return_tensors="pt")))
        model: Any = self.loaded.model
        found = model.encode_image(inputs["image"]) if "image" in inputs else model.get_image_features(**inputs)
        return normalize(_tensor(found).float(), dim=-1)

    @torch.inference_mode()
    def names(self, names: Sequence[str]) -> Tensor:
        """float32 (name, feature) of length 1: the mean of the templates' unit features, made a unit again (Radford et
        al. 2021, arXiv 2103.00020, section 3.1.4). Each name is encoded once."""
        new = [name for name in dict.fromkeys(names) if name not in self._texts]
        step = max(1, self.batch_size // len(self.templates))
        for at in range(0, len(new), step):
            some = new[at : at + step]
            texts = [template.format(name) for name in some for template in self.templates]
            inputs = to_model(self.loaded.model, self.tokenize(texts))
            model: Any = self.loaded.model
            found = model.encode_text(inputs["text"]) if "text" in inputs else model.get_text_features(**inputs)
            units = normalize(_tensor(found).float(), dim=-1).unflatten(0, (len(some), len(self.templates)))
            self._texts.update(zip(some, normalize(units.mean(1), dim=-1), strict=True))
        return torch.stack([self._texts[name] for name in names])

    def logits(self, images: Tensor, names: Sequence[str]) -> Tensor:
        """float32 (image, name) from image features: as the model's own `logits_per_image`."""
        return images @ self.names(names).T * self.scale + self.offset

    def read(self, paths: Sequence[Path]) -> tuple[list[int], list[Image.Image], dict[int, str]]:
        """The places and pictures of the files that can be read, and why the others cannot, by place."""
        places, pictures, broken = [], [], {}
        for place, path in enumerate(paths):
            try:
                pictures.append(read(path))
                places.append(place)
            except UnreadableImage as error:
                broken[place] = str(error)
        return places, pictures, broken


@dataclass(frozen=True, eq=False)
class DualEncoderBackend:
    """Answers with the letter of the option nearest to the image; it reads the options' names and no text."""

    encoder: DualEncoder

    @classmethod
    def of(cls, config: AskConfig) -> DualEncoderBackend:
        return cls(open_encoder(config))

    @property
    def identity(self) -> Identity:
        return identity(self.encoder)

    def answer(self, groups: Sequence[Sequence[Ask]]) -> Iterator[Answer]:
        """Answers to the asks of some images; letter logits are the scaled similarities, as the model gives them."""
        size = self.encoder.batch_size
        for at in range(0, len(groups), size):
            some = groups[at : at + size]
            places, pictures, broken = self.encoder.read([group[0].image or Path() for group in some])
            for place, why in broken.items():
                yield from (failed(ask, why) for ask in some[place])
            if places:
                features = self.encoder.images(pictures)
                for place, image in zip(places, features, strict=True):
                    yield from (self._one(ask, image) for ask in some[place])

    def _one(self, ask: Ask, image: Tensor) -> Answer:
        logits = self.encoder.logits(image[None], ask.options)[0].cpu().numpy().astype(np.float32)
        return Answer(ask.key, ask.letters[int(logits.argmax())], logits)


def open_encoder(config: AskConfig | ZeroShotConfig) -> DualEncoder:
    """Load the encoder that the settings name. Raises InputError."""
    loaded = load(
        config.model,
        config.device,
        config.dtype,
        revision=config.revision,
        random_init=config.random_init,
        trust_remote_code=config.trust_remote_code,
    )
    return DualEncoder.of(loaded, TEMPLATES[config.templates], config.batch_size)


def identity(encoder: DualEncoder) -> Identity:
    """Everything about an encoder that its answers depend on."""
    return {"backend": "dual_encoder", **of_model(encoder.loaded), "templates": " | ".join(encoder.templates)}


def _tokens(loaded: Loaded) -> Any:
    """Padded to the text tower's full length: SigLIP reads its last place and was trained so, and CLIP's earlier places
    cannot see what stands behind them."""
    config: Any = loaded.model.config
    text = getattr(config, "text_config", config)
    length = text.max_position_embeddings

    def tokenize(texts: Sequence[str]) -> dict[str, Tensor]:
        return dict(
            loaded.processor(
                text=list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            )
        )

    return tokenize


def _open_clip_tokens(source: str) -> Any:
    import open_clip  # pyright: ignore[reportMissingImports]

    name = source if source.startswith(HUB) else f"local-dir:{source}"
    try:
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"{source}: open_clip has no tokenizer for it: {first_line(error)}") from error
    return lambda texts: {"text": tokenizer(list(texts))}


def _tensor(found: Any) -> Tensor:
    return found if isinstance(found, Tensor) else found.pooler_output
