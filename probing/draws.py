"""What is fitted at a site: splits of its rows, and the sets of labels on each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probing.controls import Labels, controls, shuffled_paths
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
    found = _on_paths(plan, plan.path, plan.leaf)
    for labels in (each for seed in draw.seeds for each in controls(plan, fitted, count, seed)):
        found += [Problem(labels, level, plan.labels(level, labels.path)) for level in labels.levels]
    return found


def shuffled(draw: Draw, fitted: np.ndarray, count: int) -> list[list[Problem]]:
    """The problems of the true labels, with the paths of the fitted rows dealt among them, `count` times per seed."""
    paths = (dealt for seed in draw.seeds for dealt in shuffled_paths(draw.plan, fitted, count, seed))
    return [_on_paths(draw.plan, *dealt) for dealt in paths]


def _on_paths(plan: Plan, path: np.ndarray, leaf: np.ndarray) -> list[Problem]:
    """Every level, and leaves where they can be predicted and are no level."""
    found = [Problem(None, level, plan.labels(level, path)) for level in plan.scored]
    if plan.leaf_lookup and plan.leaf_level is None:
        found.append(Problem(None, LEAF, leaf[plan.unit]))
    return found
