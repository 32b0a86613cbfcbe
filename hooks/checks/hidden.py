"""Is `llm.k` what the model itself returns as its k-th hidden states, and `encoder.k` likewise?

transformers' numbering: entry 0 is what enters the first block, entry k what block k hands on; of most models the last
entry is the final norm's output and not the last block's. A model that adds rows between two blocks (DeepStack) returns
what is before the addition: there `llm.k` is the entry and the rows added to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hooks.certificate import Check
from hooks.checks.case import Case, apart, check, run
from hooks.checks.entry import Pairing
from hooks.checks.states import States, offered_states
from hooks.inputs import pixel_names
from hooks.recording import at, tensors

NAME = "hidden states"


def hidden_states(case: Case, paired: Pairing | None) -> list[Check]:
    """`paired`: which captured rows stand where in the sequence; None where the image has no rows there."""
    asked = [site for site in case.sites.values() if site.stage in ("encoder", "llm", "text")]
    if not asked:
        return []
    try:
        offered = offered_states(case)
    except Exception as error:  # asked for hidden states, some models raise
        offered = {}
        reason = f"the model cannot return hidden states ({type(error).__name__})"
    else:
        reason = "the model returns no hidden states"
    found: list[Check] = []
    for stage in dict.fromkeys(site.stage for site in asked):
        names = [site.name for site in asked if site.stage == stage]
        if stage == "encoder":
            found += _encoder(case, names, list(offered.values()), f"{reason} of its vision side")
        elif stage == "llm" and paired is None:
            found += [
                check(NAME, name, "n/a", reason="it is not known which positions are the image's") for name in names
            ]
        else:
            found += _language(case, stage, names, list(offered.values()), paired, reason)
    return found


def _language(
    case: Case, stage: str, names: Sequence[str], offered: Sequence[States], paired: Pairing | None, missing: str
) -> list[Check]:
    """The best of the model's lists of hidden states against the sites of a stage."""
    best: list[Check] = [check(NAME, name, "n/a", reason=missing) for name in names]
    for states in offered:
        if max((case.sites[name].layer or 0) for name in names) > len(states) - 1:
            continue
        try:
            compared = [_compare(case, stage, name, states, paired) for name in names]
            if (
                stage == "text"
                and any(c.status == "fail" for c in compared)
                and (whole := _with_embeddings(case, states))
            ):
                compared = [_compare(case, stage, name, whole, paired) for name in names]
        except ValueError:  # states of another sequence: no (sample, token) axes as here
            continue
        if _passed(compared) >= max(_passed(best), 1) or all(c.status == "n/a" for c in best):
            best = compared
    return best


def _with_embeddings(case: Case, states: States) -> States | None:
    """Hidden states that begin behind the first block, as some models' do, with the embeddings before them."""
    module = getattr(case.model, "get_input_embeddings", lambda: None)()
    name = next((name for name, own in case.model.named_modules() if own is module), None)
    made = _outputs(case, name) if name else []
    if not made or made[0].shape != states[0].shape or torch.equal(made[0], states[0]):
        return None
    return [made[0], *states]


def _passed(checks: Sequence[Check]) -> int:
    return sum(c.status == "pass" for c in checks)


def _compare(case: Case, stage: str, name: str, states: States, paired: Pairing | None) -> Check:
    last, layer = len(states) - 1, case.sites[name].layer
    index = last if layer is None else layer
    distance = _distance(case, name, states[index], paired)
    if distance <= _close(case):
        which = "the last of the hidden states" if layer is None else f"hidden_states[{index}]"
        return check(NAME, name, True, distance, f"equal to {which}")
    if layer == last and (normed := _through_norm(case, stage, name, states, paired)):
        return normed
    elsewhere = [k for k in range(last + 1) if k != index and _distance(case, name, states[k], paired) == 0.0]
    if elsewhere:
        return check(NAME, name, False, distance, f"it is hidden_states[{elsewhere[0]}], not {index}")
    if paired and name in case.sites.added and (added := _addition(case, name, states[index], paired)):
        return added
    if index == last:
        own, wanted = _rows(case, name, states[last], paired, 0)
        if own.shape[-1] != wanted.shape[-1]:
            return check(NAME, name, "n/a", reason="the last of the hidden states has another width than its rows")
        final = f"{stage}.final"
        if layer == last and (final not in case.sites or _compare(case, stage, final, states, paired).status != "fail"):
            reason = "the model returns its last block's output only after the final norm, and other things between"
            return check(NAME, name, "n/a", reason=reason)
    if distance == float("inf"):
        return check(NAME, name, False, None, f"other rows than hidden_states[{index}] has at its positions")
    return check(NAME, name, False, distance, f"not hidden_states[{index}]: {distance:.1g} of its size away")


def _close(case: Case) -> float:
    return 1e-5 if case.slack < 0.01 else 0.02


def _distance(case: Case, name: str, state: Tensor, paired: Pairing | None) -> float:
    return max(apart(*_rows(case, name, state, paired, sample)) for sample in range(case.samples))


def _rows(case: Case, name: str, state: Tensor, paired: Pairing | None, sample: int) -> tuple[Tensor, Tensor]:
    if paired:
        return paired.both(case.base, name, state, sample)
    mask = case.inputs.get("attention_mask")
    rows = state[sample]
    seen = rows[mask[sample].bool().to(rows.device)] if isinstance(mask, Tensor) else rows
    return case.base[name][sample], seen


def _through_norm(case: Case, stage: str, name: str, states: States, paired: Pairing | None) -> Check | None:
    """The last block's own output is in no list; what the final norm makes of it is."""
    final = case.sites.get(f"{stage}.final")
    if final is None:
        return check(NAME, name, "n/a", reason="the model returns its last block's output only after the final norm")
    norm = case.model.get_submodule(final.module)
    distance = 0.0
    for sample in range(case.samples):
        rows, wanted = _rows(case, name, states[-1], paired, sample)
        try:
            with torch.no_grad():
                made = norm(rows.to(case.device, case.dtype)[None])
        except Exception:  # a norm that wants more than rows
            return None
        made = at(made, next(key for key, _ in tensors(made)))
        distance = max(distance, apart(made[0].cpu(), wanted))
    if distance > _close(case):
        return None
    return check(NAME, name, True, distance, "after the final norm it is the last of the hidden states")


def _addition(case: Case, name: str, state: Tensor, paired: Pairing) -> Check | None:
    """What a site has beyond the hidden states is what the named module made of the image."""
    module = case.sites.added[name]
    if module not in dict(case.model.named_modules()):
        reason = "the model adds rows to the residual stream before it, and it is not known which module's"
        return check(NAME, name, "n/a", reason=reason)
    made = _outputs(case, module)
    for sample in range(case.samples):
        rows, before = paired.both(case.base, name, state, sample)
        if rows.shape != before.shape:
            return None
        change = rows - before.float()
        # Newline rows are parameters, and no module's.
        moved = paired.entry.moving[sample][paired.entry.positions[sample]].to(change.device)
        candidates = [value.flatten(0, -2).float() for value in made if value.shape[-1] == rows.shape[-1]]
        if not candidates or not moved.any():
            return None
        made_rows = torch.cat(candidates).to(change.device)
        distances = torch.cdist(change[moved], made_rows, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distances.min(1).values
        if float(nearest.max()) > max(1e-4, _close(case)) * float(rows.norm(dim=-1).mean()):
            return None
    return check(NAME, name, True, 0.0, f"hidden_states[{case.sites[name].layer}] and the rows of {module} added to it")


def _outputs(case: Case, module: str) -> list[Tensor]:
    made: list[Tensor] = []

    def keep(_: nn.Module, args: Any, output: Any) -> None:
        made.extend(value.detach().to("cpu", copy=True) for _, value in tensors(output) if value.ndim > 1)

    handle = case.model.get_submodule(module).register_forward_hook(keep)
    try:
        run(case.model, case.inputs)
    finally:
        handle.remove()
    return made


def _encoder(case: Case, names: Sequence[str], offered: Sequence[States], missing: str) -> list[Check]:
    """Vision hidden states have no common layout: the captured rows are looked for among each entry's rows."""
    compared = [[check(NAME, name, "n/a", reason=missing) for name in names]]
    for states in offered:
        if max((case.sites[name].layer or 0) for name in names) < len(states):
            compared.append([_compare_encoder(case, name, states) for name in names])
    # The list that says most: one of the language model's says nothing of any site here.
    return max(compared, key=lambda checks: (_passed(checks), sum(c.status != "n/a" for c in checks)))


def _compare_encoder(case: Case, name: str, states: States) -> Check:
    index = case.sites[name].layer
    if index is None:
        return check(NAME, name, "n/a", reason="what the projector reads is no entry of its own in the hidden states")
    found = {k: how for k, state in enumerate(states) if (how := _contains(state, case.base[name]))}
    if index in found:
        ordered = found[index] == "in order"
        left = states[index].numel() // case.sites[name].width - sum(len(rows) for rows in case.base[name])
        if left > 0 and not _padded(case):
            return check(
                NAME, name, False, left, f"{left} rows of the vision side's hidden_states[{index}] are not read"
            )
        how = "" if ordered else ", in another order"
        return check(NAME, name, ordered, None, f"its rows are those of the vision side's hidden_states[{index}]{how}")
    if found and len(states) == _blocks(case, name) + 1:
        return check(NAME, name, False, None, f"it is the vision side's hidden_states[{min(found)}], not {index}")
    reason = f"the vision side's hidden_states[{index}] is something else (normalised, merged or in a grid)"
    return check(NAME, name, "n/a", reason="the vision side numbers its hidden states otherwise" if found else reason)


def _padded(case: Case) -> bool:
    """Whether images, tiles or patches of zeros fill the pixel inputs up."""
    values = [case.inputs[name] for name in pixel_names(case.inputs)]
    return any(bool((~value.flatten(min(2, value.ndim - 1)).any(-1)).any()) for value in values)


def _blocks(case: Case, name: str) -> int:
    """How many blocks stand beside a site's in their list."""
    above, _, own = case.sites[name].module.rpartition(".")
    return len(list(case.model.get_submodule(above).children())) if own.isdigit() else 0


def _contains(state: Tensor, rows: Sequence[Tensor]) -> Literal["in order", "shuffled"] | None:
    """Whether every sample's rows are rows of a tensor, whose features stand last or second (channels first), and in
    its order. Rows that the tensor holds twice say nothing of the order."""
    for axis in (-1, 1):
        if state.ndim < 2 or state.shape[axis] != rows[0].shape[-1]:
            continue
        places: dict[bytes, int] = {}
        own = state.movedim(axis, -1).flatten(0, -2)
        for place, row in enumerate(_bytes(own)):
            places[row] = -1 if row in places else place
        found = [[places.get(row) for row in _bytes(part)] for part in rows]
        if all(place is not None for part in found for place in part):
            single = [[place for place in part if place is not None and place >= 0] for part in found]
            return "in order" if all(part == sorted(part) for part in single) else "shuffled"
    return None


def _bytes(rows: Tensor) -> list[bytes]:
    return [row.tobytes() for row in rows.float().cpu().numpy()]
