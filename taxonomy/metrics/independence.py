"""HCA beside what it were if levels failed independently.

hits: float64 (sample, level), 1 where the level is right, 0 where wrong, NaN where the path has none.
"""

from __future__ import annotations

import numpy as np


def independent_hca(accuracy: np.ndarray, there: np.ndarray) -> float:
    """The mean over samples of the product of their levels' accuracies.

    accuracy: float64 (level,); there: bool (sample, level), the path has the level.
    """
    kinds, times = _kinds(there)
    return float(np.average([accuracy[kind].prod() for kind in kinds], weights=times))


def gap_columns(hits: np.ndarray) -> np.ndarray:
    """float64 (sample, column): every level right; each level right; each there; each kind of path. Sums of them are
    all that `gaps` needs."""
    there = np.isfinite(hits)
    whole = ~(hits == 0).any(axis=1)
    kind = np.unique(_codes(there), return_inverse=True)[1]
    return np.column_stack([whole, np.nan_to_num(hits), there, np.eye(int(kind.max()) + 1)[kind]])


def distinct(hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of `gap_columns`, and int (row,) how many samples have each."""
    codes = _codes(np.column_stack([hits == 1, np.isfinite(hits)]))
    _, first, times = np.unique(codes, return_index=True, return_counts=True)
    return gap_columns(hits[first]), times


def gaps(sums: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """float64 (resample,): HCA less the independent one; sums: (resample, column) of `gap_columns(hits)`."""
    kinds, _ = _kinds(np.isfinite(hits))
    levels = kinds.shape[1]
    whole, right, there, weights = np.split(sums, [1, 1 + levels, 1 + 2 * levels], axis=1)
    accuracy = right / np.maximum(there, 1)
    products = np.stack([accuracy[:, kind].prod(axis=1) for kind in kinds], axis=1)
    return (whole[:, 0] - (products * weights).sum(axis=1)) / weights.sum(axis=1)


def _kinds(there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool (kind, level), the kinds of path in the order of `gap_columns`; int (kind,), samples of each."""
    bits = 1 << np.arange(there.shape[1])
    codes, times = np.unique(_codes(there), return_counts=True)
    return codes[:, None] & bits > 0, times


def _codes(flags: np.ndarray) -> np.ndarray:
    """int64 (row,): the bits of bool (row, column)."""
    codes = np.zeros(len(flags), np.int64)
    for place, column in enumerate(flags.T):
        codes |= column.astype(np.int64) << place
    return codes
