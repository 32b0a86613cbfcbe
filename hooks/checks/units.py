"""Which part of the pixel inputs is whose, by the model's own answers: change a part, and see whose answer moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hooks.checks.case import BLIND, Case
from hooks.inputs import change_pixels, pixel_names, token_name


@dataclass(frozen=True)
class Units:
    """Whose is which part of the pixel inputs."""

    axes: Mapping[str, int]
    """Of each pixel input, the axis along which images (tiles, patches) follow each other."""
    own: tuple[Mapping[str, Tensor], ...]
    """Per sample, {pixel input: bool mask along that axis}."""

    def changed(self, inputs: Mapping[str, Any], sample: int) -> dict[str, Any]:
        """The inputs with a sample's pixels changed, as `change_pixels` does."""
        other = change_pixels(inputs, 1)
        return {**inputs, **{n: _mixed(inputs[n], other[n], self.axes[n], m) for n, m in self.own[sample].items()}}


class Unsplit(Exception):
    """The inputs cannot be taken apart by sample; says why."""


def image_sizes(inputs: Mapping[str, Any], length: int) -> list[int] | None:
    """Units per image of a packed pixel input, from the grids (height x width, or time x height x width) beside it."""
    for value in inputs.values():
        if (
            not isinstance(value, Tensor)
            or value.is_floating_point()
            or value.ndim != 2
            or value.shape[1] not in (2, 3)
        ):
            continue
        sizes = value.prod(1).tolist()
        if min(sizes) > 0 and length > len(sizes) and length % sum(sizes) == 0:
            return [size * (length // sum(sizes)) for size in sizes]
    return None


def pixel_units(case: Case) -> Units:
    """The units of each sample: those whose change moves its answer and no other's.

    Raises:
        Unsplit: the answer has no row per sample, one unit moves several samples, or a sample has none.
    """
    if case.answer_key is None:
        raise Unsplit("the model's output has no row per sample")
    axes, owners = {}, {}
    for name in pixel_names(case.inputs):
        axes[name], owners[name] = _owners(case, name)
    own = tuple({name: owner == sample for name, owner in owners.items()} for sample in range(case.samples))
    for sample, masks in enumerate(own):
        if not any(mask.any() for mask in masks.values()):
            raise Unsplit(f"no part of the pixels moves the output of sample {sample}")
    return Units(axes, own)


def _owners(case: Case, name: str) -> tuple[int, Tensor]:
    """The axis of a pixel input on which samples are apart, and the sample of each unit there: int64 (unit,), -1 for a
    unit that moves nothing (padding)."""
    shared: list[Unsplit] = []
    for axis, length in enumerate(case.inputs[name].shape):
        if length > 1:
            try:
                return axis, _owners_along(case, name, axis)
            except Unsplit as reason:
                shared.append(reason)
    raise shared[0] if shared else Unsplit(f"{name} is one number")


def _owners_along(case: Case, name: str, axis: int) -> Tensor:
    value = case.inputs[name]
    length = value.shape[axis]
    other = change_pixels(case.inputs, 1)[name]
    sizes = image_sizes(case.inputs, length) or [1] * length
    edges = [0, *torch.tensor(sizes).cumsum(0).tolist()]
    owner = torch.full((length,), -1)
    waiting = [(block, block + 1) for block in range(len(sizes))] if len(sizes) <= case.samples else [(0, len(sizes))]
    while waiting:
        first, last = waiting.pop()
        mask = torch.zeros(length, dtype=torch.bool)
        mask[edges[first] : edges[last]] = True
        moved = _movers(case, {**case.inputs, name: _mixed(value, other, axis, mask)})
        if len(moved) == 1:
            owner[mask] = moved[0]
        elif moved and last - first == 1:
            raise Unsplit(f"part {first} of {name} moves the outputs of samples {', '.join(map(str, moved))} at once")
        elif moved:
            middle = (first + last) // 2
            waiting += [(first, middle), (middle, last)]
    return owner


def _movers(case: Case, inputs: Mapping[str, Any]) -> list[int]:
    moved = case.answers_apart(inputs)
    # In half precision another sample's answer may stir (a mixture of experts batches its tokens differently).
    floor = BLIND if case.slack < 0.01 else max(BLIND, 0.05 * max(moved))
    return [sample for sample, distance in enumerate(moved) if distance > floor]


def _mixed(value: Tensor, other: Tensor, axis: int, mask: Tensor) -> Tensor:
    shape = [1] * value.ndim
    shape[axis] = -1
    return torch.where(mask.to(value.device).reshape(shape), other, value)


def alone(case: Case, units: Units | None, sample: int) -> dict[str, Any]:
    """One sample's own part of every input.

    Raises:
        Unsplit: an input is of neither samples, images, units nor tokens.
    """
    own, axes = (units.own[sample], units.axes) if units else ({}, {})
    by_length: dict[int, Tensor] = {}
    for mask in own.values():
        by_length[len(mask)] = mask
        if sizes := image_sizes(case.inputs, len(mask)):
            by_length.setdefault(len(sizes), torch.stack([part.any() for part in mask.split(sizes)]))
    # Texts that never meet the images (a dual encoder's) are not theirs to be divided.
    text = token_name(case.inputs) if own and case.sites.fusion == "none" else None
    unread = case.inputs[text].shape if text else None
    parts = dict(case.inputs)
    for name, value in case.inputs.items():
        if name in own:
            parts[name] = value.index_select(axes[name], own[name].nonzero().flatten().to(value.device))
        elif not isinstance(value, Tensor):
            per_sample = isinstance(value, (list, tuple)) and len(value) == case.samples
            parts[name] = value[sample : sample + 1] if per_sample else value
        elif value.ndim and value.shape != unread:
            parts[name] = _own_rows(case, name, value, by_length, sample)
    return parts


def _own_rows(case: Case, name: str, value: Tensor, by_length: Mapping[int, Tensor], sample: int) -> Tensor:
    if value.shape[0] == case.samples:
        return value[sample : sample + 1]
    if value.shape[0] in by_length:
        return value[by_length[value.shape[0]].to(value.device)]
    if value.ndim > 1 and value.shape[1] == case.samples:
        return value[:, sample : sample + 1]
    raise Unsplit(f"it is not known which part of {name}, {tuple(value.shape)}, is whose")


def twin(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A batch of the inputs and, behind them, the same with other pixels."""
    other = change_pixels(inputs, 0)
    return {
        name: torch.cat([value, other[name]]) if isinstance(value, Tensor) and value.ndim else value
        for name, value in inputs.items()
    }
