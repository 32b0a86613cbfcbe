"""How much of a level can be read, beyond what the level above it gives away.

Whoever can tell genera apart names one species in three right without seeing any difference between species. So a level
is counted by itself, as the chain rule of information has it: among the samples whose answer has the right parent, how
much more often is it the right child than if the parent's most common child were named every time? 0: nothing of the
level; 1: all of it. At the top there is no parent, and every sample counts.

    share = sum of (right - floor) / sum of (1 - floor),   over the samples with the right parent

Every number is an array (1 + draw,): the estimate, then one for every draw of leaves. Whatever is computed from them is
computed draw by draw, so that its interval is paired by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from probing.bootstrap import CONFIDENCE, LeafBootstrap
from taxonomy.metrics import Interval, wilson

NOWHERE = -1
"""The code of no node."""
NORMAL = NormalDist()
MOST_BIASED = (0.05, 0.95)
"""Shares of draws below the estimate that are corrected for: where nearly all lie on one side (a share at its bound),
so few say by how much that a larger correction would be noise."""


@dataclass(frozen=True)
class Draws:
    """The weight of each leaf in the estimate and in every draw. Build it with `Draws.of`."""

    group: np.ndarray
    """int (sample,): the leaf of each sample, numbered from 0."""
    weights: np.ndarray
    """float64 (1 + draw, leaf); the first row is 1."""

    @classmethod
    def of(cls, leaf: np.ndarray, draws: int, seed: int) -> Draws:
        """`leaf` is (sample,), any labels."""
        bootstrap = LeafBootstrap.of(leaf, draws, seed)
        return cls(bootstrap.group, np.vstack([np.ones(bootstrap.leaves), bootstrap.weights]))

    def ratio(self, gain: np.ndarray, room: np.ndarray) -> np.ndarray:
        """sum of `gain` / sum of `room`, float64 (1 + draw,), 0 without room; samples with a NaN do not count."""
        counts = np.isfinite(gain) & np.isfinite(room)
        leaves = self.weights.shape[1]
        above = np.bincount(self.group, np.where(counts, gain, 0), leaves)
        below = np.bincount(self.group, np.where(counts, room, 0), leaves)
        top, bottom = self.weights @ above, self.weights @ below
        return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 1e-9)


def interval(values: np.ndarray, leaves: int | None = None) -> Interval:
    """The 95 % interval of a number (1 + draw,): bias-corrected percentiles (Efron 1981).

    A ratio of shares, cut off at 0 and 1, is not the middle of its draws; the correction reads off them how far it is
    from it: by how many of them lie below the estimate. Of a share, give the number of leaves: where all of them agree
    no draw can differ, and Wilson's interval is taken.
    """
    estimate, drawn = values[0], values[1:]
    if np.ptp(values) < 1e-12:
        return wilson(float(np.clip(estimate, 0, 1)), leaves) if leaves else (float(estimate), float(estimate))
    below = np.mean(drawn < estimate) + np.mean(drawn == estimate) / 2
    shift = 2 * NORMAL.inv_cdf(float(np.clip(below, *MOST_BIASED)))
    ends = [NORMAL.cdf(shift + sign * NORMAL.inv_cdf((1 + CONFIDENCE) / 2)) for sign in (-1, 1)]
    low, high = np.quantile(drawn, ends)
    return float(low), float(high)


def within_parent(truth: np.ndarray, predicted: np.ndarray, parent_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`gain` and `room` of each sample, float64 (sample,), NaN where its parent was missed or it lacks the level.

    truth, predicted: int (sample,), codes of nodes, -1 for none. parent_of: int (node,), -1 at the top.
    """
    has = truth >= 0
    floor = most_common_child(truth, parent_of)
    counted = has & (predicted >= 0)
    counted[counted] = parent_of[predicted[counted]] == parent_of[truth[counted]]
    gain, room = (predicted == truth) - floor, 1 - floor
    return np.where(counted, gain, np.nan), np.where(counted, room, np.nan)


def most_common_child(truth: np.ndarray, parent_of: np.ndarray) -> np.ndarray:
    """How often the most common child of a sample's parent is right, float64 (sample,); NaN without the level."""
    has = truth >= 0
    sizes = np.bincount(truth[has], minlength=len(parent_of))
    parents = parent_of + 1  # the top's is 0
    whole, most = np.zeros(parents.max(initial=0) + 1), np.zeros(parents.max(initial=0) + 1)
    np.add.at(whole, parents, sizes)
    np.maximum.at(most, parents, sizes)
    floor = np.full(len(truth), np.nan)
    group = parents[truth[has]]
    floor[has] = most[group] / whole[group]
    return floor


def parents(names: Sequence[str]) -> np.ndarray:
    """int (node,): the nearest node above each, -1 for none; a node is named by its path, joined by ` / `."""
    place = {name: code for code, name in enumerate(names)}
    above = np.full(len(names), NOWHERE)
    for code, name in enumerate(names):
        end = name.rfind(" / ")
        while end >= 0 and name[:end] not in place:
            end = name.rfind(" / ", 0, end)
        if end >= 0:
            above[code] = place[name[:end]]
    return above
