"""Scores of predicted paths against true ones, with intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from commandline import InputError

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class PathScores:
    """Path scores of n samples, as fractions in [0, 1]; NaN where no sample counts.

    With h_j = 1 where level j of a sample is right, over the L levels its true path has, coarse to fine, a sample
    scores:

    * hca (hierarchical consistent accuracy): 1 when every level is right;
    * leaf_accuracy: h_L, the finest level of its path (an upper bound of HCA);
    * por (point-overlap ratio): sum_j h_j / L;
    * spor_prefix (strict POR, as released): the levels right from the top until the first error, / L;
    * spor_run (strict POR, as TARA's text has it): the longest run of right levels anywhere, / L;
    * tor (top-overlap ratio): sum_{j<L} h_j h_{j+1} / (L - 1), over samples with L >= 2. The released code counts L =
      1 as 0; multiply by `tor_n / n` to have its number.

    Sources: arXiv 2505.24840 and its released metric.py; arXiv 2603.00431 (TARA); TOR after ProTeCt (arXiv 2306.02240).
    """

    hca: float
    leaf_accuracy: float
    level_accuracy: np.ndarray
    """float64 (level,): the share of right samples among those whose path has the level."""
    por: float
    spor_prefix: float
    spor_run: float
    tor: float
    n: int
    """Samples."""
    level_n: np.ndarray
    """int64 (level,): samples whose path has the level."""
    tor_n: int
    """Samples whose path has two levels or more."""
    per_sample: dict[str, np.ndarray] = field(repr=False)
    """float64 (sample,) by score name, `level 0`, `level 1`, ... among them; NaN where a sample does not count."""
    cluster: np.ndarray | None = field(repr=False)
    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """(low, high) by the names of `per_sample`, computed on first use.

        Without `cluster` the samples are taken as independent: Wilson's score interval for the scores that are 0 or
        1, a percentile bootstrap over samples for the others. With `cluster` (the leaf of each sample) whole clusters
        are drawn, since images of one species succeed and fail together, and every score gets the percentile
        interval. Where all clusters agree a bootstrap cannot spread, and Wilson's interval is given, for as many
        trials as there are clusters.
        """
        return {name: self._interval(values) for name, values in self.per_sample.items()}

    def _interval(self, values: np.ndarray) -> Interval:
        counts = np.isfinite(values)
        scores = values[counts]
        if not len(scores):
            return float("nan"), float("nan")
        if self.cluster is None:
            if np.isin(scores, (0, 1)).all():
                return wilson(float(scores.mean()), len(scores), self.confidence)
            groups = np.arange(len(scores))
        else:
            groups = np.unique(self.cluster[counts], return_inverse=True)[1]
        return clustered_bootstrap(scores, groups, self.confidence, self.resamples, np.random.default_rng(self.seed))


def path_scores(
    predicted: ArrayLike,
    truth: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PathScores:
    """Score predicted paths; see `PathScores`.

    predicted, truth: int (sample, level), codes coarse to fine; a -1 in `truth` is a level the path does not have (what
        is predicted there is not looked at), a -1 in `predicted` is an answer that names no node, and wrong.
    cluster: (sample,), the leaf of each sample, for intervals that allow for leaves that succeed or fail as a whole.
    seed: of the bootstrap, which starts from it anew for every score.

    Raises InputError for codes that are not integers, shapes that differ, no samples, or a sample without any level.
    """
    codes, true = _codes(predicted, "predicted"), _codes(truth, "true")
    if codes.shape != true.shape:
        raise InputError(f"the predicted codes have the shape {codes.shape}, the true ones {true.shape}")
    present = true >= 0
    if not len(true) or not present.any(axis=1).all():
        row = int(np.argmin(present.any(axis=1))) if len(true) else 0
        raise InputError(f"sample {row} has no true level" if len(true) else "there are no samples to score")
    groups = None if cluster is None else np.asarray(cluster)
    if groups is not None and groups.shape != (len(true),):
        raise InputError(f"cluster should name the leaf of each of the {len(true)} samples, not {groups.shape}")
    right = present & (codes == true)
    scores = sample_scores(right, present)
    levels = [f"level {level}" for level in range(true.shape[1])]
    scores |= {name: np.where(present[:, k], right[:, k], np.nan) for k, name in enumerate(levels)}
    means = {name: _mean(values) for name, values in scores.items()}
    return PathScores(
        hca=means["hca"],
        leaf_accuracy=means["leaf_accuracy"],
        level_accuracy=np.array([means[name] for name in levels]),
        por=means["por"],
        spor_prefix=means["spor_prefix"],
        spor_run=means["spor_run"],
        tor=means["tor"],
        n=len(true),
        level_n=present.sum(axis=0),
        tor_n=int(np.isfinite(scores["tor"]).sum()),
        per_sample=scores,
        cluster=groups,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def sample_scores(right: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of `PathScores`, float64 (sample,), from bool (sample, level): the level is right, the path has it."""
    n = len(right)
    length = present.sum(axis=1)
    unbroken, last = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    prefix, run, longest, pairs = (np.zeros(n, dtype=int) for _ in range(4))
    for hit, here in zip(right.T, present.T, strict=True):  # absent levels leave everything as it was
        unbroken &= hit | ~here
        prefix += unbroken & here
        run = np.where(here, np.where(hit, run + 1, 0), run)
        longest = np.maximum(longest, run)
        pairs += here & hit & last
        last = np.where(here, hit, last)
    return {
        "hca": unbroken.astype(float),
        "leaf_accuracy": last.astype(float),
        "por": right.sum(axis=1) / length,
        "spor_prefix": prefix / length,
        "spor_run": longest / length,
        "tor": np.where(length > 1, pairs / np.maximum(length - 1, 1), np.nan),
    }


def wilson(share: float, n: int, confidence: float = 0.95) -> Interval:
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
) -> Interval:
    """Percentile interval of the mean of `scores` (sample,) when whole groups are drawn with replacement.

    `groups` (sample,) int from 0. Groups alike in sum and size are drawn together (the same distribution, in far less
    time). Falls back on `wilson` where every group has the same mean.
    """
    sums, sizes = np.bincount(groups, weights=scores), np.bincount(groups)
    means = sums / sizes
    if np.ptp(means) < 1e-12:
        return wilson(float(np.clip(means[0], 0, 1)), len(sums), confidence)
    kinds, times = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    drawn = rng.multinomial(len(sums), times / len(sums), size=resamples)
    means = (drawn @ kinds[:, 0]) / (drawn @ kinds[:, 1])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _mean(values: np.ndarray) -> float:
    counted = values[np.isfinite(values)]
    return float(counted.mean()) if len(counted) else float("nan")


def _codes(values: ArrayLike, what: str) -> np.ndarray:
    codes = np.asarray(values)
    if codes.ndim != 2 or codes.dtype.kind not in "iu":
        raise InputError(f"the {what} codes should be integers (sample, level), not {codes.dtype} {codes.shape}")
    return codes
