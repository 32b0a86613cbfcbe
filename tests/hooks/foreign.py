"""Vision-language models of nobody's: small modules whose parts are put together in ways that real models have, and in
some that none has yet. Ground truth is known by construction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SEEN, READ, PLACE = 24, 16, 7
"""Widths of the two sides, and the id under the image where there is one."""


class Cell(nn.Module):
    """A residual block that mixes its tokens (causally, or all of them) and normalises first."""

    def __init__(self, width: int, causal: bool = False, tokens: int = -2) -> None:
        super().__init__()
        self.scale = nn.LayerNorm(width)
        self.mix = nn.Linear(width, width)
        self.causal, self.tokens = causal, tokens

    def change(self, stream: Tensor) -> Tensor:
        normed = self.scale(stream)
        if self.causal:
            length = torch.arange(1, stream.shape[1] + 1, device=stream.device)
            mixed = normed.cumsum(1) / length.view(-1, *[1] * (stream.ndim - 2))
        else:
            mixed = normed.mean(self.tokens, keepdim=True)
        return self.mix(normed + mixed).tanh()

    def forward(self, stream: Tensor) -> Tensor:
        return stream + self.change(stream)


class Overwriting(Cell):
    """Hands out the very tensor it was given, changed in place."""

    def forward(self, stream: Tensor) -> Tensor:
        change = self.change(stream)
        stream += change
        return stream


@dataclass
class Handed:
    """What a block hands out, in a container that is no mapping."""

    weights: Tensor
    stream: Tensor


class Wrapping(Cell):
    def forward(self, stream: Tensor) -> Any:
        return Handed(self.scale(stream)[..., :3], stream + self.change(stream))


class Tupling(Cell):
    """The hidden states come second, after something as wide."""

    def forward(self, stream: Tensor) -> Any:
        return self.scale(stream), stream + self.change(stream)


class Grid(nn.Module):
    """A block of a convolutional tower: channels before rows and columns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        return picture + self.inner(picture).tanh()


class Reader(nn.Module):
    """A text block that also reads the image's states beside its own (cross-attention)."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.look = Cell(READ, causal=True), nn.Linear(READ, READ)

    def forward(self, stream: Tensor, seen: Tensor) -> Tensor:
        return self.own(stream) + self.look(seen).mean(1, keepdim=True)


def stream_of(value: Any) -> Tensor:
    return value.stream if isinstance(value, Handed) else value[1] if isinstance(value, tuple) else value


class Foreign(nn.Module):
    """An eye, a bridge and a brain. `joins` says how the image reaches the brain."""

    def __init__(
        self,
        joins: str = "scatter",
        eye: Callable[[], nn.Module] = lambda: Cell(SEEN),
        brain: Callable[[], nn.Module] = lambda: Cell(READ, causal=True),
        order: str = "batch first",
        looped: int = 1,
        scaled: float = 1.0,
    ) -> None:
        super().__init__()
        self.joins, self.order, self.looped, self.scaled = joins, order, looped, scaled
        self.retina = nn.Conv2d(3, SEEN, 4, 4) if order == "grid" else nn.Linear(48, SEEN)
        self.eye = nn.ModuleList([eye() for _ in range(3)])
        self.bridge = nn.Sequential(nn.Linear(SEEN, READ), nn.GELU(), nn.Linear(READ, READ))
        self.lexicon = nn.Embedding(60, READ)
        self.brain = nn.ModuleList([brain() for _ in range(4)])
        self.calm = nn.LayerNorm(READ)
        self.mouth = nn.Linear(READ, 60)

    def look(self, picture: Tensor) -> Tensor:
        seen = self.retina(picture)
        if self.order == "tokens first":
            seen = seen.transpose(0, 1)
        for cell in self.eye:
            seen = stream_of(cell(seen))
        if self.order == "tokens first":
            return seen.transpose(0, 1)
        return seen.flatten(2).transpose(1, 2) if self.order == "grid" else seen

    def forward(self, input_ids: Tensor, picture: Tensor, rows: Tensor | None = None) -> Tensor:
        seen = self.look(picture)
        one_by_one = self.joins == "one by one"
        seen = torch.stack([self.bridge(image) for image in seen]) if one_by_one else self.bridge(seen)
        stream, half = self.lexicon(input_ids), input_ids.shape[1] // 2
        here = (input_ids == PLACE)[..., None]
        added = torch.zeros_like(stream)
        if self.joins in ("scatter", "one by one"):
            stream = stream.masked_scatter(here, seen)
        elif self.joins == "add":
            stream = stream + added.masked_scatter(here, seen)
        elif self.joins == "amid":
            stream = torch.cat([stream[:, :half], seen, stream[:, half:]], 1)
        elif self.joins == "rows":
            assert rows is not None
            stream = stream.clone()
            stream[torch.arange(len(stream))[:, None], rows] = seen
        elif self.joins == "later":
            added = added.masked_scatter(here, seen)
        stream = stream * self.scaled
        for turn in range(self.looped):
            for place, cell in enumerate(self.brain):
                if self.joins == "later" and place == 2 and not turn:
                    stream = stream + added
                stream = cell(stream, seen) if isinstance(cell, Reader) else stream_of(cell(stream))
        return self.mouth(self.calm(stream))


def foreign(samples: int = 2, seed: int = 0, **options: Any) -> tuple[Foreign, dict[str, Tensor]]:
    """A model and a batch: six patches and the same number of placeholders a sample."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Foreign(**options).eval()
    joins = options.get("joins", "scatter")
    words = torch.randint(10, 60, (samples, 14), generator=draw)
    inputs = {"input_ids": words}
    if joins in ("scatter", "one by one", "add", "later"):
        words[:, 3:9] = PLACE
    grid = options.get("order") == "grid"
    shape = (samples, 3, 8, 12) if grid else (samples, 6, 48)
    inputs["picture"] = torch.rand(shape, generator=draw) + 0.1
    if joins == "rows":
        order = [torch.randperm(14, generator=draw)[:6] for _ in range(samples)]
        inputs["rows"] = torch.stack(order)
    return model, inputs
