"""Intervals by drawing whole leaves: images of one species succeed and fail together.

One set of draws serves every statistic of every site, so differences between sites are paired. A draw is a weight per
leaf (how often it was drawn); a statistic is a ratio of weighted sums, so all draws are one matmul.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taxonomy.metrics import Interval, wilson

CONFIDENCE = 0.95


@dataclass(frozen=True)
class LeafBootstrap:
    """`draws` resamples of the leaves of some samples. Build it with `LeafBootstrap.of`."""

    group: np.ndarray
    """int (sample,): the leaf of each sample, renumbered from 0."""
    weights: np.ndarray
    """float32 (draw, leaf): how often each leaf was drawn."""

    @classmethod
    def of(cls, leaf: np.ndarray, draws: int, seed: int) -> LeafBootstrap:
        """`leaf` is (sample,), any labels. The same leaves, draws and seed give the same weights."""
        names, group = np.unique(leaf, return_inverse=True)
        rng = np.random.default_rng(seed)
        weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
        return cls(group, weights.astype(np.float32))

    @property
    def leaves(self) -> int:
        """How many leaves are drawn from."""
        return self.weights.shape[1]

    def means(self, values: np.ndarray) -> np.ndarray:
        """The mean of each column of `values` (sample, statistic) in each draw: float64 (draw, statistic).

        NaN marks samples that do not count for a statistic; a draw without any that do is NaN.
        """
        sums, sizes = self._sums(values)
        with np.errstate(invalid="ignore"):
            return (self.weights @ sums) / (self.weights @ sizes)

    def interval(self, values: np.ndarray, share: bool = True) -> Interval:
        """Percentile interval of the mean of `values` (sample,), NaN where a sample does not count.

        Where all leaves agree no draw can differ; for a share, Wilson's interval is then given, for as many trials as
        there are leaves. For a difference of shares pass `share=False`.
        """
        return self.intervals(values[:, None], share)[0]

    def intervals(self, values: np.ndarray, share: bool = True) -> list[Interval]:
        """`interval` of each column of `values` (sample, statistic), from one matmul."""
        sums, sizes = self._sums(values)
        with np.errstate(invalid="ignore"):
            draws = (self.weights @ sums) / (self.weights @ sizes)
        return [self._read(*column, share) for column in zip(sums.T, sizes.T, draws.T, strict=True)]

    def _read(self, sums: np.ndarray, sizes: np.ndarray, draws: np.ndarray, share: bool) -> Interval:
        counted = sizes > 0
        if not counted.any():
            return float("nan"), float("nan")
        means = sums[counted] / sizes[counted]
        if share and np.ptp(means) < 1e-12:
            return wilson(float(np.clip(means[0], 0, 1)), int(counted.sum()), CONFIDENCE)
        return percentiles(draws)

    def _sums(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Per leaf: the sums of the values that count, and how many do; float64 (leaf, statistic) each."""
        counts = np.isfinite(values)
        sums, sizes = np.zeros((self.leaves, values.shape[1])), np.zeros((self.leaves, values.shape[1]))
        np.add.at(sums, self.group, np.where(counts, values, 0))
        np.add.at(sizes, self.group, counts)
        return sums, sizes


def macro_interval(right: np.ndarray, classes: np.ndarray, leaf: np.ndarray, draws: int, seed: int) -> Interval:
    """95 % interval of a macro accuracy: the mean over classes of each class's share of `right` (sample,).

    classes: int (sample,), -1 = does not count; leaf: (sample,), whose samples are all of one class. Classes, and the
    leaves within each, get random weights (the Bayesian bootstrap, Rubin 1981): unlike counts, they never leave a class
    without samples, which would bias the mean over classes. With one leaf per class it is an interval over leaves.
    """
    has = classes >= 0
    group = np.unique(leaf[has], return_inverse=True)[1]
    sizes, sums = np.bincount(group), np.bincount(group, weights=right[has])
    if np.ptp(sums / sizes) < 1e-12:
        return wilson(float(np.clip(sums[0] / sizes[0], 0, 1)), len(sizes), CONFIDENCE)
    class_of = np.zeros(len(sizes), int)
    class_of[group] = classes[has]
    order = np.argsort(class_of, kind="stable")
    starts = np.flatnonzero(np.diff(class_of[order], prepend=-1))
    rng = np.random.default_rng([seed, 3])
    leaves = rng.standard_exponential((draws, len(sizes)), dtype=np.float32)
    weights = rng.standard_exponential((draws, len(starts)), dtype=np.float32)
    hits = np.add.reduceat(leaves * sums[order], starts, axis=1)
    trials = np.add.reduceat(leaves * sizes[order], starts, axis=1)
    return percentiles((weights * hits / trials).sum(1) / weights.sum(1))


def percentiles(draws: np.ndarray) -> Interval:
    """The central 95 % of some draws; NaN draws do not count."""
    low, high = np.nanquantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
