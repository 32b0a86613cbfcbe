"""Two runs on the same samples: differences of their scores, paired, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from taxonomy.metrics.intervals import SAME, Interval, resampled, wilson
from taxonomy.metrics.paths import path_scores
from taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class Difference:
    """A score of two runs, and by how much the second is larger."""

    first: float
    second: float
    difference: float
    """second - first."""
    interval: Interval
    """Of the difference: samples (or clusters of them) are drawn with replacement, with both runs' answers."""
    n: int
    """Samples that count in either."""
    better: int
    """Samples that score higher in the second run."""
    worse: int


def compare_paths(
    first: ArrayLike,
    second: ArrayLike,
    truth: ArrayLike,
    taxonomy: Taxonomy | None = None,
    *,
    cluster: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compare two runs by every score of `path_scores` that is a mean over samples or a ratio of sums, by name.

    first, second, truth: int (sample, level) codes of the same samples in the same order; taxonomy, cluster: as in
        `path_scores`.

    Where all clusters differ alike (two equal runs) a bootstrap cannot spread: the interval then goes as far to either
    side as Wilson's for a share of 0 among as many trials. Raises InputError, as `path_scores`.
    """
    runs = [path_scores(predicted, truth, taxonomy, cluster=cluster) for predicted in (first, second)]
    one, other = (run.parts for run in runs)
    groups = np.arange(runs[0].n) if cluster is None else np.unique(np.asarray(cluster), return_inverse=True)[1]
    found: dict[str, Difference] = {}
    for name in one:
        columns = np.column_stack([*one[name], *other[name]])
        sums = np.column_stack([np.bincount(groups, weights=column) for column in columns.T])
        kinds, times = np.unique(sums, axis=0, return_counts=True)
        rng = np.random.default_rng(seed)
        a, b = (_ratio(columns[:, pair].sum(axis=0)) for pair in ([0, 1], [2, 3]))
        ranks = [np.where(part[1] > 0, part[0] / np.maximum(part[1], 1), np.nan) for part in (one[name], other[name])]
        found[name] = Difference(
            first=a,
            second=b,
            difference=b - a,
            interval=_interval(kinds, times, b - a, runs[0].largest(name), confidence, resamples, rng),
            n=int(((columns[:, 1] > 0) | (columns[:, 3] > 0)).sum()),
            better=int((ranks[1] > ranks[0]).sum()),
            worse=int((ranks[1] < ranks[0]).sum()),
        )
    return found


def _interval(
    kinds: np.ndarray,
    times: np.ndarray,
    difference: float,
    largest: float,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> Interval:
    """kinds: (kind of cluster, 4): numerator and denominator of either run; times: how many clusters are of it."""
    drawn = resampled(kinds, times, resamples, rng)
    some = (drawn[:, 1] > 0) & (drawn[:, 3] > 0)
    if not some.any():
        return float("nan"), float("nan")
    differences = drawn[some, 2] / drawn[some, 3] - drawn[some, 0] / drawn[some, 1]
    if np.ptp(differences) < SAME:
        reach = largest * wilson(0.0, int(times.sum()), confidence)[1]
        return max(-largest, difference - reach), min(largest, difference + reach)
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _ratio(sums: np.ndarray) -> float:
    return float(sums[0] / sums[1]) if sums[1] else float("nan")
