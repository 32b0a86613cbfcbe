"""Where in the LLM's sequence the image stands, and what a batch says of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from commandline import InputError
from hooks.inputs import change_pixels, pixel_names, token_name
from hooks.recording import entry_hashes, remembered
from hooks.rows import Ownership
from hooks.sites import SiteMap


def visual_positions(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap) -> Tensor:
    """The positions of the LLM's sequence filled from the image: bool (sample, token).

    Where the model replaces placeholder tokens, the places of those ids, newline and separator rows included. Where it
    inserts rows between the tokens, or takes the places from elsewhere, the rows that move when the pixels do: found
    by running the model on changed pixels up to the LLM, once for each layout of a batch.
    """
    if sites.placeholder_ids or sites.fusion not in ("tokens", "sequence"):
        return sites.visual_positions(inputs)
    return remembered(model, ("positions",), inputs, lambda: _moving(model, inputs, sites))


def _moving(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap) -> Tensor:
    site = sites.entry
    if site is None:
        raise InputError("no site of the LLM's input is known; take the whole map that find_sites returns")
    runs = [inputs, change_pixels(inputs, 0), change_pixels(inputs, 1)]
    base, *others = (entry_hashes(model, run, site, sample_count(inputs)) for run in runs)
    return torch.stack([base.ne(other) for other in others]).any(0).to(next(model.parameters()).device)


def ownership(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap, alike: bool = False) -> Ownership:
    """Read a batch's division into samples off its inputs.

    Raises:
        InputError: a sample has no visual token, so nothing of it could be read.
    """
    samples = sample_count(inputs, sites.fusion == "none")
    if any(site.stage == "text" for site in sites.values()):
        return Ownership.of(_attended(inputs))
    patches = _patches(inputs)
    if not sites.in_sequence:
        return Ownership(samples, (), torch.zeros(0, dtype=torch.int64), patches=patches, alike=alike)
    positions = visual_positions(model, inputs, sites)
    if not positions.any(1).all():
        blind = (~positions.any(1)).nonzero().flatten().tolist()
        raise InputError(f"no visual token in sample {blind} of the batch: its prompt holds no image placeholder")
    # Only images that come as (sample, image, channel, height, width) are padded to a common number.
    stacks = [inputs[name] for name in pixel_names(inputs) if inputs[name].ndim == 5]
    stacks = [value for value in stacks if value.shape[0] == samples]
    tiles = tuple(stacks[0].flatten(2).any(-1).sum(1).tolist()) if stacks else None
    owner = Ownership.of(positions, tiles, stacks[0].shape[1] if stacks else 1)
    return replace(owner, patches=patches, alike=alike)


def _patches(inputs: Mapping[str, Any]) -> Tensor | None:
    """Of images that come as (unit, patch, pixel values): which patches a mask, or a position below zero in each of
    their coordinates, does not call padding; bool (unit, patch)."""
    for name in pixel_names(inputs):
        pixels = inputs[name]
        if pixels.ndim != 3:
            continue
        for other, value in inputs.items():
            if not isinstance(value, Tensor) or other == name or value.shape[:2] != pixels.shape[:2]:
                continue
            if "mask" in other and value.ndim == 2 and other != "attention_mask":
                return value.bool()
            if value.ndim == 3 and value.shape[2] <= 3 and not value.is_floating_point():
                return ~value.lt(0).all(-1)
    return None


def sample_count(inputs: Mapping[str, Any], unread: bool = False) -> int:
    """Samples in a batch: rows of token ids, or without text the leading axis of the pixels. `unread`: the text never
    meets the images (a dual encoder may be given more texts than images), so that these are what is counted."""
    names = [*pixel_names(inputs)[:1], token_name(inputs)] if unread else [token_name(inputs), *pixel_names(inputs)[:1]]
    name = next((name for name in names if name is not None), None)
    if name is None:
        raise InputError(f"the inputs hold neither token ids nor pixels (there are {', '.join(inputs)})")
    return inputs[name].shape[0]


def _attended(inputs: Mapping[str, Any]) -> Tensor:
    ids = inputs[token_name(inputs) or "input_ids"]
    mask = inputs.get("attention_mask")
    return mask.bool() if isinstance(mask, Tensor) and mask.shape == ids.shape else torch.ones_like(ids).bool()
