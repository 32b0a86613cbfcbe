"""Which rows of a site's tensor belong to which sample, and how a sample's rows become one (pooling)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor

from commandline import InputError
from hooks.inputs import pixel_names
from hooks.sites import Site, SiteMap

Pool = Literal["mean", "last", "max", "cls", "tokens"]


@dataclass(frozen=True)
class Ownership:
    """What a batch says of its samples, from which the rows of any tensor are divided among them.

    Worked out once a batch: no site's rows wait for the device to answer.
    """

    tokens: tuple[int, ...]
    """Positions of the LLM's sequence that are read (visual ones, or a prompt's text), per sample."""
    index: Tensor
    """Those positions in (sample x token), flattened: int64 (row,)."""
    tiles: tuple[int, ...] | None = None
    """Images per sample that are not padding (all zero), where pixels come as (sample, image, ...)."""
    tile_slots: int = 1
    """Images per sample, padding included."""

    @classmethod
    def of(cls, positions: Tensor, tiles: tuple[int, ...] | None = None, tile_slots: int = 1) -> Ownership:
        """From a mask, bool (sample, token)."""
        index = positions.flatten().nonzero().flatten()
        return cls(tuple(positions.sum(1).tolist()), index, tiles, tile_slots)


def ownership(inputs: Mapping[str, Any], sites: SiteMap) -> Ownership:
    """Read a batch's division into samples off its inputs.

    Raises:
        InputError: a sample has no visual token, so nothing of it could be read.
    """
    positions = sites.visual_positions(inputs)
    n_samples = positions.shape[0]
    if sites.placeholder_ids and not positions.any(1).all():
        blind = (~positions.any(1)).nonzero().flatten().tolist()
        raise InputError(f"no visual token in sample {blind} of the batch: its prompt holds no image placeholder")
    # Only images that come as (sample, image, channel, height, width) are padded to a common number.
    stacks = [inputs[name] for name in pixel_names(inputs) if inputs[name].ndim == 5]
    stacks = [value for value in stacks if value.shape[0] == n_samples]
    tiles = tuple(stacks[0].flatten(2).any(-1).sum(1).tolist()) if stacks else None
    return Ownership.of(positions, tiles, stacks[0].shape[1] if stacks else 1)


def sample_rows(site: Site, value: Tensor, owner: Ownership) -> tuple[Tensor, tuple[int, ...]]:
    """A site's rows in the order of the samples, (row, feature), and how many belong to each sample.

    A text-side tensor is (sample, token, feature) and is read at `owner.index`. A vision tensor may have a sample
    axis, an axis of images or tiles over the whole batch, or all patches of the batch in one sequence: samples follow
    each other in all three, and each one's share follows from its tiles, or is in proportion to its visual tokens.

    Raises:
        InputError: the rows do not divide among the samples.
    """
    if site.stage != "encoder":
        return rearrange(value, "sample token feature -> (sample token) feature")[owner.index], owner.tokens
    rows = rearrange(value, "... feature -> (...) feature")
    n_samples, units = len(owner.tokens), value.shape[0]
    per_unit = len(rows) // units
    if owner.tiles is not None and units == n_samples * owner.tile_slots != sum(owner.tiles):
        kept = [slot < real for real in owner.tiles for slot in range(owner.tile_slots)]
        rows = rearrange(value[torch.tensor(kept, device=value.device)], "... feature -> (...) feature")
        return rows, tuple(real * per_unit for real in owner.tiles)
    if owner.tiles is not None and units == sum(owner.tiles):
        return rows, tuple(real * per_unit for real in owner.tiles)
    if units == n_samples and value.ndim >= 3:
        return rows, (per_unit,) * units
    total = sum(owner.tokens)
    if any(len(rows) * tokens % total for tokens in owner.tokens):
        raise InputError(
            f"{site.name}: {len(rows)} rows do not divide among samples of {owner.tokens} visual tokens; "
            "run this model with a batch of one"
        )
    return rows, tuple(len(rows) * tokens // total for tokens in owner.tokens)


def pool_rows(rows: Tensor, lengths: Sequence[int], pool: Pool) -> Tensor | list[Tensor]:
    """One float32 row per sample, (sample, feature): the mean, elementwise maximum, last or first of its rows.

    "tokens" leaves them unpooled: a list of (token, feature). "last" and the order of "tokens" are the model's own
    order of execution, which is not everywhere the raster's (Qwen2.5-VL's encoder works in windows).
    """
    if pool == "tokens":
        return [part.float() for part in rows.split(list(lengths))]
    if len(set(lengths)) == 1:
        return _reduce(rearrange(rows, "(sample token) feature -> sample token feature", sample=len(lengths)), pool)
    return torch.cat([_reduce(part[None], pool) for part in rows.split(list(lengths))])


def _reduce(grouped: Tensor, pool: Pool) -> Tensor:
    if pool == "mean":
        return grouped.mean(1, dtype=torch.float32)
    if pool == "max":
        return grouped.amax(1).float()
    return grouped[:, -1 if pool == "last" else 0].float()
