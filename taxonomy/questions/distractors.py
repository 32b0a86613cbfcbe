"""Wrong options: nodes of the right one's level, by chance, by the tree, or by likeness.

Options that read alike are never drawn together: of nodes whose names have one normal form (`taxonomy.names`), one
stands for all - the nearest, then the first in the taxonomy's order - and none where the truth itself is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from commandline import InputError
from taxonomy.ancestry import ancestors, common_depth
from taxonomy.names import normalise
from taxonomy.questions import draws
from taxonomy.questions.question import OPTIONS
from taxonomy.tree import Taxonomy

Rule = Callable[[int, int, np.ndarray, np.ndarray], np.ndarray]
"""(level, truth's code, rows of the images that show it, uint64 (image, 3) to draw by) -> codes (image, distractor)."""

Similarity = Callable[[int, int, np.ndarray], np.ndarray]
"""(level, truth's code, rows of images) -> float (image or 1, node of the level): larger is more alike."""


def at_random(taxonomy: Taxonomy) -> Rule:
    """Every wrong name of the level is as likely as any other."""
    names = _names(taxonomy)

    def rule(level: int, truth: int, rows: np.ndarray, random: np.ndarray) -> np.ndarray:
        pool = _first_of_each(np.arange(len(names[level])), names[level], truth)
        return _drawn(pool, np.zeros(len(pool), int), random)

    return rule


def nearest_in_tree(taxonomy: Taxonomy) -> Rule:
    """The nodes that share most levels with the truth: its siblings, then its cousins; ties are drawn."""
    names = _names(taxonomy)
    lines = lru_cache(maxsize=2)(lambda level: ancestors(taxonomy, level))

    def rule(level: int, truth: int, rows: np.ndarray, random: np.ndarray) -> np.ndarray:
        nodes = np.arange(len(names[level]))
        apart = -common_depth(lines(level), nodes, np.array([truth]))
        pool = _first_of_each(np.argsort(apart, kind="stable"), names[level], truth)
        return _drawn(pool, apart[pool], random)

    return rule


def most_alike(taxonomy: Taxonomy, similarity: Similarity) -> Rule:
    """The wrong names most similar to the image, or to the right name (arXiv 2505.24840: the three most similar by
    SigLIP, image to text); ties in the taxonomy's order. Nothing is drawn."""
    names = _names(taxonomy)

    def rule(level: int, truth: int, rows: np.ndarray, random: np.ndarray) -> np.ndarray:
        pool = _first_of_each(np.arange(len(names[level])), names[level], truth)
        near = np.array(similarity(level, truth, rows), np.float64)[:, pool]
        if not np.isfinite(near).all():
            raise InputError(
                f"the similarities at the level {taxonomy.levels[level]!r} are not all finite numbers; is the encoder "
                "one of half precision that overflows?"
            )
        chosen = np.empty((len(near), min(OPTIONS - 1, len(pool))), np.int64)
        for place in range(chosen.shape[1]):
            best = near.argmax(axis=1)
            chosen[:, place] = pool[best]
            near[np.arange(len(near)), best] = -np.inf
        return np.broadcast_to(chosen, (len(rows), chosen.shape[1]))

    return rule


def draw_questions(
    taxonomy: Taxonomy,
    leaf: np.ndarray,
    words: Sequence[np.ndarray],
    rule: Rule,
    advance: Callable[[int], object] = lambda asked: None,
) -> tuple[np.ndarray, np.ndarray]:
    """The options of every image at every level of its path, in the order they are shown.

    leaf: int (image,); words: per level uint64 (image, 4) of `draws.words`; advance: told how many questions are done.
    Returns int32 (image, level, option), -1 beyond a question's options, and int8 (image, level), the truth's place, -1
    without a question.
    """
    nodes = np.full((len(leaf), len(taxonomy.levels), OPTIONS), -1, np.int32)
    position = np.full((len(leaf), len(taxonomy.levels)), -1, np.int8)
    for level, truth in enumerate(taxonomy.codes[leaf].T):
        by_node = np.argsort(truth, kind="stable")
        bounds = np.flatnonzero(np.diff(truth[by_node])) + 1
        for rows in np.split(by_node, bounds):
            if not len(rows) or truth[rows[0]] < 0:
                continue
            node, random = int(truth[rows[0]]), words[level][rows]
            wrong = rule(level, node, rows, random[:, :-1])
            options = np.column_stack([np.full(len(rows), node), wrong])
            order = draws.orders(random[:, -1], options.shape[1])
            nodes[rows, level, : options.shape[1]] = np.take_along_axis(options, order, axis=1)
            position[rows, level] = (order == 0).argmax(axis=1)
            advance(len(rows))
    return nodes, position


def _names(taxonomy: Taxonomy) -> list[np.ndarray]:
    """Per level int (node,): equal for nodes whose names have one normal form."""
    return [np.unique([normalise(name) for name in taxonomy.names(k)], return_inverse=True)[1] for k in taxonomy.levels]


def _first_of_each(order: np.ndarray, names: np.ndarray, truth: int) -> np.ndarray:
    """The nodes of `order` less those named like the truth, the first of each name."""
    order = order[names[order] != names[truth]]
    return order[np.sort(np.unique(names[order], return_index=True)[1])]


def _drawn(pool: np.ndarray, rank: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Codes (image, distractor): the nodes of lowest rank, ties drawn. rank: int (pool,), ascending."""
    count = min(OPTIONS - 1, len(pool))
    start = np.searchsorted(rank, rank[:count], side="left")
    stop = np.searchsorted(rank, rank[:count], side="right")
    return pool[draws.without_replacement(random[:, :count], start.tolist(), stop.tolist())]
