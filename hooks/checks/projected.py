"""Are the projected rows those the language model is given, and those the model itself calls its image features?"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hooks.certificate import Check
from hooks.checks.case import Case, apart, check, stacked
from hooks.checks.entry import Entry, Pairing, pair
from hooks.recording import tensors

ROWS, FEATURES = "projected rows", "image features"
SITE = "projector"
_ALIKE = 1e-3
"""How far two directions may be apart that differ by arithmetic alone."""


def projected_rows(case: Case, entry: Entry | None) -> list[Check]:
    """The rows read at the projector are the embeddings at the image's positions, bit for bit and in order."""
    if SITE not in case.sites:
        return []
    if not case.sites[SITE].in_sequence:
        return [check(ROWS, SITE, "n/a", reason="the image has no rows in the language model's sequence")]
    if entry is None:
        return [check(ROWS, SITE, "n/a", reason="it is not known where the image enters the language model")]
    paired = pair(case, entry)
    pairs = [paired.both(case.base, SITE, entry.rows, sample) for sample in range(case.samples)]
    if counts := next(((len(a), len(b)) for a, b in pairs if len(a) != len(b)), None):
        reason = f"{counts[0]} rows are read, and {counts[1]} positions hold image rows ({entry.how})"
        return [check(ROWS, SITE, False, None, reason)]
    if all(torch.equal(a, b.float()) for a, b in pairs):
        return [check(ROWS, SITE, True, 0.0, f"equal to the embeddings that enter {entry.module} at {entry.how}")]
    return [_up_to_place(case, paired)]


def _up_to_place(case: Case, paired: Pairing) -> Check:
    """Scaled, or with positions or token embeddings added on the way: the image changes them in the same direction."""
    entry, distances, plain = paired.entry, [], []
    for sample in range(case.samples):
        before, own = paired.both(case.base, SITE, entry.rows, sample)
        after, own_after = paired.both(case.other, SITE, entry.other, sample)
        distances.append(apart(_unit(after - before), _unit(own_after.float() - own.float())))
        plain.append(apart(before, own))
    if max(distances) <= max(_ALIKE, case.slack):
        reason = f"what the image changes is the same as at {entry.module}, which scales the rows or adds to them"
        return check(ROWS, SITE, True, max(distances), reason)
    return check(ROWS, SITE, False, max(plain), f"other rows than the embeddings that enter {entry.module}")


def image_features(case: Case) -> list[Check]:
    """The rows at the projector that move with the image are those of the model's `get_image_features`, in order."""
    if SITE not in case.sites:
        return []
    method = _method(case.model)
    if method is None:
        return [check(FEATURES, SITE, "n/a", reason="the model has no get_image_features")]
    before, after = _features(method, case.inputs), _features(method, case.other_inputs)
    if isinstance(before, str) or isinstance(after, str):
        return [check(FEATURES, SITE, "n/a", reason=str(before))]
    rows, moved_rows = stacked(case.base[SITE]), stacked(case.other[SITE])
    moving = (rows != moved_rows).any(-1)
    closest = float("inf")
    for own, own_after in zip(before, after, strict=False):
        for chosen in (slice(None), moving):
            ours, ours_after = rows[chosen], moved_rows[chosen]
            if own.shape != ours.shape or own_after.shape != own.shape:
                continue
            distance = apart(ours, own)
            if distance > case.slack:
                distance = min(distance, apart(_unit(ours_after - ours), _unit(own_after - own)))
            if distance <= case.slack:
                return [check(FEATURES, SITE, True, distance, "equal to the rows of get_image_features, in order")]
            if _shuffled(ours, own):
                text = "the rows of get_image_features, in another order"
                return [check(FEATURES, SITE, False, distance, text)]
            closest = min(closest, distance)
    said = ", ".join(f"{tuple(own.shape)}" for own in before[:3])
    text = f"get_image_features returns other rows ({said}; at the projector stand {tuple(rows.shape)})"
    return [check(FEATURES, SITE, "n/a", closest, text)]


def _method(model: Any) -> Any:
    owners = (model, getattr(model, "model", None))
    return next((found for owner in owners if callable(found := getattr(owner, "get_image_features", None))), None)


def _features(method: Any, inputs: Mapping[str, Any]) -> list[Tensor] | str:
    """What a model calls its image features, as candidates (row, feature); or why there are none."""
    names = inspect.signature(method).parameters
    try:
        with torch.no_grad():
            value = method(**{name: given for name, given in inputs.items() if name in names})
    except Exception as error:  # the method is the model's own, and so are its errors
        return f"get_image_features does not run by itself ({type(error).__name__})"
    parts = [value]
    if isinstance(value, Mapping):
        parts = [value[key] for key in ("pooler_output", *value) if value.get(key) is not None]
    return [rows for part in parts if (rows := _flat(part)) is not None] or "get_image_features returns no rows"


def _flat(value: Any) -> Tensor | None:
    """Tensors of one width, alone or in lists of one per image, as (row, feature)."""
    flat = [part.flatten(0, -2).float().cpu() for _, part in tensors(value) if part.ndim > 1]
    if not flat or len({part.shape[-1] for part in flat}) > 1:
        return None
    return torch.cat(flat)


def _shuffled(rows: Tensor, other: Tensor) -> bool:
    """Whether two matrices hold the same rows in different orders."""
    distances = torch.cdist(rows, other, compute_mode="donot_use_mm_for_euclid_dist")
    size = float(other.norm(dim=-1).mean())
    alike = distances <= 1e-4 * size
    return bool(alike.any(0).all() and alike.any(1).all())


def _unit(change: Tensor) -> Tensor:
    """A change as a whole, scaled to one: rows keep their proportions."""
    return change / change.norm().clamp_min(1e-30)
