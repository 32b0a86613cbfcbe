"""Likeness between images and names, and between names, by an encoder of transformers.

The one module of this package that needs torch, imported when it is used. Nothing here reads a model's insides, so it
goes without `hooks`, which stands on this package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from commandline import InputError, first_line
from taxonomy.images import ImageSet
from taxonomy.questions.distractors import Similarity
from taxonomy.tree import Taxonomy

if TYPE_CHECKING:
    import torch
    from PIL import Image


PHOTO, BARE = "a photo of a {}.", "{}"
BATCH = 32
POOLINGS = ("mean", "cls", "lasttoken", "max")


@dataclass(frozen=True)
class Encoder:
    """A dual encoder of images and texts (CLIP, SigLIP, ...), or an encoder of texts."""

    source: str
    model: Any
    tokenizer: Any
    images_to_pixels: Any
    """The image processor; None for an encoder of texts."""
    pooling: str
    """How an encoder of texts makes one vector of a text: one of `POOLINGS`."""

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return self.images_to_pixels is not None

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (text, feature), of unit length."""
        return np.concatenate([self._texts(list(texts[k : k + BATCH])) for k in range(0, len(texts), BATCH)])

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """float32 (image, feature), of unit length."""
        import torch

        with torch.inference_mode():
            pixels = self.images_to_pixels(images=list(images), return_tensors="pt").to(self.model.device)
            return _unit(_pooled(self.model.get_image_features(**pixels)))

    def _texts(self, texts: list[str]) -> np.ndarray:
        import torch

        settings: dict[str, Any] = {"padding": True}
        if self.sees and self.model.config.model_type.startswith("siglip"):  # trained on padded texts, without a mask
            settings = {"padding": "max_length", "return_attention_mask": False}
        room = getattr(self.model.config, "text_config", self.model.config).max_position_embeddings
        with torch.inference_mode():
            inputs = self.tokenizer(texts, truncation=True, max_length=room, return_tensors="pt", **settings)
            inputs = inputs.to(self.model.device)
            if self.sees:
                return _unit(_pooled(self.model.get_text_features(**inputs)))
            states = self.model(**inputs).last_hidden_state
            return _unit(_one_vector(states, inputs["attention_mask"], self.pooling))


def load_encoder(source: str, device: str = "auto", revision: str | None = None) -> Encoder:
    """A dual encoder or a sentence encoder: a directory of `save_pretrained`, or a hub id. float32.

    A sentence encoder pools as its `1_Pooling/config.json` (sentence-transformers) says, by the mean where it has none.
    Raises InputError for what cannot be loaded or embeds otherwise.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        model = AutoModel.from_pretrained(source, revision=revision, dtype=torch.float32).to(where).eval()
        sees = hasattr(model, "get_image_features") and hasattr(model, "get_text_features")
        processor = AutoImageProcessor.from_pretrained(source, revision=revision) if sees else None
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"the encoder {source} cannot be loaded: {first_line(error)}") from error
    return Encoder(source, model, tokenizer, processor, "" if sees else _pooling(source, revision))


def to_images(encoder: Encoder, images: ImageSet, template: str, names: Sequence[Sequence[str]]) -> Similarity:
    """Cosines between each image and the names of a level. Every image is encoded here, once.

    names: of the nodes of each level, as they are shown. Raises InputError for an image that cannot be read.
    """
    if not encoder.sees:
        raise InputError(f"{encoder.source} encodes no images; compare names with --similar_to=name, or take a SigLIP")
    vectors = np.concatenate([encoder.encode_images(batch) for batch in _batches(images)])
    texts = [encoder.encode_texts([_put(template, name) for name in level]) for level in names]
    return lambda level, truth, rows: vectors[rows] @ texts[level].T


def to_names(encoder: Encoder, template: str, names: Sequence[Sequence[str]]) -> Similarity:
    """Cosines between the right name and every name of its level. names: as in `to_images`."""
    texts = [encoder.encode_texts([_put(template, name) for name in level]) for level in names]
    return lambda level, truth, rows: texts[level][truth : truth + 1] @ texts[level].T


def shown_names(taxonomy: Taxonomy, lower: bool) -> list[list[str]]:
    """The names of each level's nodes as they are shown."""
    return [[name.lower() if lower else name for name in taxonomy.names(level)] for level in taxonomy.levels]


def _put(template: str, name: str) -> str:
    return template.replace("{}", name)


def _batches(images: ImageSet) -> Iterator[list[Image.Image]]:
    from tqdm import tqdm

    from taxonomy.pictures import UnreadableImage, decode

    with tqdm(total=len(images), desc="images encoded", unit="image") as bar:
        for start in range(0, len(images), BATCH):
            batch = []
            for index in range(start, min(start + BATCH, len(images))):
                try:
                    batch.append(decode(images.read(index)))
                except (OSError, UnreadableImage) as error:
                    raise InputError(f"the image {images.ids[index]!r} cannot be read: {first_line(error)}") from error
            yield batch
            bar.update(len(batch))


def _pooling(source: str, revision: str | None) -> str:
    """How a sentence-transformers checkpoint makes one vector of a text."""
    modules = [module["type"].rsplit(".", 1)[-1] for module in _json(source, revision, "modules.json") or []]
    if more := sorted(set(modules) - {"Transformer", "Pooling", "Normalize"}):
        raise InputError(f"the encoder {source} has {', '.join(more)} after its pooling, which is not read here")
    settings = _json(source, revision, "1_Pooling/config.json") or {"pooling_mode": "mean"}
    keys = [settings.get("pooling_mode"), *(key.split("_")[2] for key, on in settings.items() if on is True)]
    chosen = [key for key in keys if key in POOLINGS]
    if len(chosen) != 1:
        raise InputError(f"the encoder {source} pools its tokens in a way not known here: {settings}")
    return chosen[0]


def _json(source: str, revision: str | None, file: str) -> Any:
    from pathlib import Path

    from transformers.utils.hub import cached_file

    found = cached_file(source, file, revision=revision, _raise_exceptions_for_missing_entries=False)
    return None if found is None else json.loads(Path(found).read_text(encoding="utf-8"))


def _one_vector(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """(text, feature) of (text, token, feature)."""
    import torch

    there = mask[..., None].bool()
    if pooling == "mean":
        return (states * there).sum(dim=1) / there.sum(dim=1)
    if pooling == "max":
        return states.masked_fill(~there, -torch.inf).amax(dim=1)
    places = mask.cumsum(dim=1)
    place = (places == (1 if pooling == "cls" else places[:, -1:])).int().argmax(dim=1)
    return states[torch.arange(len(states)), place]


def _pooled(output: Any) -> torch.Tensor:
    """The shared space's vectors: transformers 5 returns them as `pooler_output`."""
    return getattr(output, "pooler_output", output)


def _unit(vectors: torch.Tensor) -> np.ndarray:
    import torch

    return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
