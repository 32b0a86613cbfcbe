"""What "other levels keep" means in a tree: every level is scored given the level above it.

A probe that tells 36 species apart tells their genera apart too, so erasing the genus must cost it accuracy, whatever
it keeps of the species. What is the species' own is telling the species of one genus apart. So a choice at a level is
read among the children of the true parent, and by chance it is right as often as the parent's commonest child is there.

A model is not told the parent when it is asked for the child. Its answers at finer levels rest on the erased one (the
right species is found among those of the right genus), and may fall with it, so they do not count as side effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from taxonomy import Taxonomy

Relation = Literal["erased", "erased with it", "kept", "rests on it"]


def relation(levels: Sequence[str], erased: str, other: str, within_parent: bool, answers: bool = False) -> Relation:
    """What erasing a level should do to another one (or to itself); `levels` coarse to fine.

    Erased whole, a level takes every coarser one with it: their nodes are unions of its nodes. Erased within parents,
    it takes none. answers: of the model's answers, which are not read given the parent.
    """
    place = list(levels).index(other) - list(levels).index(erased)
    if place == 0:
        return "erased"
    if place < 0:
        return "kept" if within_parent else "erased with it"
    return "rests on it" if answers else "kept"


def parents_of(tree: Taxonomy, level: str) -> np.ndarray:
    """int (node of the level,): its parent's code; of the top level 0, as if below one root."""
    return np.maximum(tree.parent_codes(level), 0)


def among_siblings(scores: np.ndarray, classes: np.ndarray, truth: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """float (sample,): whether the best of the true node's siblings is the true node; NaN where a sample has no such
    level, or its node no sibling among the classes.

    scores: (sample, class). classes: int (class,) codes. truth: int (sample,) codes, -1 for none. parents: as
    `parents_of` gives them.
    """
    right = np.full(len(truth), np.nan)
    for parent in np.unique(parents[truth[truth >= 0]]):
        here, siblings = (truth >= 0) & (parents[truth] == parent), parents[classes] == parent
        if siblings.sum() > 1:
            best = classes[siblings][scores[np.ix_(here, siblings)].argmax(1)]
            right[here] = best == truth[here]
    return right


def commonest(fitted: np.ndarray, truth: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """float (sample,): whether the true node is its parent's commonest among `fitted` (row,) codes; NaN as above."""
    nodes, counts = np.unique(fitted[fitted >= 0], return_counts=True)
    return among_siblings(np.broadcast_to(counts.astype(float), (len(truth), len(nodes))), nodes, truth, parents)
