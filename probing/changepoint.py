"""Where along the sites a level is lost or found: one change of level in the accuracies, with an interval.

The curve of a level over neighbouring sites is fitted by two constants; the site where the second begins is the change
(the least-squares change-point, Hinkley 1970). Its interval comes from the draws of leaves: every draw has its own
curve and its own change. A change can be fitted to any curve, so its size is tested too: against the order of the sites
dealt anew, which keeps every accuracy and leaves no place for a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from probing.bootstrap import CONFIDENCE, LeafBootstrap, percentiles

LEAST_SITES = 4
ORDERS = 999
"""Orders of the sites that the change is tested against."""


def change_points(
    hits: np.ndarray, sites: Sequence[str], names: Sequence[str], bootstrap: LeafBootstrap, seed: int
) -> list[dict[str, Any]]:
    """A record per name (a level, HCA); none for fewer than four sites.

    hits: float (site, test unit, name): 1 right, 0 wrong, NaN where a unit does not count. `change` is the first site
    after the change, `change_low` and `change_high` the ends of its 95 % interval, `certainty` the share of draws that
    agree on it; `before`, `after` the mean accuracies and `jump` their difference, at this change, with its interval.
    """
    if len(sites) < LEAST_SITES:
        return []
    rng = np.random.default_rng([seed, 9])
    records = []
    for column, name in enumerate(names):
        values = hits[:, :, column].T
        curve = np.nanmean(values, axis=0)
        drawn = bootstrap.means(values)
        drawn = drawn[np.isfinite(drawn).all(1)]
        place, size = best_splits(curve[None])
        places, _ = best_splits(drawn)
        low, high = np.quantile(places, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="closest_observation")
        at = int(place[0])
        jumps = drawn[:, at:].mean(1) - drawn[:, :at].mean(1)
        jump_low, jump_high = percentiles(jumps)
        orders = np.array([rng.permutation(curve) for _ in range(ORDERS)])
        records.append(
            {
                "of": name,
                "first": sites[0],
                "last": sites[-1],
                "n_test": int(np.isfinite(values).all(1).sum()),
                "change": sites[at],
                "change_low": sites[int(low)],
                "change_high": sites[int(high)],
                "certainty": float((places == at).mean()),
                "before": float(curve[:at].mean()),
                "after": float(curve[at:].mean()),
                "jump": float(curve[at:].mean() - curve[:at].mean()),
                "jump_low": jump_low,
                "jump_high": jump_high,
                "p_value": float((1 + (best_splits(orders)[1] >= size[0] - 1e-12).sum()) / (1 + ORDERS)),
            }
        )
    return records


def best_splits(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each curve (curve, site): where the second of two constants begins, int (curve,), 1 to site - 1; and the sum
    of squares that the split explains. Ties go to the first."""
    sites = curves.shape[1]
    before = np.arange(1, sites)
    running = np.cumsum(curves, axis=1)
    left = running[:, :-1] / before
    right = (running[:, -1:] - running[:, :-1]) / (sites - before)
    explained = before * (sites - before) / sites * (left - right) ** 2
    best = explained.argmax(1)
    return best + 1, explained[np.arange(len(curves)), best]
