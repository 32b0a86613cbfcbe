"""Which rows of a site's tensor belong to which sample, and how a sample's rows become one (pooling)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from hooks.sites import Axis, Site

Pool = Literal["mean", "last", "max", "cls", "tokens"]
_AS_THEY_STAND: tuple[tuple[Axis, ...], ...] = (
    ("sample", "token", "feature"),
    ("unit", "row", "feature"),
    ("unit", "row", "column", "feature"),
    ("row", "feature"),
)
"""Axes whose flattening moves nothing, and so needs no pattern: nearly all, and this runs at every site."""
_FEATURES: tuple[Axis, ...] = ("stream", "feature")


@dataclass(frozen=True)
class Share:
    """A vision site's rows divided among the samples, as measured on a batch of this very layout."""

    index: Tensor
    """Rows of all the module's calls, one call after another, in the order of the samples: int64 (row,)."""
    lengths: tuple[int, ...]
    """Rows per sample."""


@dataclass(frozen=True)
class Ownership:
    """What a batch says of its samples, from which the rows of any tensor are divided among them.

    Worked out once a batch: no site's rows wait for the device to answer.
    """

    samples: int
    tokens: tuple[int, ...]
    """Positions of the LLM's sequence that are read (visual ones, or a prompt's text), per sample."""
    index: Tensor
    """Those positions in (sample x token), flattened: int64 (row,)."""
    tiles: tuple[int, ...] | None = None
    """Images per sample that are not padding (all zero), where pixels come as (sample, image, ...)."""
    tile_slots: int = 1
    """Images per sample, padding included."""
    patches: Tensor | None = None
    """Which patches are no padding, where images come as patches padded to a common number: bool (unit, row)."""
    alike: bool = False
    """Each sample alone has inputs of the same shapes as any other, so that all have equally many rows everywhere."""
    shares: Mapping[str, Share] = field(default_factory=dict)
    """Measured divisions, by site; they go before every rule."""
    order: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """When each site was reached, once per call of its module, in a forward of this layout; empty: as discovered."""

    @classmethod
    def of(cls, positions: Tensor, tiles: tuple[int, ...] | None = None, tile_slots: int = 1) -> Ownership:
        """From a mask, bool (sample, token)."""
        index = positions.flatten().nonzero().flatten()
        return cls(positions.shape[0], tuple(positions.sum(1).tolist()), index, tiles, tile_slots)


class Undivided(Exception):
    """The batch alone does not say which rows of a vision site are whose; it has to be measured."""


def flatten(site: Site, value: Tensor) -> Tensor:
    """A site's tensor as (row, feature): units and grids in their order, parallel streams among the features."""
    if site.axes in _AS_THEY_STAND:
        return value.flatten(0, -2)
    whole, flat = _patterns(site.axes)
    return rearrange(value, f"{whole} -> {flat}")


def unflatten(site: Site, rows: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `flatten`: rows (row, feature) as the tensor of this shape that stands at the site."""
    whole, flat = _patterns(site.axes)
    return rearrange(rows, f"{flat} -> {whole}", **dict(zip(site.axes, shape, strict=True)))


@cache
def _patterns(axes: tuple[Axis, ...]) -> tuple[str, str]:
    """einops' names of a tensor's axes, as they stand and as (row, feature)."""
    outer = [axis for axis in axes if axis in ("unit", "sample")]
    inner = [axis for axis in axes if axis not in (*outer, *_FEATURES)]
    features = [axis for axis in axes if axis in _FEATURES]
    return " ".join(axes), f"({' '.join([*outer, *inner])}) ({' '.join(features)})"


def by_position(moved: Tensor, axes: Sequence[Axis]) -> Tensor:
    """A mask over a tensor's rows as one over the sequence: bool (sample, token)."""
    order = [axes.index("sample"), axes.index("token")]
    streams = [place for place in range(moved.ndim) if place not in order]
    return moved.permute(*order, *streams).flatten(2).any(-1) if streams else moved.permute(*order)


def divide(site: Site, shapes: Sequence[Sequence[int]], owner: Ownership) -> tuple[Tensor | None, tuple[int, ...]]:
    """Which rows of a site's flattened tensors (one shape per call of its module) are read, in the order of the
    samples (None: all of them, as they stand), and how many belong to each sample.

    An LLM tensor is read at `owner.index`. A vision tensor may have an axis of images or tiles over the whole batch,
    or all patches of the batch in one sequence: samples follow each other in both, and each one's share follows from
    its tiles, from equal shares among samples that are alike, or is in proportion to its visual tokens.

    Raises:
        Undivided: these rules contradict each other or leave a remainder.
    """
    if site.in_sequence:
        return owner.index, owner.tokens
    if share := owner.shares.get(site.name):
        return share.index, share.lengths
    if site.call is None:
        raise Undivided(site.name)
    sizes = dict(zip(site.axes, shapes[0], strict=True))
    total = prod(size for axis, size in sizes.items() if axis not in _FEATURES)
    units = sizes.get("unit", 1)
    per_unit = total // units
    if owner.tiles is not None and units == owner.samples * owner.tile_slots != sum(owner.tiles):
        kept = torch.tensor([slot < real for real in owner.tiles for slot in range(owner.tile_slots)])
        return kept.repeat_interleave(per_unit).nonzero().flatten(), tuple(real * per_unit for real in owner.tiles)
    if (real := real_rows(site, shapes[0], owner)) is not None and units == owner.samples:
        return real.nonzero().flatten(), tuple(real.view(units, -1).sum(1).tolist())
    if owner.samples == 1:
        return None, (total,)
    if owner.tiles is not None and units == sum(owner.tiles):
        return None, tuple(real * per_unit for real in owner.tiles)
    if owner.alike and total % owner.samples == 0:
        return None, (total // owner.samples,) * owner.samples
    tokens = sum(owner.tokens)
    if not tokens and units == owner.samples:
        return None, (per_unit,) * units
    shares = tuple(total * own // tokens for own in owner.tokens) if tokens else ()
    if not shares or any(total * own % tokens for own in owner.tokens):
        raise Undivided(site.name)
    if units >= owner.samples and any(own % per_unit for own in shares):
        raise Undivided(site.name)
    if units == owner.samples and shares != (per_unit,) * units:
        raise Undivided(site.name)
    return None, shares


def real_rows(site: Site, shape: Sequence[int], owner: Ownership) -> Tensor | None:
    """Which flattened rows are no padding, where the site still has one row per patch of the pixels: bool (row,)."""
    sizes = dict(zip(site.axes, shape, strict=True))
    if owner.patches is None or owner.patches.all() or (sizes.get("unit"), sizes.get("row")) != owner.patches.shape:
        return None
    return owner.patches.flatten() if len(sizes) == 3 else None


def sample_rows(site: Site, values: Sequence[Tensor], owner: Ownership) -> tuple[Tensor, tuple[int, ...]]:
    """A site's rows in the order of the samples, (row, feature), and how many belong to each sample.

    `values`: what stands at the site, once per call of its module. Raises Undivided as `divide` does.
    """
    index, lengths = divide(site, [value.shape for value in values], owner)
    flat = [flatten(site, value) for value in values]
    rows = flat[0] if len(flat) == 1 else torch.cat(flat)
    return rows if index is None else rows[index.to(rows.device)], lengths


def pool_rows(rows: Tensor, lengths: Sequence[int], pool: Pool) -> Tensor | list[Tensor]:
    """One float32 row per sample, (sample, feature): the mean, elementwise maximum, last or first of its rows.

    "tokens" leaves them unpooled: a list of (token, feature). "last" and the order of "tokens" are the model's own
    order of execution, which is not everywhere the raster's (some encoders work in windows).
    """
    if pool == "tokens":
        # Copies: the model may write into what it returned.
        return [part.to(torch.float32, copy=True) for part in rows.split(list(lengths))]
    if len(set(lengths)) == 1:
        return _reduce(rows.unflatten(0, (len(lengths), lengths[0])), pool)
    return torch.cat([_reduce(part[None], pool) for part in rows.split(list(lengths))])


def _reduce(grouped: Tensor, pool: Pool) -> Tensor:
    if pool == "mean":
        return grouped.mean(1, dtype=torch.float32)
    if pool == "max":
        return grouped.amax(1).float()
    return grouped[:, -1 if pool == "last" else 0].float()
