"""One dry forward, written down: which modules ran, in which order, and a hash of every row that entered or left them.

Two recordings of a model whose inputs differ in one thing (the pixels, one text token) tell, row by row, what depends
on it. Hashes instead of tensors: a 7B model's whole forward fits in a few megabytes, and equality is what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hooks.rows import flatten
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

    @cached_property
    def by_key(self) -> dict[tuple[str, int], Call]:
        return {(call.module, call.index): call for call in self.calls}


def record(model: nn.Module, inputs: Mapping[str, Any]) -> Recording:
    """Run `model(**inputs)` once without gradients and hash what passes through its modules."""
    calls: list[Call] = []
    open_calls: dict[tuple[str, int], Call] = {}
    clock = iter(range(1 << 62))

    def enter(name: str, index: int, found: Found) -> None:
        call = Call(name, index, next(clock))
        call.inputs.update((key, _rows(value)) for key, value in found)
        open_calls[name, index] = call
        calls.append(call)

    def leave(name: str, index: int, found: Found) -> None:
        call = open_calls.pop((name, index))
        call.left = next(clock)
        call.outputs.update((key, _rows(value)) for key, value in found)

    watch(model, inputs, [name for name, _ in model.named_modules()], enter, leave)
    return Recording(tuple(calls))


Seen = TypeVar("Seen")


def look(
    model: nn.Module, inputs: Mapping[str, Any], sites: Iterable[Site], see: Callable[[Site, Tensor], Seen]
) -> dict[str, list[tuple[int, Seen]]]:
    """Run the model once, as far as the last of `sites`, and return what `see` makes of the tensor at each one, and
    when it stood there, for every call of its module that the site reads.

    `see` must not keep the tensor itself: the model may write into it later.
    """
    sites = list(sites)
    # A site that is read in every call may be reached again at any time.
    last = None if any(site.call is None for site in sites) else max(sites, key=lambda site: site.order)
    seen: dict[str, list[tuple[int, Seen]]] = {site.name: [] for site in sites}
    clock = iter(range(1 << 62))

    def reach(side: str) -> Event:
        def event(name: str, index: int, found: Found) -> None:
            when, values = next(clock), dict(found)
            for site in sites:
                here = site.reads == side and site.module == name and site.call in (None, index)
                if here and site.key in values:
                    seen[site.name].append((when, see(site, values[site.key])))
                if here and site is last:
                    raise Reached

        return event

    watch(model, inputs, {site.module for site in sites}, reach("input"), reach("output"))
    return seen


Place = tuple[str, int, str, Key]
"""A tensor of a forward: module, call, "inputs" or "outputs", and where it stands among them."""


def keep(model: nn.Module, inputs: Mapping[str, Any], places: Collection[Place]) -> dict[Place, Tensor]:
    """Run the model once without gradients and return copies of the tensors that stand at `places`."""
    kept: dict[Place, Tensor] = {}

    def event(side: str) -> Event:
        def keeping(name: str, index: int, found: Found) -> None:
            for key, value in found:
                if (name, index, side, key) in places:
                    kept[name, index, side, key] = value.detach().clone()

        return keeping

    watch(model, inputs, {place[0] for place in places}, event("inputs"), event("outputs"))
    return kept


Found = Iterator[tuple[Key, Tensor]]
Event = Callable[[str, int, Found], None]
"""Called with a module, its how-manieth call this is, and the tensors that go in or come out."""


class Reached(Exception):
    """Raised by an event: the forward has come as far as was asked."""


def watch(model: nn.Module, inputs: Mapping[str, Any], modules: Collection[str], enter: Event, leave: Event) -> None:
    """Run `model(**inputs)` once without gradients, with an eye on the calls of some modules."""
    counts: dict[str, int] = {}
    running: dict[str, list[int]] = {}
    handles = []

    def hook(name: str, module: nn.Module) -> None:
        def before(_: nn.Module, args: Any, kwargs: Any) -> None:
            index = counts.get(name, 0)
            counts[name] = index + 1
            running.setdefault(name, []).append(index)
            enter(name, index, tensors({"args": args, "kwargs": kwargs}))

        def after(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            leave(name, running[name].pop(), tensors(output))

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after, with_kwargs=True))

    for name, module in model.named_modules():
        if name in modules:
            hook(name, module)
    try:
        with torch.no_grad(), suppress(Reached):
            model(**inputs)
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and afterwards in its own again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def site_hashes(
    model: nn.Module, inputs: Mapping[str, Any], sites: Iterable[Site]
) -> dict[str, list[tuple[int, Tensor]]]:
    """Hashes of the rows at each site, int64 (row,) on the CPU in the order of `rows.flatten`, and when they stood
    there: once per call."""
    return look(model, inputs, sites, lambda site, value: row_hashes(flatten(site, value)).cpu())


def entry_hashes(model: nn.Module, inputs: Mapping[str, Any], entry: Site, samples: int) -> Tensor:
    """Hashes of the rows of the LLM's sequence where the image enters it: int64 (sample, token) on the CPU."""
    return site_hashes(model, inputs, [entry])[entry.name][0][1].reshape(samples, -1)


def tensors(value: Any, key: Key = ()) -> Iterator[tuple[Key, Tensor]]:
    """Every floating-point tensor inside nested tuples, lists, mappings (a ModelOutput is one) and dataclasses, with
    its place."""
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
        value = getattr(value, str(step)) if _by_name(value) else value[step]
    return value


def _by_name(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, Mapping)


def _main(rows: Mapping[Key, Rows]) -> Key | None:
    wide = [key for key, value in rows.items() if len(value.shape) >= 2]
    named = [key for key in wide if key and key[-1] == "hidden_states"]
    return (named or wide or [None])[0]


def _rows(value: Tensor) -> Rows:
    return Rows(tuple(value.shape), row_hashes(value).cpu())


def row_hashes(value: Tensor) -> Tensor:
    """Each row's bits summed with fixed odd random weights: equal rows agree, others differ (chance 2^-64). int64, the
    tensor's shape without its last axis, on its device."""
    bits = value.detach().contiguous().view(_BITS[value.element_size()])
    rows = bits.reshape(-1, bits.shape[-1])
    weights = torch.randint(-(1 << 62), 1 << 62, (rows.shape[1],), generator=torch.Generator().manual_seed(0))
    weights = (weights * 2 + 1).to(rows.device)
    step = max(1, _SLICE // rows.shape[1])
    hashes = torch.cat([(part.long() * weights).sum(-1) for part in rows.split(step)])
    return hashes.reshape(value.shape[:-1])


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
