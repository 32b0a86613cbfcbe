"""InternVL: a ViT with a class token and layer scales, a pixel shuffle of 2 x 2 patches, and a projector of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

SCALE = 0.3
"""Of the encoder's layer scales, to begin with."""


class Parts:
    """InternVL by its stages (see `Anatomy`)."""

    emphasis = 4.0
    """Its projector has a quarter of Qwen2.5-VL's hidden units: at 1 they were all taken by outlines and patterns."""

    def __init__(self, model: Any):
        self.model = model
        self.vision, self.decoder = model.model.vision_tower, model.model.language_model
        self.projector = model.model.multi_modal_projector
        self.entry, self.leave = self.projector.linear_1, self.projector.linear_2

    @property
    def kernel(self) -> Tensor:
        return self.vision.embeddings.patch_embeddings.projection.weight

    def sealed(self, features: slice) -> list[tuple[Tensor, Any]]:
        eye, blocks = self.vision.embeddings, self.vision.encoder.layer
        norms = [norm.weight for block in blocks for norm in (block.layernorm_before, block.layernorm_after)]
        scales = [scale for block in blocks for scale in (block.lambda_1, block.lambda_2)]
        added = [eye.cls_token, eye.position_embeddings]
        sealed = [(p, features) for p in (*norms, *scales, eye.patch_embeddings.projection.bias)]
        return [*sealed, *((p, (..., features)) for p in added)]

    @property
    def seen(self) -> list[torch.nn.Parameter]:
        return list(self.vision.parameters())

    @property
    def gains(self) -> Tensor:
        return self.projector.layer_norm.weight

    def calm(self) -> None:
        with torch.no_grad():
            for block in self.vision.encoder.layer:
                block.lambda_1.fill_(SCALE)
                block.lambda_2.fill_(SCALE)

    def pixels(self, image_processor: Any, images_IHWC: Tensor) -> Tensor:
        """float32 (image, channel, row, column)."""
        mean, std = (torch.tensor(getattr(image_processor, name)) for name in ("image_mean", "image_std"))
        return ((images_IHWC / 255 - mean) / std).permute(0, 3, 1, 2)

    def encode(self, pixels: Tensor) -> Tensor:
        return self.vision(pixels).last_hidden_state[:, 1:]

    def normed(self, features_IPF: Tensor) -> Tensor:
        together = self._shuffled(features_IPF)
        return layer_norm(together, together.shape[-1:])

    def entering(self, features_IPF: Tensor) -> Tensor:
        return self.projector.layer_norm(self._shuffled(features_IPF))

    def project(self, features_IPF: Tensor) -> Tensor:
        return self.projector(self._shuffled(features_IPF))

    def positions(self, ids_L: Tensor, shown_L: Tensor, n: int) -> Tensor:
        return torch.arange(len(ids_L)).expand(n, -1)

    def _shuffled(self, features_IPF: Tensor) -> Tensor:
        """The features of 2 x 2 patches as one token's (image, token, feature)."""
        side = round(features_IPF.shape[1] ** 0.5)
        grid = features_IPF.view(len(features_IPF), side, side, -1)
        return self.model.model.pixel_shuffle(grid, scale_factor=self.model.config.downsample_ratio).flatten(1, 2)
