"""A model taken apart at its stages, so that each can be taught alone and nothing is computed twice.

Shapes: I image, P patch, F encoder's width, T visual token, Q question, L token, D the LLM's width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from organisms.architectures import build
from organisms.checkpoint import CORPUS
from organisms.training.families import SCALES, anatomy
from organisms.training.sheets import Batch
from organisms.world import PATHS
from taxonomy.questions import Prompt

COLOUR = slice(-2, None)
"""The encoder's last two features: what colour a patch has, untouched by its blocks. The others see a grey image."""
COLOUR_SCALE = 0.5
"""So small that a norm, which all features share, tells nothing of it to the others."""


def build_untrained(folder: Path, architecture: str, prompt: Prompt, seed: int) -> Path:
    """A checkpoint whose tokenizer has a token for every name of the world and for the prompt's words.

    What blocks write is scaled down, as is usual, so that they can be taught.
    """
    names = sorted({word for path in PATHS for word in path})
    said = [text for text in (prompt.question, prompt.text_only, prompt.ending, prompt.text_system) if text]
    corpus = [*CORPUS, *(f" {name}" for name in names for _ in range(20)), *said * 20]
    return build(architecture, folder, seed, SCALES[architecture], corpus)


class Parts:
    """A model by its stages, whatever family it is of."""

    def __init__(self, model: Any):
        self.model, self.anatomy = model, anatomy(model)

    @property
    def language(self) -> list[torch.nn.Parameter]:
        """The parameters of the LLM, embeddings and read-out included."""
        return [*self.anatomy.decoder.parameters(), *self.model.lm_head.parameters()]

    @property
    def width(self) -> int:
        """Features of the encoder."""
        return self.model.config.vision_config.hidden_size

    def read(self, batch: Batch, visual_QTD: Tensor | None) -> tuple[Tensor, ...]:
        """The LLM's states before its first block and after each, the last one normed (question, token, feature)."""
        decoder: Any = self.anatomy.decoder
        embedded = decoder.get_input_embeddings()(batch.ids_QL)
        shown = self.shown(batch)
        if visual_QTD is not None:
            embedded = embedded.clone()
            embedded[:, shown] = visual_QTD
        positions = self.anatomy.positions(batch.sheet.ids_L, shown, len(batch.ids_QL))
        out = decoder(inputs_embeds=embedded, position_ids=positions, use_cache=False, output_hidden_states=True)
        return out.hidden_states

    def shown(self, batch: Batch) -> Tensor:
        """bool (token,): the places of visual tokens."""
        return batch.sheet.ids_L == self.model.config.image_token_id


def hold(parameter: Tensor, entries: Any, value: Tensor | float | None = None) -> None:
    """Keep some entries of a parameter out of training: at `value`, or as they are."""

    def without(gradient: Tensor) -> Tensor:
        kept = gradient.clone()
        kept[entries] = 0
        return kept

    if value is not None:
        with torch.no_grad():
            parameter[entries] = value
    parameter.register_hook(without)


def hold_colour(parts: Parts) -> None:
    """Give the encoder two features of colour that pass its blocks unchanged, and keep all others, whatever is learned,
    blind to it: their patch weights are equal over the channels, and so are the gradients."""
    weight = parts.anatomy.kernel
    opponents = torch.tensor([[1.0, -0.5, -0.5], [0.0, 1.0, -1.0]])

    def grey(weights: Tensor) -> Tensor:
        mean = weights.mean(dim=1, keepdim=True).expand_as(weights).clone()
        mean[COLOUR] = 0
        return mean

    with torch.no_grad():
        weight.copy_(grey(weight))
        share = opponents / weight[0, 0].numel()
        weight[COLOUR] = COLOUR_SCALE * share.view(*share.shape, *[1] * (weight.ndim - 2)).expand_as(weight[COLOUR])
    weight.register_hook(grey)
    for parameter, colour in parts.anatomy.sealed(COLOUR):
        hold(parameter, colour, 0)


def even_out(parts: Parts, features_IPF: Tensor) -> None:
    """Set the gains of the projector's norm so that features come in with variance 1, colour with its emphasis."""
    anatomy, normed = parts.anatomy, parts.anatomy.normed(features_IPF)
    with torch.no_grad():
        anatomy.gains.copy_(1 / normed.flatten(0, 1).std(dim=0))
        anatomy.gains.view(-1, parts.width)[:, COLOUR] *= anatomy.emphasis


def blind_encoder(parts: Parts) -> None:
    """Take colour from the encoder's patches: it sees a grey image."""
    with torch.no_grad():
        parts.anatomy.kernel[COLOUR] = 0


def blind_projector(parts: Parts) -> None:
    """Take colour from what the projector reads, for good."""
    weight = parts.anatomy.entry.weight
    hold(weight, (slice(None), colour_read(parts)), 0)


def colour_read(parts: Parts) -> Tensor:
    """int64 (patch of a token, colour): what the projector's first layer reads of the encoder's colour."""
    return torch.arange(parts.anatomy.entry.in_features).view(-1, parts.width)[:, COLOUR]
