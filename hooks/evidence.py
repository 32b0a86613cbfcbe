"""What a few dry forwards say of a model: the calls of its modules, and which rows depend on the pixels or the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from commandline import InputError, first_line
from hooks.inputs import change_pixels, change_text, collate, pixel_names, token_name
from hooks.recording import Call, Recording, Rows, record
from hooks.sites import Key

Side = Literal["inputs", "outputs"]
Runs = Sequence[Recording]


@dataclass(frozen=True)
class Evidence:
    """The unchanged forward, the same once more, and forwards with other pixels and with another text token."""

    base: Recording
    again: Recording
    pixels: Runs
    text: Runs
    doubled: Recording | None
    """The batch put after itself, where the model takes that: the axis that doubles holds the samples."""
    kinds: Mapping[str, type[nn.Module]]
    parents: frozenset[str]
    """Modules that have children."""

    @property
    def calls(self) -> tuple[Call, ...]:
        return self.base.calls

    def moved(self, call: Call, side: Side, key: Key, runs: Runs) -> Tensor:
        """Which rows of a tensor differ in any of `runs`, those that never repeat left out: bool, its shape without
        the last axis."""
        here: Rows = getattr(call, side)[key]
        moved = torch.zeros_like(here.hashes, dtype=torch.bool)
        for run in runs:
            moved |= here.moved(_there(run, call, side, key))
        return moved & ~here.moved(_there(self.again, call, side, key))

    def moves(self, call: Call, side: Side, runs: Runs, key: Key | None = None) -> bool:
        """Whether any row of a call's inputs or outputs (or of the one at `key`) differs in any of `runs`."""
        keys = getattr(call, side) if key is None else (key,)
        return any(bool(self.moved(call, side, each, runs).any()) for each in keys)

    def repeats_with_samples(self, module: str) -> bool:
        """Whether a batch twice as long runs a module more often: once per image, say."""
        if self.doubled is None:
            return False
        counts = [sum(call.module == module for call in run.calls) for run in (self.base, self.doubled)]
        return counts[1] > counts[0]

    @cached_property
    def _seeing(self) -> frozenset[tuple[str, int]]:
        return frozenset((call.module, call.index) for call in self.calls if self.moves(call, "outputs", self.pixels))

    @cached_property
    def _reading(self) -> frozenset[tuple[str, int]]:
        return frozenset((call.module, call.index) for call in self.calls if self.moves(call, "outputs", self.text))

    def sees(self, call: Call) -> bool:
        return (call.module, call.index) in self._seeing

    def reads(self, call: Call) -> bool:
        return (call.module, call.index) in self._reading

    def of_vision(self, call: Call) -> bool:
        """Depends on the pixels and not on the text."""
        return self.sees(call) and not self.reads(call)


def gather(model: nn.Module, inputs: Mapping[str, Any]) -> Evidence:
    """Run the model as it is, twice, with its pixels changed in two ways, and with one text token changed.

    Raises InputError when the model does not run on these inputs at all.
    """
    try:
        base = record(model, inputs)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"{type(model).__name__} cannot run on {', '.join(inputs)}: {first_line(error)}; "
            "give it the whole output of its processor"
        ) from error
    again = record(model, inputs)
    pixels = [record(model, change_pixels(inputs, kind)) for kind in (0, 1)] if pixel_names(inputs) else []
    text = [record(model, change_text(inputs))] if token_name(inputs) else []
    kinds = {name: type(module) for name, module in model.named_modules()}
    parents = frozenset(name for name, module in model.named_modules() if next(module.children(), None) is not None)
    return Evidence(base, again, pixels, text, _doubled(model, inputs), kinds, parents)


def _doubled(model: nn.Module, inputs: Mapping[str, Any]) -> Recording | None:
    if not all(isinstance(value, Tensor) and value.ndim for value in inputs.values()):
        return None
    try:
        return record(model, collate([inputs, inputs]))
    except Exception:  # a model may refuse it for any reason, memory included; the shapes alone must do then
        return None


def _there(run: Recording, call: Call, side: Side, key: Key) -> Rows | None:
    other = run.by_key.get((call.module, call.index))
    return getattr(other, side).get(key) if other else None


def inside(name: str, module: str) -> bool:
    """Whether a module is another one or a part of it."""
    return not module or name == module or name.startswith(f"{module}.")
