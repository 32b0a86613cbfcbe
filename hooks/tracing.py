"""Read every site of a batch in one traced forward."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from commandline import InputError
from hooks.discovery import find_sites
from hooks.inputs import to_device
from hooks.recording import at
from hooks.rows import Ownership, Pool, ownership, pool_rows, sample_rows
from hooks.sites import Site, SiteMap

_WRAPPER = "_taxoprobe_traced"


def capture(
    model: nn.Module,
    inputs: Mapping[str, Any],
    sites: SiteMap | Sequence[str] | None = None,
    pool: Pool = "mean",
) -> dict[str, Any]:
    """Run one batch through `model` in ONE nnsight trace and return what stands at each site, a row per sample.

    Pooling happens on the device as soon as a site is reached, and the forward stops after the last one. Rows are in
    the order of the batch whatever the packing of the vision side.

    Args:
        inputs: what the model's forward takes: the whole output of its processor.
        sites: the sites to read: a `SiteMap` (fastest: found once, `find_sites(...).select(...)`), names or patterns,
            or None for all.
        pool: how a sample's tokens become one row: `mean`, `last`, `max`, `cls` (the first token; encoder sites only),
            or `tokens` for no pooling: a list of (token, feature) tensors.

    Returns:
        {site name: float32 (sample, feature)}, on the model's device.

    Raises:
        InputError: an unknown site, `cls` elsewhere than in the encoder, or a sample without visual tokens.
    """
    if not isinstance(sites, SiteMap):
        sites = find_sites(model, inputs).select(sites)
    if pool == "cls" and (other := [site.name for site in sites.values() if site.stage != "encoder"]):
        raise InputError(
            f"pool=cls reads a tower's class token, which {other[0]} has not; select encoder.* or use mean"
        )
    return trace(model, sites, *_prepared(model, inputs, sites), pool)


def _prepared(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap) -> tuple[dict[str, Any], Ownership]:
    weight = next(weight for weight in model.parameters() if weight.is_floating_point())
    moved = to_device(inputs, weight.device, weight.dtype)
    return moved, ownership(moved, sites)


def trace(model: nn.Module, sites: SiteMap, inputs: Mapping[str, Any], owner: Ownership, pool: Pool) -> dict[str, Any]:
    """The trace itself: `inputs` on the model's device, rows divided as `owner` says."""
    traced = _traced(model)
    pooled: dict[str, Any] = {}
    stops: list[Exception] = []
    with torch.no_grad(), traced.root.trace(**inputs, **traced.options) as tracer:
        for site in sites.values():
            envoy = traced.envoys[site.module]
            # nnsight runs this loop beside the forward: asking for a value waits until the model has reached it.
            whole = envoy.inputs if site.reads == "input" else envoy.output
            pooled[site.name] = _read(site, whole, owner, pool)
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


def _moved(values: dict[str, Any]) -> dict[str, Any]:
    moved = dict(values)
    values.clear()
    return moved


def _read(site: Site, whole: Any, owner: Ownership, pool: Pool) -> Tensor | list[Tensor]:
    if site.reads == "input":
        args, kwargs = whole
        whole = {"args": args, "kwargs": kwargs}
    rows, lengths = sample_rows(site, at(whole, site.key), owner)
    return pool_rows(rows, lengths, pool)


@dataclass(frozen=True)
class _Traced:
    """nnsight's view of a model, its modules by their own dotted paths, and what every forward is called with."""

    root: Any
    envoys: dict[str, Any]
    options: dict[str, Any]


def _traced(model: nn.Module) -> _Traced:
    """The model's nnsight view, made once: each wrapping replaces every module's forward for good."""
    traced = model.__dict__.get(_WRAPPER)
    if traced is None:
        from nnsight import NNsight

        root = NNsight(model)
        envoys = {envoy.path.removeprefix("model").lstrip("."): envoy for envoy in root.modules()}
        cached = "use_cache" in inspect.signature(type(model).forward).parameters
        traced = _Traced(root, envoys, {"use_cache": False} if cached else {})
        # Past nn.Module's own bookkeeping: the view is no submodule and has no place in the state dict.
        model.__dict__[_WRAPPER] = traced
    return traced
