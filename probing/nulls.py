"""What chance does: the null of every accuracy and of HCA, and the test against it for all of them at once.

Two nulls, which fail in different ways, and the wider of the two is reported:

* dealt: the paths of the test samples dealt anew among them (samples with the same levels), against the probe's own
  predictions. If the features know nothing of the labels, every order is as likely as the true one, so this is exact
  for the probe at hand, whatever it has learned of the classes' frequencies.
* shuffled: the same for probes fitted on shuffled labels, whose fits vary too. A few of them
  need not vary enough: on noise over a ragged, unbalanced tree the interval of three alone held a level's macro
  accuracy in 90 of 100 seeds, the wider of the two in all.

The orders are the same at every site, so the draws of `dealt` are joint over all sites and levels, and the largest
deviation of each draw is a null for the largest of all (the max-T test, Westfall & Young 1993): adjusted p-values that
hold for the whole table, whatever depends on what in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probing.bootstrap import percentiles
from probing.shares import class_shares, hca

NULL_DRAWS = 1000
"""Orders of the test paths, for each null."""


@dataclass(frozen=True)
class Nulls:
    """Draws of both, float (draw, 2 * level + 1) as `null_draws` gives them, and of the other readings of paths."""

    dealt: np.ndarray
    shuffled: np.ndarray
    readings: Mapping[str, tuple[np.ndarray, np.ndarray]]
    """Both of each reading, float (draw,) as `path_draws` gives them."""

    def spread(self, column: int) -> tuple[float, float, float]:
        """The mean of the shuffled null, and the hull of the two nulls' central 95 %."""
        return _hull(self.dealt[:, column], self.shuffled[:, column])

    def of_reading(self, name: str) -> tuple[float, float, float]:
        """The same of a reading; NaN where there is none."""
        return _hull(*self.readings[name]) if name in self.readings else (math.nan, math.nan, math.nan)


def _hull(dealt: np.ndarray, shuffled: np.ndarray) -> tuple[float, float, float]:
    (low, high), (lower, higher) = percentiles(dealt), percentiles(shuffled)
    return float(shuffled.mean()), min(low, lower), max(high, higher)


def null_draws(predictions: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """(draw, 2 * level + 1): accuracies, macro accuracies and HCA of predictions by chance alone.

    predictions: int (probe, test unit, level), of several probes of the same kind; truth: int (test unit, level).
    """
    draws = []
    for predicted, dealt in _pairs(predictions, truth, seed):
        right = (predicted == dealt) & (dealt >= 0)
        macro = [class_shares(hits, codes).mean() for hits, codes in zip(right.T, dealt.T, strict=True)]
        draws.append([*right.sum(0) / (dealt >= 0).sum(0), *macro, hca(right, dealt)])
    return np.array(draws)


def path_draws(predictions: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """(draw,): HCA alone, as `null_draws`; the orders are the same."""
    return np.array([hca(predicted == dealt, dealt) for predicted, dealt in _pairs(predictions, truth, seed)])


def _pairs(predictions: np.ndarray, truth: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(predictions of a probe, the paths dealt anew), each probe as often as any other."""
    rng = np.random.default_rng([seed, 2])
    kind = np.ravel(np.unique(truth >= 0, axis=0, return_inverse=True)[1])
    groups = [np.flatnonzero(kind == index) for index in range(kind.max() + 1)]
    for predicted in np.repeat(predictions, math.ceil(NULL_DRAWS / len(predictions)), axis=0):
        dealt = truth.copy()
        for group in groups:
            dealt[group] = dealt[rng.permutation(group)]
        yield predicted, dealt


def p_values(values: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sided p-values of accuracies against their nulls, (test,) each: alone, and adjusted for all tests (max-T).

    values (test,), draws (draw, test), joint over tests. Both are (1 + draws that do as well) / (1 + draws), so the
    least is 1 / (1 + draws), adjusted too. Adjusted by Westfall & Young's step-down: the k-th largest deviation is
    compared with the largest among the tests not yet rejected.
    """
    values = values - 1e-9  # the same share, summed in another order, is as good
    count = len(draws)
    alone = (1 + (draws >= values).sum(0)) / (1 + count)
    middle, spread = draws.mean(0), draws.std(0)
    spread = np.where(spread > 0, spread, 1e-9)
    own, null = (values - middle) / spread, (draws - middle) / spread
    order = np.argsort(own, kind="stable")
    largest = np.maximum.accumulate(null[:, order], axis=1)  # over the tests that deviate no more
    adjusted = np.empty(len(values))
    adjusted[order] = (1 + (largest >= own[order]).sum(0)) / (1 + count)
    adjusted[order[::-1]] = np.maximum.accumulate(adjusted[order[::-1]])
    return alone, adjusted


def mark_chance(
    probes: Sequence[dict[str, Any]], hca_records: Sequence[dict[str, Any]], nulls: Sequence[Nulls]
) -> None:
    """Write `p_value` and `p_adjusted` into the records of a run: one family of tests, every accuracy and HCA there is.

    probes: the records of the levels, site after site; nulls: of each site, in the order of `hca_records`.
    """
    scored = [record for record in probes if not record["unscored"]]
    per_site = len(scored) // len(hca_records)
    tested = [
        record
        for site, whole in enumerate(hca_records)
        for record in (*scored[site * per_site : (site + 1) * per_site], whole)
    ]
    values = np.array([record["accuracy"] if "accuracy" in record else record["hca"] for record in tested])
    columns = np.hstack([site.dealt[:, [*range(per_site), -1]] for site in nulls])
    alone, adjusted = p_values(values, columns)
    for record, p, q in zip(tested, alone.tolist(), adjusted.tolist(), strict=True):
        record |= {"p_value": p, "p_adjusted": q}
