"""Does one row's change reach what it should, and nothing before it?"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from hooks.certificate import Check
from hooks.checks.case import BLIND, Case, Tokens, check
from hooks.checks.entry import Pairing, mirrored, replaced
from hooks.inputs import token_name

NAME = "causal reach"
BOTH_WAYS = "rows before the changed one move too: the blocks attend both ways here"


def image_reach(case: Case, paired: Pairing | None) -> list[Check]:
    """Replace one visual row where the language model takes its embeddings, by a hook of our own."""
    if not case.sites.in_sequence:
        text = "the image has no rows in the language model's sequence"
        return [check(NAME, site, "n/a", reason=text) for site in case.names]
    if paired is None or case.sites.entry is None:
        text = "it is not known where the image enters the language model"
        return [check(NAME, site, "n/a", reason=text) for site in case.names]
    entry, sample = paired.entry, case.samples - 1
    positions = entry.positions[sample].nonzero().flatten()
    # The middle one of those that the model can tell from its mirror image.
    distinct = [k for k, p in enumerate(positions.tolist()) if not _mirrors(entry.rows[sample, p])]
    if not distinct:
        return [check(NAME, site, "n/a", reason="every visual row is zero where it enters") for site in case.names]
    chosen = distinct[len(distinct) // 2]
    place, captured = int(positions[chosen]), paired.captured[sample]
    row = int(captured[chosen]) if chosen < len(captured) else chosen
    mirror = partial(mirrored, shape=entry.positions.shape, sample=sample, place=place)
    with replaced(case.model, case.sites.entry, mirror):
        rows = case.rows(case.inputs)
    return [_judge(case, rows, site, sample, row, "visual row") for site in case.names]


def text_reach(case: Case) -> list[Check]:
    """Change a token in the middle of the last prompt."""
    name, sample = token_name(case.inputs) or "input_ids", case.samples - 1
    ids = case.inputs[name].clone()
    mask: Any = case.inputs.get("attention_mask")
    seen = mask[sample].bool() if isinstance(mask, Tensor) else torch.ones_like(ids[sample]).bool()
    places = seen.nonzero().flatten()
    row = len(places) // 2
    here = int(ids[sample, places[row]])
    ids[sample, places[row]] = next((token for token in ids.unique().tolist() if token != here), here)
    rows = case.rows({**case.inputs, name: ids})
    return [_judge(case, rows, site, sample, row, "token") for site in case.names]


def _mirrors(row: Tensor) -> bool:
    return torch.equal(row, row.flip(-1))


def _judge(case: Case, rows: Tokens, name: str, sample: int, row: int, what: str) -> Check:
    """What moved at one site when row `row` of `sample` was changed where it enters the language model."""
    site = case.sites[name]
    moved = [_moved(after, before) for after, before in zip(rows[name], case.base[name], strict=True)]
    largest = [float(distances.max()) if len(distances) else 0.0 for distances in moved]
    if site.stage == "encoder" or not site.in_sequence:
        still = max(largest) <= BLIND
        reason = f"it comes before the language model, and {'stays' if still else f'moves with one {what} there'}"
        return check(NAME, name, still, max(largest), reason)
    own = moved.pop(sample)
    here = float(own[row]) if row < len(own) else 0.0
    floor = max(BLIND, case.slack * here)
    if max([0.0, *(float(distances.max()) for distances in moved)]) > floor:
        return check(NAME, name, False, max(largest), f"rows of other samples move with one {what} of sample {sample}")
    others = own.clone()
    if row < len(own):
        others[row] = 0.0
    before, after = _most(others[:row]), _most(others[row:])
    if site.stage == "projector":
        alone = max(before, after) <= floor
        reason = f"{'no other row moves' if alone else 'other rows move'} with one {what}"
        return check(NAME, name, alone, max(before, after), reason)
    if here <= BLIND:
        return check(NAME, name, False, here, f"the row of the changed {what} does not move")
    if site.layer == 0:
        alone = max(before, after) <= floor
        reason = f"the row of the changed {what} moves, and no other" if alone else f"other rows move with one {what}"
        return check(NAME, name, alone, max(before, after), reason)
    if before > floor:
        return check(NAME, name, "n/a", before, BOTH_WAYS)
    return check(NAME, name, True, before, f"the row of the changed {what} moves, and none before it")


def _most(distances: Tensor) -> float:
    return float(distances.max()) if len(distances) else 0.0


def _moved(after: Tensor, before: Tensor) -> Tensor:
    """How far each row moved, relative to the mean row's size; all of them far where their number differs."""
    if after.shape != before.shape:
        return torch.full((max(len(after), len(before)),), float("inf"))
    distance = (after - before).norm(dim=-1).nan_to_num(0.0)
    return distance / before.norm(dim=-1).mean().clamp_min(1e-30)
