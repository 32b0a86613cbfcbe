"""What a probe may be given: features, labels, penalties and a device, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from commandline import InputError


@dataclass(frozen=True)
class Target:
    """What one probe is to predict: `labels` (sample,) int64, positions in `classes`, -1 = sample left out."""

    name: str
    labels: np.ndarray
    classes: np.ndarray
    """The labels as given, ascending."""


def make_target(name: str, values: ArrayLike, samples: int) -> Target:
    """A target from integer labels (sample,), -1 = left out. Raises InputError, also for fewer than two classes."""
    given = np.asarray(values)
    if given.shape != (samples,):
        raise InputError(f"level {name!r} has labels of shape {given.shape} for {samples} samples; give one per sample")
    if given.dtype.kind not in "iu":
        raise InputError(f"level {name!r} has labels of type {given.dtype}; give integers, -1 for a sample without it")
    classes = np.unique(given[given >= 0])
    if len(classes) < 2:
        raise InputError(
            f"level {name!r} has {len(classes)} class in {samples} samples; a probe needs two or more to tell apart"
        )
    labels = np.where(given >= 0, np.searchsorted(classes, given), -1).astype(np.int64)
    return Target(name, labels, classes)


def check_penalties(penalties: Sequence[float]) -> tuple[float, ...]:
    """The penalties as given, once each. Raises InputError unless all are finite and above 0."""
    grid = tuple(dict.fromkeys(float(penalty) for penalty in penalties))
    if not grid or not all(0 < penalty < np.inf for penalty in grid):
        raise InputError(f"the penalties should be one or more finite numbers above 0, not {list(penalties)}")
    return grid


def as_features(X: ArrayLike, dtype: str | None, device: torch.device) -> Tensor:
    """(sample, feature) on the device, float32 or float64. Raises InputError for other shapes, NaN and infinity."""
    given = np.asarray(X)
    check_dtype(dtype)
    if given.ndim != 2 or 0 in given.shape:
        raise InputError(f"features should be (sample, feature) with one or more of each, not {given.shape}")
    wanted = dtype or ("float64" if given.dtype.itemsize > 4 or given.dtype.kind in "iub" else "float32")
    values = np.require(given, dtype=wanted, requirements=["C", "W"])
    finite = np.isfinite(values).all(1)
    if not finite.all():
        raise InputError(
            f"{(~finite).sum()} of {len(values)} rows hold NaN or infinite features, the first is row "
            f"{int(np.argmin(finite))}; leave such rows out"
        )
    return torch.from_numpy(values).to(device)


def check_dtype(dtype: str | None) -> str | None:
    if dtype not in (None, "float32", "float64"):
        raise InputError(f"dtype {dtype!r} is not float32 or float64")
    return dtype


def resolve_device(device: str) -> torch.device:
    """The torch device; auto is the first GPU, else the CPU. Raises InputError for one that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
