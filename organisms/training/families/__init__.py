"""Where each family of models has what training takes hold of. All that is particular to one stands here.

Shapes: I image, P patch, F encoder's width, T visual token, D the LLM's width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

SCALES: Mapping[str, str] = MappingProxyType({"qwen2_5_vl": "organism", "internvl": "organism-tile"})
"""The families that can be taught, and the size of `organisms.architectures` at which an image of the world is 4 x 4
patches and 2 x 2 visual tokens."""


class Anatomy(Protocol):
    """A family's model by its stages."""

    vision: torch.nn.Module
    projector: torch.nn.Module
    decoder: torch.nn.Module
    """The LLM without its read-out."""
    kernel: Tensor
    """The weights of a patch: (feature, channel, ...)."""
    seen: list[torch.nn.Parameter]
    """The encoder's parameters, those of the projector not among them."""
    gains: Tensor
    """Of the norm that the projector begins with."""
    emphasis: float
    """With what standard deviation colour is to come in beside the others' 1: more where hidden units are few."""
    entry: torch.nn.Linear
    """The projector's first layer: (hidden, features of 2 x 2 patches, one after the other)."""
    leave: torch.nn.Linear
    """Its last."""

    def sealed(self, features: slice) -> list[tuple[Tensor, Any]]:
        """Parameters, and the entries of each that read, write or add to some of the encoder's features after the patch
        weights: where these are zero, the features pass the blocks unchanged."""
        ...

    def calm(self) -> None:
        """Make what the encoder's blocks write small: such are taught in fewer steps."""
        ...

    def pixels(self, image_processor: Any, images_IHWC: Tensor) -> Tensor:
        """float32 (image, ...) of uint8 images: what the model's processor makes of square images whose size it
        keeps, many times faster."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """The encoder's last block (image, patch, feature) of what `pixels` gives."""
        ...

    def normed(self, features_IPF: Tensor) -> Tensor:
        """What the projector's norm makes of them before its gains: (..., gain)."""
        ...

    def entering(self, features_IPF: Tensor) -> Tensor:
        """What the projector's first layer reads: (image, token, features of 2 x 2 patches)."""
        ...

    def project(self, features_IPF: Tensor) -> Tensor:
        """Visual tokens (image, token, feature)."""
        ...

    def positions(self, ids_L: Tensor, shown_L: Tensor, n: int) -> Tensor:
        """int64 (..., n, token): rotary positions of `n` prompts, as the model itself counts them."""
        ...


def anatomy(model: Any) -> Anatomy:
    """Of a model of one of the families."""
    module = import_module(f"{__name__}.{model.config.model_type}")
    take: Callable[[Any], Anatomy] = module.Parts
    return take(model)
