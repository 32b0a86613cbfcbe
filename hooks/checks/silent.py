"""Does reading change anything?"""

from __future__ import annotations

from dataclasses import replace

import torch

from hooks.certificate import MODEL, Check
from hooks.checks.case import Case, answer, apart, check
from hooks.measuring import measured
from hooks.positions import ownership
from hooks.rows import Ownership, Share, Undivided
from hooks.sites import Axis, Site
from hooks.tracing import trace

NAME = "null read"
_OUTPUT = "output"


def null_read(case: Case) -> list[Check]:
    """The model's output when every site is read is the output of a plain forward, bit for bit; and so is the next
    plain forward's. Where two plain forwards differ (some GPU kernels), by no more than they do."""
    key, before = case.answer_key, case.output
    if key is None:
        return [check(NAME, MODEL, "n/a", reason="the model's output has no row per sample")]
    again = answer(case.model, case.inputs)
    jitter = apart(again[key], before[key])
    read = _traced_output(case)
    wanted = before[key].flatten(0, -2).float()
    distance = apart(read, wanted)
    if distance > jitter:
        return [check(NAME, MODEL, False, distance, "the output of the forward that is read is another one")]
    after = apart(answer(case.model, case.inputs)[key], before[key])
    if after > jitter:
        return [check(NAME, MODEL, False, after, "the plain forward after a read is another one than before it")]
    reason = "the output is the same, bit for bit, with every site read"
    if jitter:
        reason = f"the output differs by no more than two plain forwards do ({jitter:.1g})"
    return [check(NAME, MODEL, True, distance, reason)]


def _traced_output(case: Case) -> torch.Tensor:
    """The model's answer, (row, feature), from the very forward in which the sites are read."""
    key = case.answer_key
    assert key is not None
    value = case.output[key]
    inner: tuple[Axis, ...] = ("row", "column", "depth")
    axes: tuple[Axis, ...] = ("unit", *inner[: value.ndim - 2], "feature")
    last = 1 + max(site.order for site in case.sites.values())
    whole = Site(_OUTPUT, "encoder", None, "", "output", key, value.shape[-1], last, axes=axes)
    rows = value[..., 0].numel()
    share = Share(torch.arange(rows), (rows // case.samples,) * case.samples)
    sites = replace(case.sites, sites={**case.sites.sites, _OUTPUT: whole})
    owner = ownership(case.model, case.inputs, case.sites)
    try:
        read = trace(case.model, sites, case.inputs, _with(owner, share), "tokens")
    except Undivided:
        read = trace(
            case.model, sites, case.inputs, _with(measured(case.model, case.inputs, case.sites, owner), share), "tokens"
        )
    return torch.cat(read[_OUTPUT])


def _with(owner: Ownership, share: Share) -> Ownership:
    # Only the output's order is added: an empty `order` means that of the dry run.
    order = {**owner.order, _OUTPUT: (1 << 60,)} if owner.order else owner.order
    return replace(owner, shares={**owner.shares, _OUTPUT: share}, order=order)
