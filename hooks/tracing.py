"""Read every site of a batch in one traced forward."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from commandline import InputError
from hooks.discovery import find_sites
from hooks.inputs import to_model
from hooks.measuring import divided
from hooks.recording import at
from hooks.rows import Ownership, Pool, Undivided, pool_rows, sample_rows
from hooks.sites import Site, SiteMap
from hooks.validating import check_inputs, refusals

_WRAPPER = "_taxoprobe_traced"


def capture(
    model: nn.Module,
    inputs: Mapping[str, Any],
    sites: SiteMap | Sequence[str] | None = None,
    pool: Pool = "mean",
    alike: bool = False,
) -> dict[str, Any]:
    """Run one batch through `model` in ONE nnsight trace and return what stands at each site, a row per sample.

    Pooling happens on the device as soon as a site is reached, and the forward stops after the last one. Rows are in
    the order of the batch whatever the packing of the vision side; where the batch alone does not say which rows are
    whose, that is measured first, once per layout, by changing one sample's pixels at a time.

    Args:
        inputs: what the model's forward takes: the whole output of its processor.
        sites: the sites to read: a `SiteMap` (fastest: found once, `find_sites(...).select(...)`), names or patterns,
            or None for all.
        pool: how a sample's tokens become one row: `mean`, `last`, `max`, `cls` (the first token; encoder sites only),
            or `tokens` for no pooling: a list of (token, feature) tensors.
        alike: the samples were encoded one by one to inputs of equal shapes (`hooks.inputs.signature`) and then
            concatenated: every one has equally many rows at every site, and nothing needs to be measured for it.

    Returns:
        {site name: float32 (sample, feature)}, on the model's device.

    Raises:
        InputError: an unknown site, `cls` elsewhere than in the encoder, a sample without visual tokens, or rows that
            belong to no one sample.
    """
    if not isinstance(sites, SiteMap):
        sites = find_sites(model, inputs).select(sites)
    if pool == "cls" and (other := [site.name for site in sites.values() if site.stage != "encoder"]):
        raise InputError(
            f"pool=cls reads a tower's class token, which {other[0]} has not; select encoder.* or use mean"
        )
    inputs = to_model(model, inputs)
    read = partial(trace, model, sites, inputs, pool=pool)
    if alike:
        return divided(model, inputs, sites, read, alike=True)
    with refusals(model):
        check_inputs(model, inputs, sites)
        return divided(model, inputs, sites, read)


def trace(model: nn.Module, sites: SiteMap, inputs: Mapping[str, Any], owner: Ownership, pool: Pool) -> dict[str, Any]:
    """The trace itself: `inputs` on the model's device, rows divided as `owner` says."""
    traced = traced_view(model)
    schedule = reading_order(sites, owner)
    values: dict[str, list[Tensor]] = {}
    pooled: dict[str, Any] = {}
    stops: list[Exception] = []
    with torch.no_grad(), traced.root.trace(**inputs, **traced.options) as tracer:
        for site, call, last in schedule:
            # nnsight runs this loop beside the forward: asking for a value waits until the model has reached it.
            whole = traced.read(tracer, site, call)
            if last and site.call is not None:
                pooled[site.name] = _pooled(site, [whole], owner, pool)
                continue
            # A later call may overwrite what an earlier one returned.
            values.setdefault(site.name, []).append(whole.clone())
            if last:
                pooled[site.name] = _pooled(site, values.pop(site.name), owner, pool)
        try:
            tracer.stop()
        except Exception as stop:
            stops.append(stop)
            raise
    # What follows keeps memory flat. The stop's traceback holds the forward's frames, and nnsight's bookkeeping this
    # one, until a garbage collection comes by; nothing heavy may be left in them.
    for stop in stops:
        stop.__traceback__ = None
        stop.__dict__.clear()
    del inputs, owner
    return _moved(pooled)


def reading_order(sites: SiteMap, owner: Ownership) -> list[tuple[Site, int, bool]]:
    """What is read when: (site, call of its module, whether it is the last one), as the forward gets there."""
    reads = []
    for site in sites.values():
        if site.call is None and site.name not in owner.order:
            raise Undivided(site.name)
        times = owner.order.get(site.name, (site.order,))
        first = site.call or 0
        reads += [(when, site, call, call - first == len(times) - 1) for call, when in enumerate(times, start=first)]
    return [read[1:] for read in sorted(reads, key=lambda read: read[0])]


def _moved(values: dict[str, Any]) -> dict[str, Any]:
    moved = dict(values)
    values.clear()
    return moved


def _pooled(site: Site, values: Sequence[Tensor], owner: Ownership, pool: Pool) -> Tensor | list[Tensor]:
    rows, lengths = sample_rows(site, values, owner)
    return pool_rows(rows, lengths, pool)


@dataclass(frozen=True)
class TracedView:
    """nnsight's view of a model, its modules by their own dotted paths, and what every forward is called with."""

    root: Any
    envoys: dict[str, Any]
    options: dict[str, Any]

    def visits(self, tracer: Any, site: Site, call: int) -> Iterator[Any]:
        """Inside a trace: wait for this execution of the site's module, and yield all that goes in (as `args` and
        `kwargs`) or comes out, while it can still be replaced."""
        envoy = self.envoys[site.module]
        for _ in tracer.iter[call : call + 1] if call else (None,):
            if site.reads == "input":
                args, kwargs = envoy.inputs
                yield {"args": args, "kwargs": kwargs}
            else:
                yield envoy.output

    def read(self, tracer: Any, site: Site, call: int) -> Tensor:
        """Inside a trace: wait for this execution of the site's module, and return the tensor at the site."""
        whole: Any = None
        for visit in self.visits(tracer, site, call):
            whole = visit
        return at(whole, site.key)


def traced_view(model: nn.Module) -> TracedView:
    """The model's nnsight view, made once: each wrapping replaces every module's forward for good."""
    view = model.__dict__.get(_WRAPPER)
    if view is None:
        from nnsight import NNsight

        root = NNsight(model)
        envoys = {envoy.path.removeprefix("model").lstrip("."): envoy for envoy in root.modules()}
        # An adapter's wrapper takes anything and hands it on to the model it wraps.
        inner = getattr(model, "get_base_model", lambda: model)()
        cached = "use_cache" in inspect.signature(type(inner).forward).parameters
        view = TracedView(root, envoys, {"use_cache": False} if cached else {})
        # Past nn.Module's own bookkeeping: the view is no submodule and has no place in the state dict.
        model.__dict__[_WRAPPER] = view
    return view
