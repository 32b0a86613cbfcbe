"""Labels that a probe should not be able to read as well as the true ones: what a number is to be compared with.

* shuffled: whole paths dealt anew among the fitted samples. Nothing can be known; the null of every number.
* rehung (a shuffled taxonomy): the leaves dealt anew among the places of the tree, whose shape stays. Every leaf keeps
  its samples, so a probe that merely tells the leaves apart does as well as on the true tree; what the true tree
  reads better is knowledge of the hierarchy.
* control (a control task, Hewitt & Liang 2019, arXiv 1909.03368): every leaf gets a class of its own at random, drawn
  like the classes of the fitted samples. It can only be memorised; accuracy less control accuracy is selectivity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probing.plan import ABSENT, Plan
from taxonomy.splits import SPLITS, TEST, TRAIN

REHUNG, CONTROL = "rehung", "control"
MOST_TRIES = 100
"""Control tasks drawn before a level whose classes all come out equal goes without one."""


@dataclass(frozen=True)
class Labels:
    """A labelling of all units that a control is fitted and read on."""

    kind: str
    """`rehung` or `control`."""
    path: np.ndarray
    """int32 (unit, level): codes, absent where the true path is."""
    levels: tuple[str, ...]
    """The scored levels at which it is a problem of its own that can be fitted."""
    same: tuple[str, ...] = ()
    """The scored levels at which it only renames the true classes: a probe of it is right where the true one is."""


def shuffled_paths(plan: Plan, fitted: np.ndarray, shuffles: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`Plan.path` and `Plan.leaf` with those of the units of the `fitted` rows (bool) dealt among them, per shuffle."""
    rng = np.random.default_rng([seed, 1])
    units = np.unique(plan.unit[fitted])
    for _ in range(shuffles):
        path, leaf, dealt = plan.path.copy(), plan.leaf.copy(), rng.permutation(units)
        path[units], leaf[units] = path[dealt], leaf[dealt]
        yield path, leaf


def controls(plan: Plan, fitted: np.ndarray, count: int, seed: int) -> list[Labels]:
    """`count` re-hung trees and as many control tasks; `fitted` (row,) bool: what the reported probes are fitted on."""
    trees = np.random.default_rng([seed, 4])
    tasks = np.random.default_rng([seed, 5])
    return [
        *(_rehung(plan, trees) for _ in range(count)),
        *(_control(plan, fitted, tasks) for _ in range(count)),
    ]


def _rehung(plan: Plan, rng: np.random.Generator) -> Labels:
    """Leaves change places with leaves as deep, in the same parts of the split: every node keeps how many leaves it is
    trained and tested on, and with held-out leaves no node loses all it was trained on."""
    codes = plan.taxonomy.codes[:, [plan.taxonomy.level_index(level) for level in plan.levels]]
    parts = np.stack(
        [np.isin(np.arange(len(codes)), plan.leaf[plan.unit[plan.split == part]]) for part in SPLITS], axis=1
    )
    place = np.arange(len(codes))
    group = np.unique(np.column_stack([plan.taxonomy.depths, parts]), axis=0, return_inverse=True)[1].ravel()
    for index in range(group.max() + 1):
        members = np.flatnonzero(group == index)
        place[members] = rng.permutation(members)
    path = np.where(plan.path >= 0, codes[place[plan.leaf]], ABSENT).astype(np.int32)
    same = tuple(level for level in plan.scored if _renamed(plan, path, level))
    others = tuple(level for level in plan.scored if level not in same and _fits(plan, path, level))
    return Labels(REHUNG, path, others, same)


def _control(plan: Plan, fitted: np.ndarray, rng: np.random.Generator) -> Labels:
    path = plan.path.copy()
    levels = []
    for level in plan.scored:
        column = plan.levels.index(level)
        classes = plan.labels(level)[fitted]
        classes = classes[classes >= 0]
        has = plan.path[:, column] >= 0
        for _ in range(MOST_TRIES):
            drawn = rng.choice(classes, size=len(plan.taxonomy))
            path[has, column] = drawn[plan.leaf[has]]
            if _fits(plan, path, level):
                levels.append(level)
                break
    return Labels(CONTROL, path, tuple(levels))


def _fits(plan: Plan, path: np.ndarray, level: str) -> bool:
    """Whether a probe of these labels can be fitted, validated and read."""
    codes = plan.labels(level, path)
    trained = np.unique(codes[(codes >= 0) & (plan.split == TRAIN)])
    known = np.isin(codes, trained)
    return len(trained) > 1 and all((known & (plan.split == part)).any() for part in SPLITS)


def _renamed(plan: Plan, path: np.ndarray, level: str) -> bool:
    """Whether the labels are the true ones under other names."""
    column = plan.levels.index(level)
    has = plan.path[:, column] >= 0
    true, given = plan.path[has, column], path[has, column]
    pairs = len(np.unique(np.column_stack([true, given]), axis=0))
    return pairs == len(np.unique(true)) == len(np.unique(given))


def tested(plan: Plan, labels: Labels) -> np.ndarray:
    """int32 (test unit, scored level): what the labels say of the test units."""
    return labels.path[plan.units(TEST)][:, [plan.levels.index(level) for level in plan.scored]]
