"""What `path_scores` gives: the scores of predicted paths, and their intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from taxonomy.metrics.independence import distinct, gap_columns, gaps
from taxonomy.metrics.intervals import Interval, agreed, clustered_bootstrap, percentiles, resampled, wilson

NAN = float("nan")
HEIGHTS = ("lca_height", "severity")
"""Scores that count levels; the others are fractions."""

Parts = dict[str, tuple[np.ndarray, np.ndarray]]
"""Numerators and denominators, float64 (sample,), of scores by name: each is a ratio of sums, a mean's denominators are
1 or, where a sample does not count, 0."""


@dataclass(frozen=True, eq=False)
class PathScores:
    """Path scores of n samples, as fractions in [0, 1] unless said otherwise; NaN where no sample counts.

    With h_j = 1 where level j of a sample is right, over the L levels its true path has, coarse to fine, a sample
    scores:

    * hca (hierarchical consistent accuracy): 1 when every level is right;
    * leaf_accuracy: h_L, the finest level of its path (an upper bound of HCA);
    * por (point-overlap ratio): sum_j h_j / L;
    * spor_prefix (strict POR, as released): the levels right from the top until the first error, / L;
    * spor_run (strict POR, as TARA's text has it): the longest run of right levels anywhere, / L;
    * tor (top-overlap ratio): sum_{j<L} h_j h_{j+1} / (L - 1), over samples with L >= 2. The released code counts L =
      1 as 0; multiply by `tor_n / n` to have its number.
    * consistency: hca, over samples with the leaf right: HCA / leaf accuracy.

    Over all samples:

    * h_precision, h_recall, h_f1 (hierarchical, micro): right nodes / nodes predicted, right nodes / true nodes, and
      their harmonic mean, of the levels the true paths have;
    * independence_gap: HCA less what it were if levels failed independently, the mean over samples of the product of
      their levels' accuracies; > 0 where levels succeed together.

    With a taxonomy, of a sample:

    * lca_height: levels between the true leaf and the node it shares with the one predicted at its level, 0 where that
      is right; over samples whose prediction names a node. severity: the same over wrong ones (mistake severity);
    * tree_inconsistency: 1 when the predicted nodes do not lie on one path of the tree, right or wrong; an answer that
      names no node lies on none;
    * achievable_inconsistency, with `options`: 1 when for some node chosen the parent was not among the options one
      level up: then no other answer there could have been consistent. What tree_inconsistency is more than this is the
      model's own.

    Sources: arXiv 2505.24840 and its released metric.py; arXiv 2603.00431 (TARA); TOR after ProTeCt (arXiv 2306.02240);
    severity, Bertinetto et al. 2020; hierarchical F1, Kiritchenko et al. 2006; inconsistency, H-CAST's TICE.
    """

    hca: float
    leaf_accuracy: float
    level_accuracy: np.ndarray
    """float64 (level,): the share of right samples among those whose path has the level."""
    por: float
    spor_prefix: float
    spor_run: float
    tor: float
    consistency: float
    first_error: np.ndarray
    """float64 (level + 1,): the share of samples whose first error, from the top, is at the level; last, of those
    without."""
    independence_gap: float
    h_precision: float
    h_recall: float
    h_f1: float
    lca_height: float
    """In levels; NaN without a taxonomy, as are those below."""
    severity: float
    """In levels."""
    tree_inconsistency: float
    achievable_inconsistency: float
    """NaN without `options`."""
    chance: dict[str, float]
    """With `options`: what uniform guessing among them scores, by the names of `per_sample` (hca, leaf_accuracy, por,
    `level 0`, ...); else empty."""
    n: int
    """Samples."""
    level_n: np.ndarray
    """int64 (level,): samples whose path has the level."""
    tor_n: int
    """Samples whose path has two levels or more."""
    per_sample: dict[str, np.ndarray] = field(repr=False)
    """float64 (sample,) by score name, `level 0`, `level 1`, ... among them; NaN where a sample does not count."""
    ratios: dict[str, tuple[np.ndarray, np.ndarray]] = field(repr=False)
    """float64 (sample,) numerators and denominators of h_precision, h_recall and h_f1, each a ratio of sums."""
    cluster: np.ndarray | None = field(repr=False)
    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0

    @property
    def chance_corrected(self) -> dict[str, float]:
        """(score - chance) / (1 - chance) by the names of `chance`: 0 is guessing, 1 is all right."""
        return {
            name: _corrected(float(np.nanmean(self.per_sample[name])), chance) for name, chance in self.chance.items()
        }

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """(low, high) by the names of `per_sample` and `ratios`, of `independence_gap`, of `first error 0`, ... by the
        level's column, and of `corrected hca`, ... where there is a chance; computed on first use.

        Without `cluster` the samples are taken as independent: Wilson's score interval for the scores that are 0 or
        1, a percentile bootstrap over samples for the others. With `cluster` (the leaf of each sample) whole clusters
        are drawn, the same for every score, since images of one species succeed and fail together. Where all clusters
        agree a bootstrap cannot spread, and Wilson's interval is given, for as many trials as there are clusters. The
        interval of a corrected score takes its chance as known.
        """
        found = self._independent() if self.cluster is None else self._clustered(self.cluster)
        for name, chance in self.chance.items():
            low, high = found[name]
            found[f"corrected {name}"] = (_corrected(low, chance), _corrected(high, chance))
        return found

    @cached_property
    def parts(self) -> Parts:
        """Every score as a ratio of sums; where the first error is among them."""
        wrong: dict[str, np.ndarray] = {}
        before = np.ones(self.n, dtype=bool)
        for column, hits in enumerate(self.hits.T):
            error = before & (hits == 0)
            wrong[f"first error {column}"] = error.astype(np.float64)
            before &= ~error
        means = {
            name: (np.nan_to_num(values), np.isfinite(values).astype(np.float64))
            for name, values in (self.per_sample | wrong).items()
        }
        return means | self.ratios

    @property
    def hits(self) -> np.ndarray:
        """float64 (sample, level): 1 where the level is right, 0 where wrong, NaN where the path has none."""
        return np.stack([self.per_sample[f"level {level}"] for level in range(len(self.level_accuracy))], axis=1)

    def largest(self, name: str) -> float:
        """What a score can be at most."""
        return float(len(self.level_accuracy)) if name in HEIGHTS else 1.0

    def _independent(self) -> dict[str, Interval]:
        found: dict[str, Interval] = {}
        for name, (numerators, weights) in self.parts.items():
            counts = weights > 0
            scores, sizes = numerators[counts], weights[counts]
            if not len(scores):
                found[name] = NAN, NAN
            elif name not in self.ratios and name not in HEIGHTS and np.isin(scores, (0, 1)).all():
                found[name] = wilson(float(scores.mean()), len(scores), self.confidence)
            else:
                rng, groups = np.random.default_rng(self.seed), np.arange(len(scores))
                found[name] = clustered_bootstrap(
                    scores, groups, self.confidence, self.resamples, rng, sizes, self.largest(name)
                )
        drawn = resampled(*distinct(self.hits), self.resamples, np.random.default_rng(self.seed))
        return found | {"independence_gap": self._middle(gaps(drawn, self.hits))}

    def _clustered(self, cluster: np.ndarray) -> dict[str, Interval]:
        groups = np.unique(cluster, return_inverse=True)[1]
        pairs = [column for pair in self.parts.values() for column in pair]
        columns = [*pairs, *gap_columns(self.hits).T]
        sums = np.column_stack([np.bincount(groups, weights=column) for column in columns])
        drawn = resampled(sums, None, self.resamples, np.random.default_rng(self.seed))
        found: dict[str, Interval] = {}
        for place, name in zip(range(0, len(pairs), 2), self.parts, strict=True):
            same = agreed(sums[:, place], sums[:, place + 1], self.confidence, self.largest(name))
            found[name] = same or percentiles(drawn[:, place], drawn[:, place + 1], self.confidence)
        return found | {"independence_gap": self._middle(gaps(drawn[:, len(pairs) :], self.hits))}

    def _middle(self, values: np.ndarray) -> Interval:
        low, high = np.quantile(values, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return float(low), float(high)


def _corrected(value: float, chance: float) -> float:
    return (value - chance) / (1 - chance) if chance < 1 else NAN
