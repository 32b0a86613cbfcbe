"""Whose rows are whose at the vision sites, measured: change some samples' pixels and see which rows move.

Samples are told apart by binary codes: forward j changes the pixels of the samples whose number has bit j set, so that
n samples take log2(n) forwards. Which part of the pixels is a sample's own is found first, by halving: change a range
of images, tiles or patches, and see in which samples the image's rows move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from commandline import InputError
from hooks.inputs import change_pixels, pixel_names
from hooks.positions import ownership
from hooks.recording import entry_hashes, remembered, site_hashes
from hooks.rows import Ownership, Share, Undivided
from hooks.sites import Site, SiteMap

Result = TypeVar("Result")


def divided(
    model: nn.Module,
    inputs: Mapping[str, Any],
    sites: SiteMap,
    run: Callable[[Ownership], Result],
    alike: bool = False,
) -> Result:
    """`run` with the batch's division into samples: as its inputs say, or, where that leaves rows Undivided, as
    measured."""
    owner = ownership(model, inputs, sites, alike)
    try:
        return run(owner)
    except Undivided:
        return run(measured(model, inputs, sites, owner))


def measured(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap, owner: Ownership) -> Ownership:
    """`owner` with the rows of every vision site divided as measured on this layout, and the order of all reads.

    `inputs` are on the model's device. Rows that never move (padding) are nobody's.

    Raises:
        InputError: pixels or rows that belong to more than one sample, or a sample without rows.
    """
    shares, order = remembered(
        model, ("shares", sites.names), inputs, lambda: _measure(model, inputs, sites, owner.samples)
    )
    device = owner.index.device
    shares = {name: Share(share.index.to(device), share.lengths) for name, share in shares.items()}
    return replace(owner, shares=shares, order=order)


def _measure(
    model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap, samples: int
) -> tuple[dict[str, Share], dict[str, tuple[int, ...]]]:
    pixels = pixel_owners(model, inputs, sites, samples)
    base, again = (site_hashes(model, inputs, sites.values()) for _ in range(2))
    runs = []
    for bit in range(samples.bit_length()):
        chosen = torch.tensor([(sample + 1) >> bit & 1 for sample in range(samples)]).bool()
        masks = {name: owners.ge(0) & chosen[owners.clamp(min=0)] for name, owners in pixels.items()}
        changed = [changed_where(inputs, masks, kind) for kind in (0, 1)]
        runs.append([site_hashes(model, other, sites.values()) for other in changed])
    shares: dict[str, Share] = {}
    for site in sites.values():
        if not site.in_sequence:
            here = torch.cat([hashes for _, hashes in base[site.name]])
            steady = here.eq(torch.cat([hashes for _, hashes in again[site.name]]))
            moved = [
                torch.stack([here.ne(torch.cat([hashes for _, hashes in run[site.name]])) for run in changed]).any(0)
                for changed in runs
            ]
            shares[site.name] = _share(site, [bit & steady for bit in moved], samples)
    return shares, {name: tuple(when for when, _ in calls) for name, calls in base.items()}


def _share(site: Site, bits: Sequence[Tensor], samples: int) -> Share:
    owners = sum(moved.long() << bit for bit, moved in enumerate(bits)) - torch.ones_like(bits[0], dtype=torch.int64)
    if owners.max() >= samples:
        raise InputError(
            f"{site.name}: some rows depend on the images of several samples; run this model on one sample at a time"
        )
    lengths = tuple(int(owners.eq(sample).sum()) for sample in range(samples))
    if not all(lengths):
        empty = [sample for sample, length in enumerate(lengths) if not length]
        raise InputError(f"{site.name}: no row depends on the image of sample {empty}; run one sample at a time")
    order = torch.argsort(torch.where(owners < 0, samples, owners), stable=True)
    return Share(order[: sum(lengths)], lengths)


def pixel_owners(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap, samples: int) -> dict[str, Tensor]:
    """Whose each unit of the pixels is: image, tile or patch, entries of the axis along which the samples follow each
    other. int64 (unit,) for every pixel input, -1 where changing the unit moves nothing.

    Raises InputError when no axis separates the samples.
    """
    found = {}
    for name in pixel_names(inputs):
        shape = inputs[name].shape
        if samples == 1:
            found[name] = torch.zeros(shape[0], dtype=torch.int64)
        elif sites.entry is None:
            # Without rows in an LLM's sequence, models take a batch along the leading axis.
            if shape[0] != samples:
                raise InputError(f"{name} has {shape[0]} entries for {samples} samples; run one sample at a time")
            found[name] = torch.arange(samples)
        else:
            found[name] = _by_halving(model, inputs, sites.entry, name, samples)
    return found


def _by_halving(model: nn.Module, inputs: Mapping[str, Any], entry: Site, name: str, samples: int) -> Tensor:
    base, axis = entry_hashes(model, inputs, entry, samples), unit_axis(inputs[name])
    units = inputs[name].shape[axis]
    owners = torch.full((units,), -1)
    ranges = [range(units)]
    while ranges:
        part = ranges.pop()
        mask = torch.zeros(units, dtype=torch.bool)
        mask[part.start : part.stop] = True
        changed = [changed_where(inputs, {name: mask}, kind) for kind in (0, 1)]
        moved = [base.ne(entry_hashes(model, other, entry, samples)).any(1) for other in changed]
        samples_moved = torch.stack(moved).any(0).nonzero().flatten().tolist()
        if len(samples_moved) == 1:
            owners[mask] = samples_moved[0]
        elif samples_moved and len(part) == 1:
            raise InputError(f"{name}: one entry holds the images of samples {samples_moved}; run one sample at a time")
        elif samples_moved:
            middle = (part.start + part.stop) // 2
            ranges += [range(part.start, middle), range(middle, part.stop)]
    return owners


def unit_axis(pixels: Tensor) -> int:
    """The axis along which samples follow each other: the leading one, or, of pixels packed side by side into one
    image, the last."""
    return 0 if pixels.shape[0] > 1 else pixels.ndim - 1


def changed_where(inputs: Mapping[str, Any], masks: Mapping[str, Tensor], kind: int) -> dict[str, Any]:
    """The inputs with the pixels of the masked units changed: masks bool (unit,), by input."""
    other, mixed = change_pixels(inputs, kind), dict(inputs)
    for name, mask in masks.items():
        shape = [1] * inputs[name].ndim
        shape[unit_axis(inputs[name]) if len(mask) > 1 else 0] = len(mask)
        mixed[name] = torch.where(mask.to(inputs[name].device).view(shape), other[name], inputs[name])
    return mixed
