"""One path per sample from the log-probabilities of its levels' probes: the same probes, read in different ways.

* independent: each level's own best class. The levels may contradict each other.
* top-down: the best class at the top, then the best among its children, and so on.
* leaf lookup: the best leaf, and the path it lies on.
* joint: the path with the largest sum of log-probabilities, among the paths there are.

A sample is told which levels its path has (as everywhere in `probing`): joint and top-down decode it among the paths
that have them. With a question's options, each reading is kept to them, so that it compares with a model that chose
among the same: independent and top-down choose among the level's options (top-down among the children of its last
answer, where any is offered, else among all), leaf lookup and joint among the paths of the finest level's options.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probing.plan import ABSENT

READINGS = ("top_down", "joint", "leaf_lookup")
"""All but the independent one."""
BATCH_CELLS = 1 << 25
"""Most numbers (sample x path) held at once."""


@dataclass(frozen=True)
class LevelScores:
    """What a level's probe says of some samples."""

    classes: np.ndarray
    """int (class,), ascending: the codes it was trained on."""
    values: np.ndarray
    """float (sample, class): log-probabilities; NaN where a sample does not have the level."""

    def of(self, codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """float32 (row, code): the values of these codes, -inf for those never trained on."""
        place = np.minimum(np.searchsorted(self.classes, codes), len(self.classes) - 1)
        values = self.values[np.ix_(rows, place)]
        values[:, self.classes[place] != codes] = -np.inf
        return values


def patterns(truth: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The levels that samples have (positions), and the samples that have exactly these; samples without any are left
    out. truth: int (sample, level), -1 = absent."""
    kinds, kind = np.unique(truth >= 0, axis=0, return_inverse=True)
    for index, present in enumerate(kinds):
        if present.any():
            yield np.flatnonzero(present), np.flatnonzero(kind.ravel() == index)


def valid_paths(codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """int (path, given level): the different paths of a tree over some of its levels; codes int (leaf, level)."""
    part = codes[:, levels]
    return np.unique(part[(part >= 0).all(1)], axis=0)


def readings(
    scores: Sequence[LevelScores],
    leaf: LevelScores | None,
    codes: np.ndarray,
    truth: np.ndarray,
    options: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Every reading but the independent one, by name; arguments as of each.

    leaf: of the probe that names leaves, its classes leaves; without one there is no `leaf_lookup`.
    """
    found = {"top_down": top_down(scores, codes, truth, options), "joint": joint(scores, codes, truth, options)}
    if leaf is not None:
        found["leaf_lookup"] = leaf_lookup(leaf.classes, leaf.values, codes, truth, options)
    return found


def top_down(
    scores: Sequence[LevelScores], codes: np.ndarray, truth: np.ndarray, options: np.ndarray | None = None
) -> np.ndarray:
    """int (sample, level): codes, -1 where a sample has no such level or no class below its last answer was trained on.

    codes: int (leaf, level), the tree; truth: int (sample, level), only to see which levels a sample has. options: int
    (sample, level, option), padded with -1, and -1 throughout where a level is not restricted.
    """
    found = np.full(truth.shape, ABSENT)
    for levels, rows in patterns(truth):
        paths = valid_paths(codes, levels) if options is None else codes[:, levels]
        for column, level in enumerate(levels):
            nodes, first = np.unique(paths[:, column], return_index=True)
            nodes, first = nodes[nodes >= 0], first[nodes >= 0]
            values = scores[level].of(nodes, rows)
            if options is not None:
                values[~_offered(options[rows, level], nodes)] = -np.inf
            if column:
                parent = paths[first, column - 1]
                child = parent == found[rows, levels[column - 1], None]
                if options is not None:
                    child |= ~(child & np.isfinite(values)).any(1, keepdims=True)
                values[~child] = -np.inf
            found[rows, level] = np.where(np.isfinite(values.max(1)), nodes[values.argmax(1)], ABSENT)
    return found


def joint(
    scores: Sequence[LevelScores], codes: np.ndarray, truth: np.ndarray, options: np.ndarray | None = None
) -> np.ndarray:
    """int (sample, level): the most probable valid path, as `top_down`; ties go to the first path in order of codes.

    With options, the paths that end in one of the finest level's.
    """
    found = np.full(truth.shape, ABSENT)
    for levels, every in patterns(truth):
        paths = valid_paths(codes, levels)
        for rows in np.array_split(every, -(-len(every) * len(paths) // BATCH_CELLS)):
            total = np.zeros((len(rows), len(paths)), np.float32)
            for column, level in enumerate(levels):
                nodes, place = np.unique(paths[:, column], return_inverse=True)
                total += scores[level].of(nodes, rows)[:, place.ravel()]
            if options is not None:
                total[~_offered(options[rows, levels[-1]], paths[:, -1])] = -np.inf
            best = paths[total.argmax(1)]
            best[~np.isfinite(total.max(1))] = ABSENT
            found[np.ix_(rows, levels)] = best
    return found


def independent(scores: Sequence[LevelScores], truth: np.ndarray, options: np.ndarray | None = None) -> np.ndarray:
    """int (sample, level): each level's best class, among its options where given; as `top_down`."""
    found = np.full(truth.shape, ABSENT)
    for level, score in enumerate(scores):
        rows = np.flatnonzero(truth[:, level] >= 0)
        values = score.values[rows]
        if options is not None:
            values = np.where(_offered(options[rows, level], score.classes), values, -np.inf)
        if len(rows):
            found[rows, level] = np.where(np.isfinite(values.max(1)), score.classes[values.argmax(1)], ABSENT)
    return found


def leaf_lookup(
    leaves: np.ndarray, values: np.ndarray, codes: np.ndarray, truth: np.ndarray, options: np.ndarray | None = None
) -> np.ndarray:
    """int (sample, level): the path of the best leaf, which need not have the levels that the sample has.

    leaves: int (class,), the leaf each column of `values` (sample, class) stands for. With options, the best among the
    leaves on the paths that the finest level's options lie on.
    """
    values = values.copy()
    if options is not None:
        for levels, rows in patterns(truth):
            values[rows] = np.where(
                _offered(options[rows, levels[-1]], codes[leaves, levels[-1]]), values[rows], -np.inf
            )
    found = codes[leaves[np.nan_to_num(values, nan=-np.inf).argmax(1)]]
    return np.where((truth >= 0) & np.any(np.isfinite(values), axis=1, keepdims=True), found, ABSENT)


def _offered(options: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """bool (sample, node): whether a node is among a sample's options (sample, option); all are where it has none."""
    offered = np.any(options[:, None, :] == nodes[None, :, None], axis=2)
    return offered | np.all(options < 0, axis=1, keepdims=True)
