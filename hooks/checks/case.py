"""What every check works on: one model, one batch of inputs, its sites, and the reader whose rows are in question."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from hooks.certificate import Check, Status
from hooks.inputs import change_pixels
from hooks.recording import tensors
from hooks.sites import Key, SiteMap

Tokens = dict[str, list[Tensor]]
"""{site: per sample its rows (token, feature)}."""
Read = Callable[[nn.Module, Mapping[str, Any], SiteMap], Tokens]

BLIND = 1e-5
"""A smaller movement, relative to the rows' size, is rounding and no answer to another image."""
_EXACT = (torch.float32, torch.float64)
SMALL = 100_000_000
"""Parameters up to which a model is copied to try things on the copy."""


@dataclass
class Case:
    """A batch on a model, in evaluation mode, and how its sites are read. Runs that several checks need are kept."""

    model: nn.Module
    inputs: Mapping[str, Any]
    sites: SiteMap
    read: Read
    samples: int
    thorough: bool = True
    """False: only what takes a few forwards, for models on which one is slow."""

    @cached_property
    def base(self) -> Tokens:
        """The rows in question."""
        return self.read(self.model, self.inputs, self.sites)

    @cached_property
    def other_inputs(self) -> Mapping[str, Any]:
        """The same batch with other pixels."""
        return change_pixels(self.inputs, 1)

    @cached_property
    def other(self) -> Tokens:
        """The rows on other pixels."""
        return self.rows(self.other_inputs)

    @cached_property
    def output(self) -> dict[Key, Tensor]:
        """What the model answers, with nothing read."""
        return answer(self.model, self.inputs)

    @cached_property
    def answer_key(self) -> Key | None:
        """The part of the model's output that has a row per sample: the logits, or the first such tensor."""
        keys = [key for key, value in self.output.items() if value.shape[0] == self.samples and value.ndim > 1]
        return next((key for key in keys if key and key[-1] == "logits"), keys[0] if keys else None)

    @property
    def dtype(self) -> torch.dtype:
        return next(weight.dtype for weight in self.model.parameters() if weight.is_floating_point())

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def slack(self) -> float:
        """The share of its size by which a row may differ for reasons of arithmetic."""
        return 1e-3 if self.dtype in _EXACT else 0.1

    @property
    def stage(self) -> str | None:
        """ "text" where the sites are those of text tokens, else None."""
        return "text" if any(site.stage == "text" for site in self.sites.values()) else None

    @property
    def names(self) -> tuple[str, ...]:
        return self.sites.names

    def rows(self, inputs: Mapping[str, Any], patterns: Sequence[str] | None = None) -> Tokens:
        """The same sites, or some of them, read on other inputs."""
        return self.read(self.model, inputs, self.sites if patterns is None else self.sites.select(patterns))

    def answers_apart(self, inputs: Mapping[str, Any]) -> list[float]:
        """How far each sample's answer on other inputs is from the one it gave."""
        assert self.answer_key is not None
        before, after = self.output[self.answer_key], answer(self.model, inputs)[self.answer_key]
        return [apart(after[i], before[i]) for i in range(self.samples)]


def answer(model: nn.Module, inputs: Mapping[str, Any], **options: Any) -> dict[Key, Tensor]:
    """Every floating-point tensor of a plain forward's output, by its place in it. On the CPU, as everything that is
    compared: the rows of all tokens at all sites would take a device's memory from the model."""
    return {key: value.cpu() for key, value in tensors(run(model, inputs, **options))}


def run(model: nn.Module, inputs: Mapping[str, Any], **options: Any) -> Any:
    """A plain forward, without gradients and without a cache."""
    if "use_cache" in inspect.signature(type(model).forward).parameters:
        options = {"use_cache": False, **options}
    with torch.no_grad():
        return model(**inputs, **options)


def apart(one: Tensor, other: Tensor) -> float:
    """The largest distance between two rows that should be alike, relative to the mean size of the rows of `other`.

    inf where the shapes differ. Values that both have beyond all use (masked logits, NaN at padding) do not count.
    """
    if one.shape != other.shape:
        return float("inf")
    if one.numel() == 0 or torch.equal(one, other):
        return 0.0
    left, right = torch.atleast_2d(one.float(), other.to(one.device).float())
    idle = (left == right) & (right.abs() > 1e9) | (left.isnan() & right.isnan())
    left, right = left.masked_fill(idle, 0).flatten(0, -2), right.masked_fill(idle, 0).flatten(0, -2)
    distance, size = float((left - right).norm(dim=-1).max()), float(right.norm(dim=-1).mean())
    if distance != distance:
        return float("inf")
    return distance / size if size else float("inf") if distance else 0.0


def stacked(rows: Sequence[Tensor]) -> Tensor:
    """The rows of all samples, (token, feature)."""
    return torch.cat(list(rows))


def check(name: str, site: str, status: Status | bool, difference: float | None = None, reason: str = "") -> Check:
    """A Check; a status of True is "pass", and a difference that is no number is none."""
    said: Status = status if isinstance(status, str) else "pass" if status else "fail"
    known = difference is not None and abs(difference) != float("inf") and difference == difference
    return Check(name, site, said, float(f"{difference:.3g}") if known else None, reason)


def small(model: nn.Module) -> bool:
    return sum(weight.numel() for weight in model.parameters()) <= SMALL


def duplicate(model: nn.Module) -> nn.Module:
    """A deep copy to try things on, without what this package keeps on the model."""
    kept = {name: model.__dict__.pop(name) for name in list(model.__dict__) if name.startswith("_taxoprobe")}
    try:
        return copy.deepcopy(model)
    finally:
        model.__dict__.update(kept)
