"""What is fitted at a site: splits of its rows, and the sets of labels on each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probing.controls import Labels, controls
from probing.plan import Plan

LEAF = "(leaf)"
"""The probe that names a sample's leaf outright, for leaf lookup."""


@dataclass(frozen=True)
class Draw:
    """A split of some of a site's rows, and the seeds of what is drawn on it: shuffled labels and controls."""

    plan: Plan
    rows: np.ndarray
    """int: the rows of the features that the plan is of, ascending."""
    seeds: tuple[int, ...]

    def of(self, *parts: str) -> np.ndarray:
        """bool (row of the plan,): those in any of these parts of the split."""
        return np.isin(self.plan.split, parts)


@dataclass(frozen=True)
class Problem:
    """Labels to fit: int (row,) codes, -1 = the row is no part of it."""

    labels: Labels | None
    """None: the true ones."""
    level: str
    codes: np.ndarray


def problems(draw: Draw, fitted: np.ndarray, count: int) -> list[Problem]:
    """True labels of every level (and of leaves, where they can be predicted), then `count` controls of each kind and
    seed, whose labels follow the classes of the fitted rows, bool (row of the plan,)."""
    plan = draw.plan
    found = [Problem(None, level, plan.labels(level)) for level in plan.scored]
    if plan.leaf_lookup and plan.leaf_level is None:
        found.append(Problem(None, LEAF, plan.leaf[plan.unit]))
    for labels in (each for seed in draw.seeds for each in controls(plan, fitted, count, seed)):
        found += [Problem(labels, level, plan.labels(level, labels.path)) for level in labels.levels]
    return found
