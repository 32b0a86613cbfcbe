"""Scores sample by sample, from which levels are right, which there are, and where the tree puts what was said."""

from __future__ import annotations

import numpy as np

from taxonomy.ancestry import ancestors, common_depth
from taxonomy.tree import Taxonomy


def sample_scores(right: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of `PathScores` that need no tree, float64 (sample,), NaN where a sample does not count.

    right, present: bool (sample, level): the level is right, the path has it.
    """
    n = len(right)
    unbroken, last = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    length, hits, prefix, run, longest, pairs = (np.zeros(n, dtype=np.int8) for _ in range(6))
    for hit, here in zip((right & present).T, present.T, strict=True):  # absent levels leave everything as it was
        length += here
        hits += hit
        unbroken &= hit | ~here
        prefix += unbroken & here
        run += here
        run *= hit | ~here
        np.maximum(longest, run, out=longest)
        pairs += hit & last
        last = (last & ~here) | hit
    whole = length.astype(np.float64)
    leaf = last.astype(np.float64)
    hca = unbroken.astype(np.float64)
    return {
        "hca": hca,
        "leaf_accuracy": leaf,
        "por": hits / whole,
        "spor_prefix": prefix / whole,
        "spor_run": longest / whole,
        "tor": np.where(length > 1, pairs / np.maximum(whole - 1, 1), np.nan),
        "consistency": np.where(last, hca, np.nan),
    }


def tree_scores(
    predicted: np.ndarray, truth: np.ndarray, taxonomy: Taxonomy, options: np.ndarray | None
) -> dict[str, np.ndarray]:
    """The scores of `PathScores` that look at the tree, float64 (sample,), NaN where a sample does not count.

    predicted, truth: int (sample, level), as in `path_scores`; options: int (sample, level, option), or None.
    """
    height = _heights(predicted, truth, taxonomy)
    scores = {
        "lca_height": height,
        "severity": np.where(height > 0, height, np.nan),
        "tree_inconsistency": _inconsistent(predicted, truth, taxonomy).astype(np.float64),
    }
    if options is not None:
        scores["achievable_inconsistency"] = _forced(predicted, truth, taxonomy, options).astype(np.float64)
    return scores


def _heights(predicted: np.ndarray, truth: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """Levels between a path's finest node and what it shares with the one predicted; NaN where that names no node."""
    finest = truth.shape[1] - 1 - (truth[:, ::-1] >= 0).argmax(axis=1)
    heights = np.full(len(truth), np.nan)
    for level in np.unique(finest):
        rows = np.flatnonzero((finest == level) & (predicted[np.arange(len(truth)), finest] >= 0))
        shared = common_depth(ancestors(taxonomy, level), predicted[rows, level], truth[rows, level])
        heights[rows] = level + 1 - shared
    return heights


def _inconsistent(predicted: np.ndarray, truth: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """bool (sample,): the nodes predicted at the levels of the true path do not lie on one path of the tree."""
    broken = np.zeros(len(truth), dtype=bool)
    above = np.full(len(truth), -1, dtype=np.int64)  # what the finer levels want here
    for level in range(truth.shape[1] - 1, -1, -1):
        here, said = truth[:, level] >= 0, predicted[:, level]
        broken |= here & ((said < 0) | ((above >= 0) & (above != said)))
        above = np.where(here, said, above)
        if level:
            above = np.where(above >= 0, taxonomy.parent_codes(level)[above], -1)
    return broken


def _forced(predicted: np.ndarray, truth: np.ndarray, taxonomy: Taxonomy, options: np.ndarray) -> np.ndarray:
    """bool (sample,): a node was chosen whose parent was not to be had one level up, whatever was chosen there."""
    forced = np.zeros(len(truth), dtype=bool)
    for level in range(1, truth.shape[1]):
        said, above = predicted[:, level], options[:, level - 1]
        asked = (truth[:, level - 1 : level + 1] >= 0).all(axis=1) & (said >= 0) & (above >= 0).any(axis=1)
        forced |= asked & (above != taxonomy.parent_codes(level)[said][:, None]).all(axis=1)
    return forced
