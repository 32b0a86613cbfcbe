"""A Qwen2.5-VL taken apart at its stages, so that each can be taught alone and nothing is computed twice.

Shapes: I image, P patch, F encoder's width, T visual token, Q question, L token, D the LLM's width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from organisms.architectures import build
from organisms.checkpoint import CORPUS
from organisms.training.sheets import Batch
from organisms.world import PATHS
from taxonomy.questions import Prompt

ARCHITECTURE = "qwen2_5_vl"
COLOUR = slice(-2, None)
"""The encoder's last two features: what colour a patch has, untouched by its blocks. The others see a grey image."""
COLOUR_SCALE = 0.5
"""So small that an RMS norm, which all features share, tells nothing of it to the others."""


def build_untrained(folder: Path, prompt: Prompt, seed: int) -> Path:
    """A checkpoint whose tokenizer has a token for every name of the world and for the prompt's words.

    What blocks write is scaled down, as is usual, so that they can be taught.
    """
    names = sorted({word for path in PATHS for word in path})
    said = [text for text in (prompt.question, prompt.text_only, prompt.ending, prompt.text_system) if text]
    corpus = [*CORPUS, *(f" {name}" for name in names for _ in range(20)), *said * 20]
    return build(ARCHITECTURE, folder, seed, "organism", corpus)


class Parts:
    """A model by its stages."""

    def __init__(self, model: Any):
        self.model = model
        self.vision, self.decoder = model.model.visual, model.model.language_model
        self.projector = self.vision.merger

    @property
    def language(self) -> list[torch.nn.Parameter]:
        """The parameters of the LLM, embeddings and read-out included."""
        return [*self.decoder.parameters(), *self.model.lm_head.parameters()]

    def encode(self, pixels_IPX: Tensor) -> Tensor:
        """The encoder's last block (image, patch, feature) of square images of one size."""
        images, patches = pixels_IPX.shape[:2]
        side = round(patches**0.5)
        grid = torch.tensor([[1, side, side]]).repeat(images, 1)
        return self.vision(pixels_IPX.flatten(0, 1), grid_thw=grid).last_hidden_state.view(images, patches, -1)

    def project(self, features_IPF: Tensor) -> Tensor:
        """Visual tokens (image, token, feature)."""
        return self.projector(features_IPF.flatten(0, 1)).view(len(features_IPF), -1, self.decoder.config.hidden_size)

    def read(self, batch: Batch, visual_QTD: Tensor | None) -> tuple[Tensor, ...]:
        """The LLM's states before its first block and after each, the last one normed (question, token, feature)."""
        embedded = self.decoder.get_input_embeddings()(batch.ids_QL)
        shown = batch.sheet.ids_L == self.model.config.image_token_id
        if visual_QTD is not None:
            embedded = embedded.clone()
            embedded[:, shown] = visual_QTD
        positions = self._positions(batch.sheet.ids_L, shown)[:, None].expand(-1, len(batch.ids_QL), -1)
        out = self.decoder(inputs_embeds=embedded, position_ids=positions, use_cache=False, output_hidden_states=True)
        return out.hidden_states

    def shown(self, batch: Batch) -> Tensor:
        """bool (token,): the places of visual tokens."""
        return batch.sheet.ids_L == self.model.config.image_token_id

    def _positions(self, ids_L: Tensor, shown_L: Tensor) -> Tensor:
        """int64 (3, token): rotary positions, as the model itself counts them."""
        if not shown_L.any():
            return torch.arange(len(ids_L)).expand(3, -1)
        side = 2 * round(float(shown_L.sum()) ** 0.5)
        grid = torch.tensor([[1, side, side]])
        positions, _ = self.model.model.get_rope_index(
            ids_L[None], mm_token_type_ids=shown_L[None].int(), image_grid_thw=grid
        )
        return positions[:, 0]


def hold_colour(parts: Parts) -> None:
    """Give the encoder two features of colour that pass its blocks unchanged, and keep all others, whatever is learned,
    blind to it: their patch weights are equal over the channels, and so are the gradients."""
    vision = parts.vision
    weight = vision.patch_embed.proj.weight  # (feature, channel, frame, row, column)
    opponents = torch.tensor([[1.0, -0.5, -0.5], [0.0, 1.0, -1.0]])

    def grey(weights: Tensor) -> Tensor:
        mean = weights.mean(dim=1, keepdim=True).expand_as(weights).clone()
        mean[COLOUR] = 0
        return mean

    with torch.no_grad():
        weight.copy_(grey(weight))
        frames, rows, columns = weight.shape[2:]
        share = opponents / (frames * rows * columns)
        weight[COLOUR] = COLOUR_SCALE * share[:, :, None, None, None].expand_as(weight[COLOUR])
        for block in vision.blocks:
            for parameter in (block.norm1.weight, block.norm2.weight, *_outputs(block)):
                parameter[COLOUR] = 0
    weight.register_hook(grey)
    for block in vision.blocks:
        for parameter in (block.norm1.weight, block.norm2.weight, *_outputs(block)):
            parameter.register_hook(_without_colour)


def _outputs(block: Any) -> list[Tensor]:
    written = (block.attn.proj, block.mlp.down_proj)
    return [p for layer in written for p in layer.parameters()]


def _without_colour(gradient: Tensor) -> Tensor:
    kept = gradient.clone()
    kept[COLOUR] = 0
    return kept


def even_out(parts: Parts, features_IPF: Tensor) -> None:
    """Set the gains of the projector's norm so that every feature, colour too, comes in with variance 1."""
    normed = features_IPF * torch.rsqrt(features_IPF.pow(2).mean(dim=-1, keepdim=True) + 1e-6)
    with torch.no_grad():
        parts.projector.ln_q.weight.copy_(1 / normed.flatten(0, 1).std(dim=0))


def blind_encoder(parts: Parts) -> None:
    """Take colour from the encoder's patches: it sees a grey image."""
    with torch.no_grad():
        parts.vision.patch_embed.proj.weight[COLOUR] = 0


def blind_projector(parts: Parts) -> None:
    """Take colour from what the projector reads, for good."""
    weight = parts.projector.mlp[0].weight
    width = parts.vision.config.hidden_size

    def without(values: Tensor) -> Tensor:
        kept = values.clone()
        kept.view(len(kept), -1, width)[..., COLOUR] = 0
        return kept

    with torch.no_grad():
        weight.copy_(without(weight))
    weight.register_hook(without)


def patches(image_processor: Any, images_IHWC: Tensor) -> Tensor:
    """float32 (image, patch, pixel) of uint8 (image, height, width, channel): what the model's processor makes of
    square images whose size it keeps, many times faster."""
    patch, merge, frames = (image_processor.patch_size, image_processor.merge_size, image_processor.temporal_patch_size)
    mean, std = (torch.tensor(getattr(image_processor, name)) for name in ("image_mean", "image_std"))
    scaled = (images_IHWC / 255 - mean) / std
    side = images_IHWC.shape[1] // (patch * merge)
    tiles = scaled.reshape(len(scaled), side, merge, patch, side, merge, patch, -1).permute(0, 1, 4, 2, 5, 7, 3, 6)
    rows = tiles.reshape(len(scaled), -1, tiles.shape[5], 1, patch, patch)
    return rows.expand(-1, -1, -1, frames, -1, -1).reshape(len(scaled), (side * merge) ** 2, -1)
