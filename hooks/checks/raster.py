"""Are the rows in the order of the image's patches, left to right and top to bottom?

One patch is painted over at a time. Its own row moves most; where those rows stand tells the order. Patches are merged,
cut into tiles, and rows may be left out, so what is asked of an image or tile is a row length at which the places of
its rows form a grid that runs as the patches do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooks.certificate import Check
from hooks.checks.case import Case, Tokens, check
from hooks.checks.units import Units, image_sizes
from hooks.inputs import change_pixels, pixel_names

NAME = "raster order"
OWN_ORDER = "rows are in the model's own order; mean and max pooling do not depend on it"
_TILES = 3
"""Images or tiles looked at in each sample."""
_LOCAL = 3.0
"""A patch's own row moves this many times as far as the middle one."""
_SHARED = 0.8
"""A patch between two rows, moving the second this much of the first, tells nothing."""
_IN_ORDER = 0.8
_STRETCH = 4.0
"""A grid of rows is at most this many times as long as a square of as many would be."""
_SHIFTS = 8
"""Class and register tokens that may stand before the grid."""


@dataclass(frozen=True)
class Patch:
    """A part of a pixel input, and where in its image it is."""

    row: int
    column: int
    where: tuple[Any, ...]
    """An index into the input."""
    index: int = 0
    """Its place in the packing."""


@dataclass(frozen=True)
class Picture:
    """One image or tile of a sample: its whole place in a pixel input, and the patches to paint."""

    sample: int
    name: str
    whole: tuple[Any, ...]
    patches: tuple[Patch, ...]
    packed: int = 0
    """How many patches follow each other in the input, in an order that is the processor's: by rows, or by the blocks
    that are merged. 0 where pixels come as images."""


def raster_order(case: Case, units: Units | None, same: bool, seed: int) -> list[Check]:
    """The sites before the language model's blocks; the blocks keep the order of their input. `same`: the projector's
    rows are known to be the language model's, in its order, so another order than the raster's is the model's own."""
    sites = [site.name for site in case.sites.values() if site.stage in ("encoder", "projector")]
    if not sites:
        return []
    pictures = _pictures(case, units, np.random.default_rng(seed))
    if isinstance(pictures, str):
        return [check(NAME, site, "n/a", reason=pictures) for site in sites]
    found: dict[str, list[_Order]] = {site: [] for site in sites}
    # Samples do not see each other, so one picture of each is painted in the same forward.
    by_sample = [[p for p in pictures if p.sample == sample] for sample in range(case.samples)]
    for together in zip_longest(*by_sample):
        present = [picture for picture in together if picture is not None]
        whole = case.rows(_paint(case, [(picture, picture.whole) for picture in present]), sites)
        painted = []
        for step in zip_longest(*(picture.patches for picture in present)):
            wheres = [(p, patch.where) for p, patch in zip(present, step, strict=True) if patch is not None]
            painted.append(case.rows(_paint(case, wheres), sites))
        for picture in present:
            for site in sites:
                found[site].append(_order(case, site, picture, whole, painted))
    return [_judge(case, site, orders, same) for site, orders in found.items()]


@dataclass(frozen=True)
class _Order:
    """What painting one picture told: the share of patches with a row of their own, of those the share in order, and
    the same column by column."""

    local: float
    ordered: float
    transposed: float


def _judge(case: Case, site: str, orders: Sequence[_Order], same: bool) -> Check:
    local = [order for order in orders if order.local >= 0.5]
    if not local:
        return check(NAME, site, "n/a", reason="no row follows one patch more than others: they are mixed or resampled")
    ordered, transposed = (float(np.mean([getattr(o, what) for o in local])) for what in ("ordered", "transposed"))
    if ordered >= _IN_ORDER:
        return check(NAME, site, True, 1 - ordered, "rows follow the image's patches, left to right and top to bottom")
    said = f"{1 - ordered:.0%} of the patches painted are out of order"
    if transposed >= _IN_ORDER:
        return check(NAME, site, "n/a", 1 - ordered, "the model's rows run top to bottom, then left to right")
    if same or not case.sites[site].in_sequence:
        return check(NAME, site, "n/a", 1 - ordered, f"{OWN_ORDER}; {said}")
    return check(NAME, site, False, 1 - ordered, said)


def _order(case: Case, site: str, picture: Picture, whole: Tokens, painted: Sequence[Tokens]) -> _Order:
    before = case.base[site][picture.sample]
    own = _distance(whole[site][picture.sample], before).nonzero().flatten()
    if len(own) < 4:
        return _Order(0.0, 0.0, 0.0)
    places = []
    for _, rows in zip(picture.patches, painted, strict=False):
        moved = _distance(rows[site][picture.sample], before)[own]
        size, top = moved.topk(2)
        own_row = size[0] > _LOCAL * moved.median() and size[1] < _SHARED * size[0]
        places.append(int(top[0]) if own_row else -1)
    return fit(picture, places, len(own))


def fit(picture: Picture, places: Sequence[int], count: int) -> _Order:
    """How well the places of the patches' rows among `count` rows agree with the raster; -1 is a patch without one."""
    pairs = [(patch, place) for patch, place in zip(picture.patches, places, strict=True) if place >= 0]
    if len({place for _, place in pairs}) < min(4, count):
        return _Order(0.0, 0.0, 0.0)
    rows, columns = (np.array([getattr(patch, axis) for patch, _ in pairs]) for axis in ("row", "column"))
    found = np.array([place for _, place in pairs])
    ordered = _agreement(rows, columns, found, count)
    if picture.packed:
        packing = np.array([patch.index for patch, _ in pairs])
        ordered = max(ordered, float((found == packing * count // picture.packed).mean()))
    return _Order(len(pairs) / len(picture.patches), ordered, _agreement(columns, rows, found, count))


def _agreement(rows: np.ndarray, columns: np.ndarray, places: np.ndarray, count: int) -> float:
    """The share of patches whose row, in the grid that fits best, is where its neighbours say: the same line for
    patches of one line, later lines for later ones, and likewise across. Class tokens before the grid shift it."""
    side = count**0.5
    widths = np.arange(max(1, int(side / _STRETCH)), min(count, int(side * _STRETCH) + 1) + 1)
    shifts = np.arange(min(_SHIFTS, count - 1) + 1)
    lines, across = np.divmod(places - shifts[:, None, None], widths[:, None])
    return float((_steady(rows, lines) & _steady(columns, across)).mean(-1).max())


def _steady(coordinate: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Which patches stand where most of their coordinate do, if that does not go back as the coordinate grows:
    bool (shift, width, patch)."""
    good = np.zeros(places.shape, dtype=bool)
    high = np.full(places.shape[:-1], -(1 << 30))
    values = np.unique(coordinate)
    for value in values:
        mine = np.flatnonzero(coordinate == value)
        common = np.sort(places[..., mine], axis=-1)[..., (len(mine) - 1) // 2]
        goes_on = common >= high
        good[..., mine] = goes_on[..., None] & (places[..., mine] == common[..., None])
        high = np.where(goes_on, common, high)
    if len(values) > 2:  # a grid of one line, or of one column, says nothing of the other direction
        kept = np.where(good, places, high[..., None])
        good &= (kept.max(-1) > kept.min(-1))[..., None]
    return good


def _distance(after: Tensor, before: Tensor) -> Tensor:
    if after.shape != before.shape:
        return torch.zeros(len(before))
    return ((after - before).norm(dim=-1) / before.norm(dim=-1).clamp_min(1e-30)).nan_to_num(0.0).cpu()


def _paint(case: Case, wheres: Sequence[tuple[Picture, tuple[Any, ...]]]) -> Mapping[str, Any]:
    """The inputs with other pixels at some places."""
    other = change_pixels(case.inputs, 1)
    painted = dict(case.inputs)
    for picture, where in wheres:
        if painted[picture.name] is case.inputs[picture.name]:
            painted[picture.name] = case.inputs[picture.name].clone()
        painted[picture.name][where] = other[picture.name][where]
    return painted


def _pictures(case: Case, units: Units | None, rng: np.random.Generator) -> list[Picture] | str:
    if units is None and case.samples > 1:
        return "it is not known which pixels are whose"
    found: list[Picture] = []
    for sample in range(case.samples):
        for name in pixel_names(case.inputs):
            value = case.inputs[name]
            if units and units.axes[name] > 0:
                continue
            own = units.own[sample][name] if units else torch.ones(len(value), dtype=torch.bool)
            mine = _of_input(case, sample, name, value, own, rng)
            if mine:
                found += mine[:: max(1, len(mine) // _TILES)][:_TILES]
                break
    return found or "the layout of the pixel inputs is not known"


def _of_input(
    case: Case, sample: int, name: str, value: Tensor, own: Tensor, rng: np.random.Generator
) -> list[Picture]:
    """The images or tiles of one sample in one pixel input: (..., channel, height, width), or patches one by one."""
    sizes = image_sizes(case.inputs, len(own))
    if sizes:
        starts = np.cumsum([0, *sizes]).tolist()
        grids = _grids(case.inputs, sizes)
        images = [(start, grid) for start, size, grid in zip(starts, sizes, grids, strict=False) if own[start]]
        return [_packed(sample, name, (), start, grid, rng) for start, grid in images]
    if value.ndim >= 4 and value.shape[-3] in (1, 3, 4) and min(value.shape[-2:]) >= 8:
        lead = np.ndindex(*value.shape[:-3])
        planes = [place for place in lead if own[place[0]] and bool(value[place].any())]
        return [_plane(case, sample, name, place, value.shape[-2:], rng) for place in planes]
    if value.ndim == 3 and value.shape[1] > 3:
        real = [(image, int(value[image].any(-1).sum())) for image in own.nonzero().flatten().tolist()]
        return [_packed(sample, name, (image,), 0, _square(count), rng) for image, count in real if count]
    return []


def _square(count: int) -> tuple[int, int]:
    """(height, width) of a list of patches without a grid beside it, where it can be a square."""
    side = round(count**0.5)
    return (side, side) if side * side == count else (1, count)


def _grids(inputs: Mapping[str, Any], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(height, width) in patches of each image of a packed input."""
    for value in inputs.values():
        whole = isinstance(value, Tensor) and not value.is_floating_point() and value.ndim == 2
        if whole and len(value) == len(sizes) and value.shape[1] in (2, 3) and int(value.prod()) > 0:
            return [(size // int(grid[-1]), int(grid[-1])) for size, grid in zip(sizes, value.tolist(), strict=True)]
    return [(1, size) for size in sizes]


def _packed(
    sample: int, name: str, lead: tuple[Any, ...], start: int, grid: tuple[int, int], rng: np.random.Generator
) -> Picture:
    height, width = grid
    patches = tuple(
        Patch(row, column, (*lead, start + row * width + column), row * width + column)
        for row in _spread(height, rng)
        for column in _spread(width, rng)
    )
    return Picture(sample, name, (*lead, slice(start, start + height * width)), patches, height * width)


def _plane(
    case: Case, sample: int, name: str, place: tuple[int, ...], size: Sequence[int], rng: np.random.Generator
) -> Picture:
    side = _patch_size(case, size)
    patches = tuple(
        Patch(
            row, column, (*place, ..., slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
        )
        for row in _spread(size[0] // side, rng)
        for column in _spread(size[1] // side, rng)
    )
    return Picture(sample, name, place, patches)


def _spread(count: int, rng: np.random.Generator) -> list[int]:
    """Some of `count` places: two neighbours in either half, as a regular step could hide an order within it."""
    starts = [int(rng.integers(low, max(low + 1, high - 1))) for low, high in ((0, count // 2), (count // 2, count))]
    return sorted({min(place, count - 1) for start in starts for place in (start, start + 1)})


def _patch_size(case: Case, size: Sequence[int]) -> int:
    """Pixels along a patch: the configuration's where it divides the image, else an eighth of it."""
    waiting: list[Any] = [case.model.config.to_dict()] if hasattr(case.model, "config") else []  # pyright: ignore
    while waiting:
        for key, value in waiting.pop().items():
            if isinstance(value, Mapping):
                waiting.append(value)
            elif key == "patch_size":
                side = value[0] if isinstance(value, (list, tuple)) else value
                if isinstance(side, int) and side > 1 and not size[0] % side and not size[1] % side:
                    return side
    return max(1, min(size) // 8)
