"""Intervals: Wilson's for shares, and the bootstrap that draws whole clusters."""

from __future__ import annotations

import numpy as np

Interval = tuple[float, float]

SAME = 1e-12
"""Cluster means this close are the same: a bootstrap of them cannot spread."""
DRAWS_AT_A_TIME = 1 << 22


def wilson(share: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a share of n independent trials (Wilson 1927); `n` and `share * n` need not be
    whole."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = float(centre - half), float(centre + half)
    return (0.0 if share == 0 else max(0.0, low)), (1.0 if share == 1 else min(1.0, high))  # exact at the ends


def clustered_bootstrap(
    scores: np.ndarray,
    groups: np.ndarray,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    largest: float = 1.0,
) -> Interval:
    """Percentile interval of the mean of `scores` (sample,) when whole groups are drawn with replacement.

    groups: (sample,) int from 0. Groups alike in sum and size are drawn together (the same distribution, in far less
        time).
    weights: (sample,), of a weighted mean: a ratio of sums is one. `scores` are then its numerators.
    largest: what a score can be at most. Where every group has the same mean a bootstrap cannot spread, and `wilson` is
        given for the mean as a share of it, for as many trials as there are groups.
    """
    sums, sizes = np.bincount(groups, weights=scores), np.bincount(groups, weights=weights)
    kinds, times = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    if (same := agreed(sums, sizes, confidence, largest)) is not None:
        return same
    drawn = resampled(kinds, times, resamples, rng)
    return percentiles(drawn[:, 0], drawn[:, 1], confidence)


def resampled(sums: np.ndarray, times: np.ndarray | None, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """float64 (resample, column): column sums over clusters drawn with replacement, as many as there are.

    sums: (cluster, column); times: (cluster,), how many clusters are alike, None for 1 each.
    """
    clusters = len(sums)
    if times is not None and len(times) < times.sum():
        return rng.multinomial(int(times.sum()), times / times.sum(), size=resamples) @ sums
    found = np.empty((resamples, sums.shape[1]))
    step = max(1, DRAWS_AT_A_TIME // clusters)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        chosen = rng.integers(clusters, size=(rows, clusters)) + np.arange(rows)[:, None] * clusters
        counts = np.bincount(chosen.reshape(-1), minlength=rows * clusters).reshape(rows, clusters)
        found[start : start + rows] = counts.astype(np.float64) @ sums
    return found


def agreed(sums: np.ndarray, sizes: np.ndarray, confidence: float, largest: float = 1.0) -> Interval | None:
    """Wilson's interval where all clusters that count have one mean, else None."""
    counts = sizes > 0
    if not counts.any():
        return float("nan"), float("nan")
    means = sums[counts] / sizes[counts]
    if np.ptp(means) >= SAME:
        return None
    low, high = wilson(float(np.clip(means[0] / largest, 0, 1)), int(counts.sum()), confidence)
    return low * largest, high * largest


def percentiles(numerators: np.ndarray, denominators: np.ndarray, confidence: float) -> Interval:
    """The middle `confidence` of the ratios; those without a denominator do not count."""
    some = denominators > 0
    low, high = np.quantile(numerators[some] / denominators[some], [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
