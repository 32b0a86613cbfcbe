"""Where the image enters the language model, found without the sites: the `inputs_embeds` some module is given."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hooks.checks.case import Case, Tokens, run
from hooks.inputs import change_pixels, change_text, token_name
from hooks.sites import Key, Site

ARGUMENT = "inputs_embeds"
_IMAGE_ID = re.compile(r"image_(token|patch)_(id|index)$")
Place = tuple[str, int]
"""A module and which of its executions."""


@dataclass(frozen=True)
class Entry:
    """The embeddings a module of the model was called with, and which of them come from the image."""

    module: str
    rows: Tensor
    """(sample, token, feature)."""
    other: Tensor
    """The same on other pixels."""
    positions: Tensor
    """bool (sample, token)."""
    moving: Tensor
    """Those of them that move with the pixels: bool (sample, token)."""
    whole: bool
    """Whether `positions` holds newline and separator rows too (token ids say so), or only rows that move."""
    how: str
    """How the positions are known, in words."""

    def at(self, tensor: Tensor, sample: int) -> Tensor:
        """A sample's visual rows of a tensor with (sample, token) axes anywhere; parallel streams become features."""
        return _by_position(tensor, self.positions.shape)[sample][self.positions[sample].to(tensor.device)]


def find_entry(case: Case) -> Entry | None:
    """The first module that is given embeddings that move with the pixels and with the text; where none is, what enters
    the language model where the sites say it does. None where nothing moves there either."""
    return _first_moving(case, _embeddings) or _first_moving(case, partial(_at_entry, site=case.sites.entry))


def _first_moving(case: Case, look: Callable[[nn.Module, Mapping[str, Any]], dict[Place, Tensor]]) -> Entry | None:
    before = look(case.model, case.inputs)
    if not before:
        return None
    runs = [look(case.model, change_pixels(case.inputs, kind)) for kind in (0, 1)]
    spoken = look(case.model, change_text(case.inputs))
    for place, rows in before.items():
        others = [run[place] for run in runs if place in run and run[place].shape == rows.shape]
        moved = torch.stack([(rows != other).any(-1) for other in others]).any(0) if others else None
        if moved is None or not moved.any() or rows.shape[0] != case.samples:
            continue
        if place in spoken and spoken[place].shape == rows.shape and torch.equal(spoken[place], rows):
            continue  # a vision tower may call its patches so too
        positions, how = _by_id(case, moved.cpu())
        whole = positions is not None
        return Entry(place[0], rows, others[-1], positions if whole else moved, moved, whole, how)
    return None


def _by_id(case: Case, moved: Tensor) -> tuple[Tensor | None, str]:
    """All positions that hold the ids under the moving ones, where ids say it; the configuration's own id first."""
    name = token_name(case.inputs)
    ids = case.inputs[name].cpu() if name else None
    if ids is None or ids.shape != moved.shape:
        return None, "the positions that move with the pixels"
    known = set(_image_ids(getattr(case.model, "config", None)))
    if known and (~moved | (marked := torch.isin(ids, torch.tensor(sorted(known))))).all():
        return marked, "the configuration's image token"
    under = ids[moved].unique()
    closed = torch.isin(ids, under)
    if len(under) <= 4:
        return closed, "the tokens under the positions that move with the pixels"
    return None, "the positions that move with the pixels"


def _image_ids(config: Any) -> Iterator[int]:
    values = config.to_dict() if hasattr(config, "to_dict") else {}
    waiting = [values]
    while waiting:
        for key, value in waiting.pop().items():
            if isinstance(value, Mapping):
                waiting.append(dict(value))
            elif isinstance(value, int) and _IMAGE_ID.search(str(key)):
                yield value


def _embeddings(model: nn.Module, inputs: Mapping[str, Any]) -> dict[Place, Tensor]:
    """Every `inputs_embeds` of (sample, token, feature) a module is called with, in the order of the calls."""
    found: dict[Place, Tensor] = {}
    counts: dict[str, int] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            place = (name, counts.get(name, 0))
            counts[name] = place[1] + 1
            value = kwargs.get(ARGUMENT)
            if isinstance(value, Tensor) and value.ndim == 3:
                found[place] = value.detach().to("cpu", copy=True)

        return hook

    handles = [m.register_forward_pre_hook(note(name), with_kwargs=True) for name, m in model.named_modules()]
    try:
        run(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _at_entry(model: nn.Module, inputs: Mapping[str, Any], site: Site | None) -> dict[Place, Tensor]:
    found: dict[Place, Tensor] = {}

    def keep(value: Tensor, call: int) -> Tensor:
        found[(site.module if site else "", 0)] = value.detach().to("cpu", copy=True)
        return value

    if site is not None:
        with replaced(model, site, keep):
            run(model, inputs)
    # Streams before the samples, if any, are put among the features.
    return {p: v.movedim(0, 2).flatten(2) if site and site.axes[0] == "stream" else v for p, v in found.items()}


@contextmanager
def replaced(model: nn.Module, site: Site, change: Callable[[Tensor, int], Tensor]) -> Iterator[None]:
    """While it lasts, what stands at a site is another tensor, in every forward and every call that the site reads.

    `change`: from what stood there, in which of these calls of the forward, to what shall stand there.
    """
    calls = [0]

    def begin(_: nn.Module, args: Any) -> None:
        calls[0] = 0

    def put(whole: Any) -> Any:
        call, calls[0] = calls[0], calls[0] + 1
        if site.call not in (None, call):
            return whole
        return _put(whole, site.key, lambda value: change(value, call - (site.call or 0)))

    def enter(_: nn.Module, args: Any, kwargs: Any) -> Any:
        whole = put({"args": args, "kwargs": kwargs})
        return whole["args"], whole["kwargs"]

    def leave(_: nn.Module, args: Any, output: Any) -> Any:
        return put(output)

    module = model.get_submodule(site.module)
    handles = [model.register_forward_pre_hook(begin)]
    if site.reads == "input":
        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
    else:
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def mirrored(value: Tensor, call: int, shape: torch.Size, sample: int, place: int) -> Tensor:
    """A tensor with one row, at a position of the sequence, read backwards: as long as before, another direction."""
    value = value.clone()
    rows = value.movedim(_position_axes(value, shape), (0, 1))
    rows[sample, place] = rows[sample, place].flip(-1)
    return value


def _put(value: Any, key: Key, change: Callable[[Tensor], Tensor]) -> Any:
    """A nested value with the part named by `key` changed; the rest is the same."""
    if not key:
        return change(value)
    step, *deeper = key
    if isinstance(value, (tuple, list)):
        return type(value)(_put(v, tuple(deeper), change) if k == step else v for k, v in enumerate(value))
    other = copy.copy(value)
    if isinstance(value, MutableMapping):
        other[step] = _put(value[step], tuple(deeper), change)
    else:
        setattr(other, str(step), _put(getattr(value, str(step)), tuple(deeper), change))
    return other


@dataclass(frozen=True)
class Pairing:
    """Which of the captured rows, per sample, stand at which of the entry's positions."""

    entry: Entry
    captured: tuple[Tensor, ...]
    """Per sample, the places of those rows among the captured ones."""

    def both(self, tokens: Tokens, site: str, tensor: Tensor, sample: int) -> tuple[Tensor, Tensor]:
        """A sample's captured rows, and those of a tensor of the model's at the same positions."""
        rows = tokens[site][sample]
        places = self.captured[sample].to(rows.device)
        return rows[places] if len(places) and int(places[-1]) < len(rows) else rows, self.entry.at(tensor, sample)


def pair(case: Case, entry: Entry) -> Pairing:
    """All of the captured rows where the entry's positions are whole; else those that move with the pixels."""
    first = next(site.name for site in case.sites.values() if site.in_sequence)
    rows = case.base[first]
    if entry.whole:
        return Pairing(entry, tuple(torch.arange(len(own)) for own in rows))
    runs = [case.rows(change_pixels(case.inputs, kind), [first])[first] for kind in (0, 1)]
    return Pairing(
        entry,
        tuple(
            torch.stack([(own != run[sample]).any(-1) for run in runs]).any(0).nonzero().flatten().cpu()
            for sample, own in enumerate(rows)
        ),
    )


def _by_position(tensor: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """(sample, token, feature) of a tensor with those two axes next to each other, whatever else it has."""
    return tensor.movedim(_position_axes(tensor, shape), (0, 1)).flatten(2)


def _position_axes(tensor: Tensor, shape: tuple[int, ...] | torch.Size) -> tuple[int, int]:
    for axis in range(tensor.ndim - 1):
        if tensor.shape[axis : axis + 2] == tuple(shape):
            return axis, axis + 1
    raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has no (sample, token) axes {tuple(shape)}")
