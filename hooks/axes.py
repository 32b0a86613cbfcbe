"""What the axes of a tensor are: where the samples lie, and where the features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hooks.evidence import Evidence, Side, inside
from hooks.recording import Call, Rows
from hooks.sites import Axis, Key

_GRID: tuple[Axis, ...] = ("depth", "row", "column")
_CHANNELS_FIRST = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm)


def sequence_axes(
    evidence: Evidence, call: Call, side: Side, key: Key, samples: int, length: int | None = None
) -> tuple[Axis, ...] | None:
    """The axes of an LLM's hidden states, (sample, token, feature) among streams; None if they are none.

    `length`: the sequence's length, where it is known to be the token ids'.
    """
    shape = getattr(call, side)[key].shape
    if len(shape) < 3:
        return None
    doubled = _doubled_axis(evidence, call, side, key)
    places = [doubled] if doubled is not None else [place for place in range(len(shape) - 2) if shape[place] == samples]
    if len(shape) > 3 and length is not None:
        places = [place for place in places if shape[place + 1] == length] or places
    if not places or shape[places[0]] != samples or places[0] > len(shape) - 3:
        return None
    axes: list[Axis] = ["stream"] * len(shape)
    axes[places[0]], axes[places[0] + 1], axes[-1] = "sample", "token", "feature"
    return tuple(axes) if axes.count("stream") <= 1 else None


def vision_axes(model: nn.Module, evidence: Evidence, call: Call, side: Side, key: Key) -> tuple[Axis, ...] | None:
    """The axes of a vision module's tensor: units (images, tiles, windows), a grid or a row of patches, and features,
    which come last, or second where convolutions and their norms read the tensor as it stands."""
    shape = getattr(call, side)[key].shape
    if not 2 <= len(shape) <= 5:
        return None
    if len(shape) == 2:
        # One vector per image or patches of the batch in one row: both follow the samples.
        return ("row", "feature")
    grid: tuple[Axis, ...] = ("row",) if len(shape) == 3 else _GRID[5 - len(shape) :]
    if _channels_first(model, evidence, call, side, key):
        return ("unit", "feature", *grid)
    if len(shape) == 3 and shape[0] > 1 and _doubled_axis(evidence, call, side, key) == 1:
        return ("row", "unit", "feature")
    return ("unit", *grid, "feature")


def _doubled_axis(evidence: Evidence, call: Call, side: Side, key: Key) -> int | None:
    other = evidence.doubled.by_key.get((call.module, call.index)) if evidence.doubled else None
    there = getattr(other, side).get(key) if other else None
    shape = getattr(call, side)[key].shape
    if there is None or len(there.shape) != len(shape):
        return None
    grown = [place for place, (size, twice) in enumerate(zip(shape, there.shape, strict=True)) if size != twice]
    return grown[0] if len(grown) == 1 and there.shape[grown[0]] == 2 * shape[grown[0]] else None


def _channels_first(model: nn.Module, evidence: Evidence, call: Call, side: Side, key: Key) -> bool:
    """The modules without parts that read or make this very tensor say which axis they work on."""
    rows: Rows = getattr(call, side)[key]
    if len(rows.shape) == 3 and rows.shape[1] == rows.shape[2]:
        return False
    for other in evidence.calls:
        if other.module in evidence.parents:
            continue
        within = inside(other.module, call.module) and call.entered <= other.entered and other.left <= call.left
        reads = (within or side == "outputs") and any(rows.same(taken) for taken in other.inputs.values())
        makes = within and side == "outputs" and any(rows.same(made) for made in other.outputs.values())
        said = _first_by(model.get_submodule(other.module), rows.shape) if reads or makes else None
        if said is not None:
            return said
    weights = model.get_submodule(call.module).parameters()
    said = {_first_by_size(size, rows.shape) for weight in weights if weight.ndim <= 2 for size in weight.shape}
    return True in said and False not in said


def _first_by(module: nn.Module, shape: Sequence[int]) -> bool | None:
    if isinstance(module, _CHANNELS_FIRST):
        return True
    for weight in module.parameters():
        # A matrix's last axis is as long as what it reads; a norm's weight as what it scales.
        if weight.ndim <= 2 and (said := _first_by_size(weight.shape[-1], shape)) is not None:
            return said
    return None


def _first_by_size(size: int, shape: Sequence[int]) -> bool | None:
    if shape[1] == shape[-1] or size not in (shape[1], shape[-1]):
        return None
    return size == shape[1]
