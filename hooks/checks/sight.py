"""Does the model, and does every site, answer to the image (or the text) at all?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hooks.certificate import MODEL, Check
from hooks.checks.case import BLIND, Case, Tokens, answer, apart, check
from hooks.inputs import change_pixels, change_text, pixel_names

PIXELS, TEXT = "sees its pixels", "sees its text"


def blank(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with an image of one colour; padding, which is zero, stays zero."""
    grey = dict(inputs)
    for name in pixel_names(inputs):
        value = inputs[name]
        grey[name] = torch.where(value != 0, torch.full_like(value, 0.5), value)
    return grey


def blindness(model: Any, inputs: Mapping[str, Any]) -> Check:
    """The model's own output on another and on a blank image: a model that gives the same one cannot be probed."""
    before = answer(model, inputs)
    moved = [
        max((apart(after[key], before[key]) for key in before if key in after), default=0.0)
        for after in (answer(model, change_pixels(inputs, 1)), answer(model, blank(inputs)))
    ]
    if min(moved) > BLIND:
        return check(PIXELS, MODEL, True, min(moved), "its output changes with the image")
    how = "does not change at all" if min(moved) == 0 else f"changes by {min(moved):.0e} of its size, which is rounding"
    return check(
        PIXELS,
        MODEL,
        False,
        min(moved),
        f"{type(model).__name__} is blind: its output {how} when the image does; untrained weights can be (zero or "
        "tiny initial values), use trained ones or another initialisation",
    )


def sees_pixels(case: Case) -> list[Check]:
    """Every sample's rows at every site move with another image, and with a blank one."""
    runs = {"another image": case.other}
    if case.thorough:
        runs["a blank image"] = case.rows(blank(case.inputs))
    return _moved(case, PIXELS, runs)


def sees_text(case: Case) -> list[Check]:
    """The first sample's rows at every site move with one of its tokens."""
    runs = {"another token": case.rows(change_text(case.inputs))}
    return _moved(case, TEXT, runs, samples=1)


def _moved(case: Case, name: str, runs: Mapping[str, Tokens], samples: int | None = None) -> list[Check]:
    found = []
    for site in case.names:
        least, what, whose = float("inf"), "", 0
        for label, rows in runs.items():
            for sample, (before, after) in enumerate(zip(case.base[site], rows[site], strict=True)):
                if (samples is None or sample < samples) and (distance := apart(after, before)) < least:
                    least, what, whose = distance, label, sample
        seen = least > BLIND
        reason = (
            f"the rows move with {' and '.join(runs)}" if seen else f"sample {whose}'s rows stay as they are on {what}"
        )
        found.append(check(name, site, seen, least, reason))
    return found
