"""How nodes of one level stand to one another in the tree."""

from __future__ import annotations

import numpy as np

from taxonomy.tree import Taxonomy


def ancestors(taxonomy: Taxonomy, level: int) -> np.ndarray:
    """int32 (level + 1, node of `level`): the code of each node's ancestor at every level from the top, itself last."""
    lines = [np.arange(len(taxonomy.nodes(level)), dtype=np.int32)]
    for index in range(level, 0, -1):
        lines.append(taxonomy.parent_codes(index)[lines[-1]])
    return np.stack(lines[::-1])


def common_depth(lines: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """int16: how many levels nodes of one level share from the top, by their `ancestors`."""
    return (lines[:, one] == lines[:, other]).sum(axis=0, dtype=np.int16)


def depths_and_parents(taxonomy: Taxonomy, nodes: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int16 and bool (image, level, option): depth of the common ancestor with the truth; parent offered one level up.

    nodes: int32 (image, level, option), codes, -1 beyond a question's options; position: int (image, level), the
    truth's place, -1 without a question. What stands beyond the options is 0 and False.
    """
    depth, offered = np.zeros(nodes.shape, np.int16), np.zeros(nodes.shape, bool)
    for level in range(nodes.shape[1]):
        there = nodes[:, level] >= 0
        rows, options = np.nonzero(there)
        here = nodes[:, level][there]
        truth = nodes[rows, level, position[rows, level]]
        depth[rows, level, options] = common_depth(ancestors(taxonomy, level), here, truth)
        if level:
            above = nodes[rows, level - 1]
            offered[rows, level, options] = (above == taxonomy.parent_codes(level)[here][:, None]).any(axis=1)
        else:
            offered[rows, level, options] = True
    return depth, offered
