"""Edit activations during a forward: the causal half of probing.

A probe says what can be read off a site; an edit says what the model does with it. Erase a direction at `llm.4`, swap
the visual rows of two images, add a concept, and look at the logits and at every site downstream.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from commandline import InputError
from hooks.discovery import find_sites
from hooks.inputs import to_model
from hooks.measuring import divided
from hooks.recording import at
from hooks.rows import Ownership, Pool, divide, flatten, pool_rows, sample_rows, unflatten
from hooks.sites import Key, Site, SiteMap, select_names
from hooks.tracing import TracedView, reading_order, traced_view
from hooks.validating import check_inputs, refusals


@dataclass(frozen=True)
class Places:
    """Whose the rows are that a function edits."""

    sample: Tensor
    """The sample each row belongs to: int64 (row,), ascending, on the rows' device."""
    token: Tensor
    """Its place among that sample's rows, in the order of `capture(pool="tokens")`: int64 (row,)."""
    lengths: tuple[int, ...]
    """Rows of each sample at this site."""


Edit = Callable[[Tensor], Tensor] | Callable[[Tensor, Places], Tensor]
"""`function(rows)` or `function(rows, places)`: from a site's rows, (row, feature) in the order of the samples and in
the model's dtype, to what takes their place, of the same shape and dtype. The rows are a copy and may be changed.
`hooks.edits` has the usual ones. Where a module runs several times in a forward (once per image, or on a global and a
local view), the function is called each time, with the rows of that time."""


@dataclass(frozen=True)
class Edited:
    """What the model made of an edit."""

    output: Any
    """All that the model's forward returned."""
    activations: Mapping[str, Any]
    """{site name: float32 (sample, feature)}, as `capture` gives them; an edited site has its new rows."""

    @property
    def logits(self) -> Tensor:
        """What the model calls so, (sample, token, vocabulary) of a language model, in the model's dtype.

        Raises InputError where there are none (encoders, dual encoders): `output` holds what there is.
        """
        output = self.output[0] if isinstance(self.output, (tuple, list)) else self.output
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        if isinstance(logits, Tensor):
            return logits
        names = ", ".join(map(str, output)) if isinstance(output, Mapping) else type(output).__name__
        raise InputError(f"this model returns no logits; .output holds what it returns ({names})")


def edit(
    model: nn.Module,
    inputs: Mapping[str, Any],
    edits: Mapping[str, Edit],
    sites: SiteMap | None = None,
    read: Sequence[str] | None = None,
    pool: Pool = "mean",
) -> Edited:
    """Run one batch through `model` in ONE nnsight trace in which `edits` replace what stands at their sites.

    An edit sees and changes the rows of its site that belong to a sample (at `llm.*` the visual positions, at `text.*`
    the attended ones); all others, and the caller's own tensors, stay as they are. Edits of several sites act in the
    order in which the forward reaches them, each on what the earlier ones have led to.

    Args:
        inputs: what the model's forward takes, as for `capture`.
        edits: {site name: function}; see `Edit`. With none at all it is the plain forward.
        sites: the model's map, from `find_sites` on inputs of this kind; None finds it (a few forwards more).
        read: names or patterns of the sites to return, None for all of `sites`, () for none.
        pool: how a sample's tokens become one row, as for `capture`.

    Raises:
        InputError: an unknown site, an edit that returns another shape, dtype or device or makes NaN or infinity of a
            finite value, inputs that the model does not take, or rows that belong to no one sample. There is no result
            then, and the model is as it was. What a function raises itself comes through.
    """
    if sites is None:
        sites = find_sites(model, inputs)
    functions = {_known(sites, name): _with_places(name, function) for name, function in edits.items()}
    shown = select_names(sites.names, read)
    if pool == "cls" and (other := [name for name in shown if sites[name].stage != "encoder"]):
        raise InputError(f"pool=cls reads a tower's class token, which {other[0]} has not; read encoder.* or use mean")
    wanted = replace(sites, sites={name: site for name, site in sites.items() if name in functions or name in shown})
    inputs = to_model(model, inputs)
    run = partial(_forward, model, inputs, wanted, functions=functions, shown=shown, pool=pool)
    try:
        with refusals(model):
            check_inputs(model, inputs, wanted)
            return divided(model, inputs, wanted, run)
    except _Raised as raised:
        raise raised.error from None


class _Raised(Exception):
    """An edit's own function failed: its exception comes through as it is."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _known(sites: SiteMap, name: str) -> str:
    if name not in sites:
        sites.select([name])  # raises, unless it is a pattern
        raise InputError(
            f"an edit has one site, and {name!r} is a pattern; name each site: {{name: f for name in ...}}"
        )
    return name


def _with_places(name: str, function: Edit) -> Callable[[Tensor, Places], Tensor]:
    """The function as one of rows and places."""
    if not callable(function):
        raise InputError(f"the edit of {name} is a {type(function).__name__}; give a function of its rows")
    whole: Any = function
    try:
        parameters = inspect.signature(whole).parameters.values()
    except ValueError:  # some functions written in C do not say
        parameters = ()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one.name for one in parameters if one.default is one.empty and one.kind in kinds]
    if len(needed) > 2:
        raise InputError(f"the edit of {name} needs {', '.join(needed)}; it is given rows, or rows and places")
    return whole if len(needed) == 2 else lambda rows, _: whole(rows)


def _forward(
    model: nn.Module,
    inputs: dict[str, Any],
    sites: SiteMap,
    owner: Ownership,
    functions: Mapping[str, Callable[[Tensor, Places], Tensor]],
    shown: Sequence[str],
    pool: Pool,
) -> Edited:
    """The trace itself: `inputs` on the model's device, rows divided as `owner` says."""
    traced = traced_view(model)
    schedule = reading_order(sites, owner)
    changes = {name: _Change(sites[name], owner, function) for name, function in functions.items()}
    seen: dict[str, list[Tensor]] = {name: [] for name in shown}
    pooled: dict[str, Any] = {}
    outputs: list[Any] = []
    with torch.no_grad(), traced.root.trace(**inputs, **traced.options) as tracer:
        for site, call, last in schedule:
            # nnsight runs this loop beside the forward: asking for a value waits until the model has reached it.
            for value in _visited(traced, tracer, site, call, changes.get(site.name)):
                if site.name in seen:
                    # What follows may overwrite what it was handed.
                    seen[site.name].append(value if last and pool != "tokens" else value.clone())
            if last and site.name in seen:
                pooled[site.name] = pool_rows(*sample_rows(site, seen.pop(site.name), owner), pool)
        outputs.append(tracer.result)
    if not outputs:
        raise InputError("the forward ended before it reached every site; find the sites on inputs of this kind")
    for change in changes.values():
        change.check()
    return Edited(outputs[0], {name: pooled[name] for name in shown})


def _visited(traced: TracedView, tracer: Any, site: Site, call: int, change: _Change | None) -> Iterator[Tensor]:
    """Inside a trace: wait for this execution of the site's module, change what stands at the site, and yield it."""
    envoy = traced.envoys[site.module]
    for whole in traced.visits(tracer, site, call):
        value = at(whole, site.key)
        if change:
            value = change(value)
            changed = put(whole, site.key, value)
            if site.reads == "input":
                envoy.inputs = (changed["args"], changed["kwargs"])
            else:
                envoy.output = changed
        yield value


@dataclass
class _Change:
    """One site's edit during one forward."""

    site: Site
    owner: Ownership
    function: Callable[[Tensor, Places], Tensor]
    passed: int = 0
    """Rows of earlier calls of the module."""
    broken: list[Tensor] = field(default_factory=list)
    """How many finite values each call made NaN or infinite: asked for at the end, so that the device need not wait."""

    def __call__(self, value: Tensor) -> Tensor:
        """The tensor with its samples' rows replaced, in memory of the same layout."""
        flat = flatten(self.site, value)
        index, lengths = divide(self.site, [value.shape], self.owner)
        sample = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        first = torch.tensor([0, *lengths]).cumsum(0)[:-1]
        token = torch.arange(len(sample)) - first[sample]
        if self.site.call is None and index is not None:
            here = ((index >= self.passed) & (index < self.passed + len(flat))).cpu()
            index, sample, token = index[here] - self.passed, sample[here], token[here]
            self.passed += len(flat)
        places = Places(sample.to(flat.device), token.to(flat.device), lengths)
        new = self._applied(flat.clone() if index is None else flat[index], places)
        if index is not None:
            whole = flat.clone()
            whole[index] = new
            new = whole
        # The same strides: other kernels round otherwise.
        return torch.empty_like(value).copy_(unflatten(self.site, new, value.shape))

    def _applied(self, rows: Tensor, places: Places) -> Tensor:
        name, shape, finite = self.site.name, rows.shape, rows.isfinite()
        try:
            new = self.function(rows, places)
        except InputError as error:
            raise InputError(f"the edit of {name}: {error}") from error
        except Exception as error:
            raise _Raised(error) from error
        if not isinstance(new, Tensor):
            raise InputError(f"the edit of {name} returns a {type(new).__name__}; return the rows as a tensor")
        if new.shape != shape:
            raise InputError(
                f"the edit of {name} returns rows of shape {tuple(new.shape)}; they must be {tuple(shape)}"
            )
        if (new.dtype, new.device) != (rows.dtype, rows.device):
            got, want = (f"{str(one.dtype).removeprefix('torch.')} on {one.device}" for one in (new, rows))
            raise InputError(f"the edit of {name} returns {got}; it must be {want}, as its rows are")
        self.broken.append((finite & ~new.isfinite()).sum())
        return new

    def check(self) -> None:
        if count := sum(int(one) for one in self.broken):
            raise InputError(f"the edit of {self.site.name} makes NaN or infinity of {count:,} finite values")


def put(value: Any, key: Key, part: Tensor) -> Any:
    """A copy of a nested value with the part that `hooks.recording.at` finds by `key` replaced: nothing is mutated."""
    if not key:
        return part
    step, *rest = key
    inner = put(at(value, (step,)), tuple(rest), part)
    if isinstance(value, tuple):
        parts = [inner if place == step else one for place, one in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    changed = copy.copy(value)
    if isinstance(value, (Mapping, list)):
        changed[step] = inner
    else:
        object.__setattr__(changed, str(step), inner)
    return changed
