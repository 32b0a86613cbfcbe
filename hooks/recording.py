"""One dry forward, written down: which modules ran, in which order, and a hash of every row that entered or left them.

Two recordings of a model whose inputs differ in one thing (the pixels, one text token) tell, row by row, what depends
on it. Hashes instead of tensors: a 7B model's whole forward fits in a few megabytes, and equality is what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hooks.sites import Key, Site

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_SLICE = 1 << 24
"""Elements hashed at a time: the temporary is 8 bytes each."""


@dataclass(frozen=True)
class Rows:
    """A floating-point tensor, reduced to one hash per row (its last axis)."""

    shape: tuple[int, ...]
    hashes: Tensor
    """int64, `shape[:-1]`, on the CPU."""

    def same(self, other: Rows | None) -> bool:
        return other is not None and self.shape == other.shape and torch.equal(self.hashes, other.hashes)

    def moved(self, other: Rows | None) -> Tensor:
        """Which rows differ from another recording's (all of them, where the shapes do): bool, `shape[:-1]`."""
        if other is None or other.shape != self.shape:
            return torch.ones_like(self.hashes, dtype=torch.bool)
        return self.hashes != other.hashes


@dataclass
class Call:
    """One execution of one module; `index` counts the executions of the same module in the forward."""

    module: str
    index: int
    entered: int
    left: int = -1
    inputs: dict[Key, Rows] = field(default_factory=dict)
    outputs: dict[Key, Rows] = field(default_factory=dict)

    def main_input(self) -> Key | None:
        """The hidden states among the inputs: the tensor called so, else the first of two axes or more."""
        return _main(self.inputs)

    def main_output(self) -> Key | None:
        return _main(self.outputs)


@dataclass(frozen=True)
class Recording:
    """A forward's calls in the order they began."""

    calls: tuple[Call, ...]

    def by_key(self) -> dict[tuple[str, int], Call]:
        return {(call.module, call.index): call for call in self.calls}

    def at(self, site: Site) -> list[tuple[int, Rows]]:
        """What stood at a site, and when: once per call of its module that the site reads."""
        calls = [call for call in self.calls if call.module == site.module and site.call in (None, call.index)]
        if site.reads == "input":
            return [(call.entered, call.inputs[site.key]) for call in calls if site.key in call.inputs]
        return [(call.left, call.outputs[site.key]) for call in calls if site.key in call.outputs]


class _Reached(Exception):
    """The forward has come as far as was asked."""


def record(
    model: nn.Module,
    inputs: Mapping[str, Any],
    modules: Collection[str] | None = None,
    until: Site | None = None,
) -> Recording:
    """Run `model(**inputs)` once without gradients and hash what passes through its modules, or some of them.

    `until`: the forward stops as soon as this site's (last wanted) call is over.
    """
    calls: list[Call] = []
    running: dict[str, list[Call]] = {}
    counts: dict[str, int] = {}
    clock = iter(range(1 << 62))
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
            call = Call(name, counts.get(name, 0), next(clock))
            counts[name] = call.index + 1
            call.inputs.update((("args", *key), _hash(value)) for key, value in tensors(args))
            call.inputs.update((("kwargs", *key), _hash(value)) for key, value in tensors(kwargs))
            running.setdefault(name, []).append(call)
            calls.append(call)
            if until and until.reads == "input" and (name, call.index) == (until.module, until.call or 0):
                raise _Reached

        def leave(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            call = running[name].pop()
            call.left = next(clock)
            call.outputs.update((key, _hash(value)) for key, value in tensors(output))
            if until and until.reads == "output" and (name, call.index) == (until.module, until.call or 0):
                raise _Reached

        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(module.register_forward_hook(leave, with_kwargs=True))

    for name, module in model.named_modules():
        if modules is None or name in modules:
            watch(name, module)
    try:
        with torch.no_grad(), suppress(_Reached):
            model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return Recording(tuple(calls))


def tensors(value: Any, key: Key = ()) -> Iterator[tuple[Key, Tensor]]:
    """Every floating-point tensor inside nested tuples, lists, mappings (a ModelOutput is one) and dataclasses, with its
    place."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.ndim and value.numel():
            yield key, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from tensors(part, (*key, name))
    elif isinstance(value, (tuple, list)):
        for place, part in enumerate(value):
            yield from tensors(part, (*key, place))
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from tensors(getattr(value, part.name), (*key, part.name))


def at(value: Any, key: Key) -> Any:
    """The part of a nested value that `tensors` names by `key`."""
    for step in key:
        value = value[step] if isinstance(value, (Mapping, tuple, list)) else getattr(value, str(step))
    return value


def _main(rows: Mapping[Key, Rows]) -> Key | None:
    wide = [key for key, value in rows.items() if len(value.shape) >= 2]
    named = [key for key in wide if key and key[-1] == "hidden_states"]
    return (named or wide or [None])[0]


def _hash(value: Tensor) -> Rows:
    """The row's bits summed with fixed odd random weights: equal rows agree, others differ (chance 2^-64)."""
    bits = value.detach().contiguous().view(_BITS[value.element_size()])
    rows = bits.reshape(-1, bits.shape[-1])
    weights = torch.randint(-(1 << 62), 1 << 62, (rows.shape[1],), generator=torch.Generator().manual_seed(0))
    weights = (weights * 2 + 1).to(rows.device)
    step = max(1, _SLICE // rows.shape[1])
    hashes = torch.cat([(part.long() * weights).sum(-1) for part in rows.split(step)])
    return Rows(tuple(value.shape), hashes.reshape(value.shape[:-1]).cpu())


_Kept = TypeVar("_Kept")


def remembered(model: nn.Module, what: Hashable, inputs: Mapping[str, Any], work_out: Callable[[], _Kept]) -> _Kept:
    """What was worked out for inputs of this layout, kept with the model: same shapes, same integers beside the ids."""
    kept = model.__dict__.setdefault(_KEPT, {})
    key = (what, _layout(inputs))
    if key not in kept:
        kept[key] = work_out()
        if len(kept) > _MOST:
            kept.pop(next(iter(kept)))
    return kept[key]


_KEPT = "_taxoprobe_layouts"
_MOST = 256
"""Layouts remembered: a stream of images of ever new sizes must not fill the memory."""


def _layout(inputs: Mapping[str, Any]) -> Hashable:
    ids = next((value.shape for name, value in inputs.items() if name.endswith("input_ids")), None)
    parts = []
    for name, value in sorted(inputs.items()):
        if not isinstance(value, Tensor):
            parts.append((name, repr(value)))
        elif value.is_floating_point() or value.shape == ids:
            # Images of zeros are padding.
            empty = tuple((~value.flatten(2).any(-1)).flatten().tolist()) if value.ndim == 5 else ()
            parts.append((name, tuple(value.shape), empty))
        else:
            parts.append((name, tuple(value.shape), tuple(value.flatten().tolist())))
    return tuple(parts)
