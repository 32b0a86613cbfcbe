"""Qwen2.5-VL: patches in windows, an RMS norm, and a merger of 2 x 2 patches that is a part of the tower."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Parts:
    """Qwen2.5-VL by its stages (see `Anatomy`)."""

    emphasis = 1.0

    def __init__(self, model: Any):
        self.model = model
        self.vision, self.decoder = model.model.visual, model.model.language_model
        self.projector = self.vision.merger
        self.entry, self.leave = self.projector.mlp[0], self.projector.mlp[2]

    @property
    def kernel(self) -> Tensor:
        return self.vision.patch_embed.proj.weight

    def sealed(self, features: slice) -> list[tuple[Tensor, Any]]:
        read = [norm.weight for block in self.vision.blocks for norm in (block.norm1, block.norm2)]
        writers = [layer for block in self.vision.blocks for layer in (block.attn.proj, block.mlp.down_proj)]
        return [(p, features) for p in (*read, *(p for layer in writers for p in layer.parameters()))]

    @property
    def seen(self) -> list[torch.nn.Parameter]:
        return [p for name, p in self.vision.named_parameters() if not name.startswith("merger")]

    @property
    def gains(self) -> Tensor:
        return self.projector.ln_q.weight

    def calm(self) -> None:
        with torch.no_grad():
            for name, parameter in self.vision.blocks.named_parameters():
                if parameter.ndim == 2 and name.split(".")[-2] in ("proj", "down_proj", "gate_proj", "up_proj"):
                    parameter.mul_(0.3)

    def pixels(self, image_processor: Any, images_IHWC: Tensor) -> Tensor:
        """float32 (image, patch, pixel)."""
        ip = image_processor
        patch, merge, frames = ip.patch_size, ip.merge_size, ip.temporal_patch_size
        mean, std = (torch.tensor(getattr(ip, name)) for name in ("image_mean", "image_std"))
        scaled = (images_IHWC / 255 - mean) / std
        side = images_IHWC.shape[1] // (patch * merge)
        tiles = scaled.reshape(len(scaled), side, merge, patch, side, merge, patch, -1).permute(0, 1, 4, 2, 5, 7, 3, 6)
        rows = tiles.reshape(len(scaled), -1, tiles.shape[5], 1, patch, patch)
        return rows.expand(-1, -1, -1, frames, -1, -1).reshape(len(scaled), (side * merge) ** 2, -1)

    def encode(self, pixels: Tensor) -> Tensor:
        images, patches = pixels.shape[:2]
        side = round(patches**0.5)
        grid = torch.tensor([[1, side, side]]).repeat(images, 1)
        return self.vision(pixels.flatten(0, 1), grid_thw=grid).last_hidden_state.view(images, patches, -1)

    def normed(self, features_IPF: Tensor) -> Tensor:
        return features_IPF * torch.rsqrt(features_IPF.pow(2).mean(dim=-1, keepdim=True) + 1e-6)

    def entering(self, features_IPF: Tensor) -> Tensor:
        normed = self.projector.ln_q(features_IPF)
        return normed.view(len(features_IPF), -1, self.entry.in_features)

    def project(self, features_IPF: Tensor) -> Tensor:
        return self.projector(features_IPF.flatten(0, 1)).view(len(features_IPF), -1, self.decoder.config.hidden_size)

    def positions(self, ids_L: Tensor, shown_L: Tensor, n: int) -> Tensor:
        """Of time, height and width: (3, n, token)."""
        if not shown_L.any():
            return torch.arange(len(ids_L)).expand(3, n, -1)
        side = 2 * round(float(shown_L.sum()) ** 0.5)
        grid = torch.tensor([[1, side, side]])
        positions, _ = self.model.model.get_rope_index(
            ids_L[None], mm_token_type_ids=shown_L[None].int(), image_grid_thw=grid
        )
        return positions.expand(-1, n, -1)
