"""Do a sample's rows belong to its own image, whatever stands beside it in the batch?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hooks.certificate import Check
from hooks.checks.case import BLIND, Case, Tokens, answer, apart, check
from hooks.checks.units import Units, Unsplit, alone, pixel_units
from hooks.inputs import token_name

OWN, ALONE = "own image", "batch of one"
OWN_TEXT = "own text"


def own_image(case: Case) -> tuple[list[Check], Units | None]:
    """Change one sample's pixels: its rows move at every site, and no other sample's do."""
    if case.samples == 1:
        return [check(OWN, site, "n/a", reason="there is one sample in the batch") for site in case.names], None
    try:
        units = pixel_units(case)
    except Unsplit as reason:
        return [check(OWN, site, "n/a", reason=str(reason)) for site in case.names], None
    runs = {sample: case.rows(units.changed(case.inputs, sample)) for sample in range(case.samples)}
    return [_separate(case, OWN, site, runs, "pixels") for site in case.names], units


def own_text(case: Case) -> list[Check]:
    """The same for prompts: change one token of a sample."""
    if case.samples == 1:
        return [check(OWN_TEXT, site, "n/a", reason="there is one prompt in the batch") for site in case.names]
    runs = {sample: case.rows(_other_token(case.inputs, sample)) for sample in range(case.samples)}
    return [_separate(case, OWN_TEXT, site, runs, "text") for site in case.names]


def _separate(case: Case, name: str, site: str, runs: Mapping[int, Tokens], what: str) -> Check:
    worst, reason = 0.0, f"a sample's rows move with its own {what} and with no other's"
    for sample, rows in runs.items():
        moved = [apart(after, before) for before, after in zip(case.base[site], rows[site], strict=True)]
        own = moved.pop(sample)
        if own <= BLIND:
            return check(name, site, False, own, f"sample {sample}'s rows do not move when its {what} do")
        others = max(moved)
        if others > case.slack * own:
            culprit = moved.index(others)
            culprit += culprit >= sample
            return check(
                name, site, False, others / own, f"rows of sample {culprit} move when the {what} of sample {sample} do"
            )
        worst = max(worst, others / own)
    return check(name, site, True, worst, reason)


def _other_token(inputs: Mapping[str, Any], sample: int) -> dict[str, Any]:
    """The inputs with a sample's last attended token replaced by another that occurs in the batch."""
    name = token_name(inputs) or "input_ids"
    ids = inputs[name].clone()
    mask: Any = inputs.get("attention_mask")
    seen = mask[sample].bool() if isinstance(mask, Tensor) else torch.ones_like(ids[sample]).bool()
    place = int(seen.nonzero()[-1])
    ids[sample, place] = next(token for token in ids.unique().tolist() if token != int(ids[sample, place]))
    return {**inputs, name: ids}


def batch_of_one(case: Case, units: Units | None) -> tuple[list[Check], dict[str, float]]:
    """Each sample by itself has the rows it has in the batch. Also says how far they are apart, per site.

    That the inputs were taken apart rightly is told by the model's own output, which has to be the same alone.
    """
    if case.samples == 1:
        return [check(ALONE, site, "n/a", reason="there is one sample in the batch") for site in case.names], {}
    if units is None and case.stage != "text":
        return [check(ALONE, site, "n/a", reason="it is not known which pixels are whose") for site in case.names], {}
    single: list[Tokens] = []
    for sample in range(case.samples):
        try:
            inputs = alone(case, units, sample)
            distance = _answer_apart(case, inputs, sample)
        except Unsplit as unsplit:
            return [check(ALONE, site, "n/a", reason=str(unsplit)) for site in case.names], {}
        except Exception as error:  # whatever a foreign model raises on inputs that were cut wrongly for it
            text = f"the model does not take sample {sample} alone ({type(error).__name__})"
            return [check(ALONE, site, "n/a", reason=text) for site in case.names], {}
        if distance > case.slack:
            text = (
                f"sample {sample} alone has another output, {distance:.1g} of its size away: its inputs are cut wrongly"
            )
            return [check(ALONE, site, "n/a", reason=text) for site in case.names], {}
        single.append(case.rows(inputs))
    found, noise = [], {}
    for site in case.names:
        pairs = [(rows[site][0], case.base[site][sample]) for sample, rows in enumerate(single)]
        counts = next(((len(own), len(many)) for own, many in pairs if len(own) != len(many)), None)
        distance = max(apart(own, many) for own, many in pairs)
        if counts:
            reason = f"alone a sample has {counts[0]} rows, in the batch {counts[1]}"
        elif distance > case.slack:
            reason = f"the rows differ by {distance:.1g} of their size, the output does not"
        else:
            reason, noise[site] = "the same rows alone and in the batch", distance
        found.append(check(ALONE, site, not counts and distance <= case.slack, distance, reason))
    return found, noise


def _answer_apart(case: Case, inputs: Mapping[str, Any], sample: int) -> float:
    assert case.answer_key is not None
    many, own = case.output[case.answer_key][sample], answer(case.model, inputs)[case.answer_key][0]
    mask: Any = case.inputs.get("attention_mask")
    if isinstance(mask, Tensor) and mask.ndim == 2 and many.ndim == 2 and mask.shape[1] == len(many) == len(own):
        seen = mask[sample].bool().to(many.device)
        many, own = many[seen], own[seen]
    return apart(own, many)
