"""OpenCLIP checkpoints, through the open_clip library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commandline import InputError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from PIL import Image
    from torch import Tensor, nn

HUB = "hf-hub:"
_SETTINGS = "open_clip_config.json"


def is_open_clip(source: str) -> bool:
    """Whether open_clip is to load it: `hf-hub:owner/name`, or a directory that only open_clip knows."""
    folder = Path(source)
    return source.startswith(HUB) or ((folder / _SETTINGS).is_file() and not (folder / "config.json").is_file())


@dataclass(frozen=True)
class OpenClipSettings:
    """A checkpoint's open_clip_config.json, in the place of a transformers configuration."""

    values: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return dict(self.values)


@dataclass(frozen=True)
class OpenClipProcessor:
    """The checkpoint's own image transform, called like an image processor of transformers."""

    transform: Callable[[Image.Image], Tensor]

    def __call__(self, images: Sequence[Image.Image], return_tensors: str = "pt") -> dict[str, Tensor]:
        import torch

        return {"image": torch.stack([self.transform(image) for image in images])}

    def to_dict(self) -> dict[str, Any]:
        return {"transform": repr(self.transform)}


def load_open_clip(
    source: str, dtype: torch.dtype | None, random_init: bool, seed: int
) -> tuple[nn.Module, OpenClipProcessor]:
    """The model and what makes its inputs; `dtype` None is float32.

    Raises:
        InputError: open_clip is not installed, or cannot load the checkpoint.
    """
    import torch

    try:
        import open_clip  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # a torchvision of another build raises the latter
        raise InputError(
            f"{source} is an OpenCLIP checkpoint, and open_clip cannot be imported ({first_line(error)}); "
            "pip install 'taxoprobe[clip]'"
        ) from error
    name = source if source.startswith(HUB) else f"local-dir:{source}"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if random_init:
                model, _, transform = open_clip.create_model_and_transforms(name, load_weights=False)
            else:
                model, transform = open_clip.create_model_from_pretrained(name)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"{source}: open_clip cannot load it: {first_line(error)}") from error
    model.config = OpenClipSettings(_settings(source))
    return (model if dtype is None else model.to(dtype)), OpenClipProcessor(transform)


def _settings(source: str) -> dict[str, Any]:
    if source.startswith(HUB):
        from huggingface_hub import hf_hub_download

        return json.loads(Path(hf_hub_download(source.removeprefix(HUB), _SETTINGS)).read_text())
    return json.loads((Path(source) / _SETTINGS).read_text())
