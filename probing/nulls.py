"""What chance does: the null of every accuracy and of HCA, and the test against it for all of them at once.

A probe of shuffled labels knows nothing of the test samples, so their order carries no information: re-ordering their
paths gives the spread that chance has at this test size, and the shuffles add that of the fits. Paths move among
samples with the same levels.

The re-orderings are the same at every site, so the nulls of all sites and levels are joint draws, and the largest
deviation of each draw is a null for the largest of all (the max-T test, Westfall & Young 1993): adjusted p-values that
hold for the whole table, whatever depends on what in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from probing.shares import class_shares, hca

NULL_DRAWS = 1000
"""Re-orderings of the test paths, over all shuffles."""


def null_draws(shuffled: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """(draw, 2 * level + 1): accuracies, macro accuracies and HCA of the null's predictions by chance alone.

    shuffled: int (shuffle, test unit, level), predictions of probes of shuffled labels; truth: int (test unit, level).
    """
    rng = np.random.default_rng([seed, 2])
    kind = np.ravel(np.unique(truth >= 0, axis=0, return_inverse=True)[1])
    groups = [np.flatnonzero(kind == index) for index in range(kind.max() + 1)]
    draws = []
    for predicted in np.repeat(shuffled, math.ceil(NULL_DRAWS / len(shuffled)), axis=0):
        dealt = truth.copy()
        for group in groups:
            dealt[group] = dealt[rng.permutation(group)]
        right = (predicted == dealt) & (dealt >= 0)
        macro = [class_shares(hits, codes).mean() for hits, codes in zip(right.T, dealt.T, strict=True)]
        draws.append([*right.sum(0) / (dealt >= 0).sum(0), *macro, hca(right, dealt)])
    return np.array(draws)


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
    probes: Sequence[dict[str, Any]], hca_records: Sequence[dict[str, Any]], draws: Sequence[np.ndarray]
) -> None:
    """Write `p_value` and `p_adjusted` into the records of a run: one family of tests, every accuracy and HCA there is.

    probes: the records of the levels, site after site; draws: `null_draws` of each site, in the order of `hca_records`.
    """
    scored = [record for record in probes if not record["unscored"]]
    per_site = len(scored) // len(hca_records)
    tested = [
        record
        for site, whole in enumerate(hca_records)
        for record in (*scored[site * per_site : (site + 1) * per_site], whole)
    ]
    values = np.array([record["accuracy"] if "accuracy" in record else record["hca"] for record in tested])
    columns = np.hstack([site[:, [*range(per_site), -1]] for site in draws])
    alone, adjusted = p_values(values, columns)
    for record, p, q in zip(tested, alone.tolist(), adjusted.tolist(), strict=True):
        record |= {"p_value": p, "p_adjusted": q}
