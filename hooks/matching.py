"""Which vision module made the rows that stand in the LLM: rows are matched one by one, whatever their order.

First by equality. Where the model scales the rows or adds to them on the way, by the direction in which each row moves
when the pixels change: differences cancel what is added, and directions what is multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hooks.evidence import Evidence, inside
from hooks.inputs import change_pixels
from hooks.recording import Call, Place, keep
from hooks.sites import Key
from hooks.stacks import Stack

_ENOUGH = 0.999
_MOSTLY = 0.9
"""Rounding blurs the direction of added rows, which are small beside the stream they are read off."""
_SAME_DIRECTION = 0.9995
_NEGLIGIBLE = 1e-5
"""Rows that move less than this share of the one that moves most have no direction to speak of."""


@dataclass(frozen=True)
class Maker:
    """A module that makes rows, and how many of those asked for it made."""

    module: str
    share: float


def find_maker(
    model: nn.Module,
    inputs: Mapping[str, Any],
    evidence: Evidence,
    places: Sequence[tuple[Call, str, Key, Tensor]],
    tower: Sequence[Call],
) -> Maker | None:
    """The vision module that made the rows at the first of `places` where one is recognised.

    `places`: a call, which side of it ("inputs", "outputs"), the tensor and a mask of the rows looked for, its shape
    without the last axis. Of modules that made equally many rows, the outermost one without a block of the tower in it.
    """
    makers = _makers(evidence, tower)
    best: Maker | None = None
    for call, side, key, mask in places:
        rows = getattr(call, side)[key]
        wanted, width = rows.hashes[mask], rows.shape[-1]
        shares: dict[str, float] = {}
        for module in {maker.module for maker in makers}:
            made = [
                other.hashes.flatten()
                for maker in makers
                if maker.module == module
                for other in maker.outputs.values()
                if other.shape[-1] == width
            ]
            if made:
                shares[module] = float(torch.isin(wanted, torch.cat(made)).float().mean())
        best = _better(best, shares)
        if best and best.share > _ENOUGH:
            return best
    for call, side, key, mask in places:
        here = (call.module, call.index, side, key)
        runs = _movements(model, inputs, makers, getattr(call, side)[key].shape[-1], [here])
        targets = [(changed[here] - base[here])[mask.to(base[here].device)] for base, changed in runs]
        best = _better(best, _by_direction(runs, makers, targets))
        if best and best.share > _ENOUGH:
            return best
    return best


def find_adders(
    model: nn.Module,
    inputs: Mapping[str, Any],
    evidence: Evidence,
    stack: Stack,
    blocks: Sequence[int],
    tower: Sequence[Call],
) -> dict[int, str | None]:
    """The vision modules whose rows are added to the residual stream before each of some blocks."""
    if not blocks:
        return {}
    handed = {
        block: (stack.blocks[block - 1].module, stack.blocks[block - 1].index, "outputs", stack.hands[block - 1])
        for block in blocks
    }
    taken = {
        block: (stack.blocks[block].module, stack.blocks[block].index, "inputs", stack.takes[block]) for block in blocks
    }
    makers = _makers(evidence, tower)
    runs = _movements(model, inputs, makers, stack.source(0).shape[-1], [*handed.values(), *taken.values()])
    adders: dict[int, str | None] = {}
    for block in blocks:
        added = [[run[taken[block]] - run[handed[block]] for run in pair] for pair in runs]
        moves = [(changed - base).flatten(0, -2) for base, changed in added]
        # Adding and subtracting rounds: what is left of rows to which nothing was added is far smaller than the rest.
        targets = [move[move.norm(dim=1) > 1e-3 * move.norm(dim=1).max()] for move in moves]
        maker = _better(None, _by_direction(runs, makers, targets))
        adders[block] = maker.module if maker and maker.share > _MOSTLY else None
    return adders


Runs = list[tuple[dict[Place, Tensor], dict[Place, Tensor]]]
"""Tensors of the unchanged forward beside those of one with other pixels."""


def _movements(
    model: nn.Module, inputs: Mapping[str, Any], makers: Sequence[Call], width: int, places: Sequence[Place]
) -> Runs:
    wanted = set(places) | {
        (maker.module, maker.index, "outputs", name)
        for maker in makers
        for name, rows in maker.outputs.items()
        if rows.shape[-1] == width
    }
    base = keep(model, inputs, wanted)
    return [(base, keep(model, change_pixels(inputs, kind), wanted)) for kind in (0, 1)]


def _by_direction(runs: Runs, makers: Sequence[Call], targets: Sequence[Tensor]) -> dict[str, float]:
    """The share of the target rows, one tensor of (row, feature) a run, that move in the direction of some row of a
    module; for every module, the smaller one of the runs."""
    modules = {maker.module for maker in makers}
    shares: dict[str, float] = {}
    for (base, changed), target in zip(runs, targets, strict=True):
        moved: dict[str, list[Tensor]] = {}
        for place, before in base.items():
            after = changed.get(place)
            made = place[2] == "outputs" and place[0] in modules and before.shape[-1] == target.shape[-1]
            if made and after is not None and after.shape == before.shape:
                moved.setdefault(place[0], []).append((after - before).flatten(0, -2))
        here = {module: _covered(target, torch.cat(parts)) for module, parts in moved.items()}
        shares = {module: min(share, shares.get(module, 1.0)) for module, share in here.items()}
    return shares


def _makers(evidence: Evidence, tower: Sequence[Call]) -> list[Call]:
    """The vision modules' calls, but for those that hold a block of the tower."""
    seeing = [call for call in evidence.calls if evidence.of_vision(call)]
    return [call for call in seeing if not any(_holds(call, block) for block in tower)]


def _holds(call: Call, block: Call) -> bool:
    return block.module != call.module and inside(block.module, call.module)


def _better(best: Maker | None, shares: Mapping[str, float]) -> Maker | None:
    found = [Maker(module, share) for module, share in shares.items() if share > 0]
    top = max(found, key=lambda maker: (round(maker.share, 6), -maker.module.count(".")), default=None)
    if top is None or (best is not None and best.share >= top.share):
        return best
    return top


def _covered(target: Tensor, made: Tensor) -> float:
    """The share of rows of `target` that point where some row of `made` does."""
    wanted, offered = _directions(target), _directions(made)
    if not len(wanted) or not len(offered):
        return 0.0
    best = torch.cat([(part @ offered.T).amax(1) for part in wanted.split(1024)])
    return float((best > _SAME_DIRECTION).float().mean())


def _directions(rows: Tensor) -> Tensor:
    rows = rows.float()
    length = rows.norm(dim=1)
    keep = length > _NEGLIGIBLE * length.max() if len(length) else length.bool()
    return rows[keep] / length[keep, None]
