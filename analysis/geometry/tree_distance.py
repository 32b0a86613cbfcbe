"""Do cosines between leaves fall with their distance in the tree? A Mantel test."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from analysis.geometry.angles import Arithmetic
from analysis.geometry.directions import Leaves
from analysis.geometry.layout import Layout

PAIRS = 200_000
"""At most so many pairs of leaves are read, drawn at random where there are more."""


def tree_correlation(
    leaves: Leaves, at: Arithmetic, lca_depth: np.ndarray, layout: Layout, draws: int, seed: int
) -> dict[str, Any]:
    """Pearson's correlation of leaves' cosines with the number of steps between them in the tree.

    The null deals the leaves anew (`leaf_orders` of another stream); the interval draws leaves with replacement, pairs
    of one leaf with itself left out.
    """
    vectors = at.nodes(leaves).vectors[torch.from_numpy(layout.leaf_node).to(leaves.vectors.device), 0]
    unit = torch.nn.functional.normalize(vectors, dim=1)
    cosine = (unit @ unit.T).float().cpu().numpy()
    shared = lca_depth[np.ix_(layout.leaves, layout.leaves)].astype(np.float32)
    depth = layout.level[layout.leaf_node].astype(np.float32) + 1
    steps = depth[:, None] + depth[None, :] - 2 * shared
    rng = np.random.default_rng([seed, 7])
    count = len(steps)
    first, second = np.triu_indices(count, 1)
    if len(first) > PAIRS:
        chosen = np.sort(rng.choice(len(first), PAIRS, replace=False))
        first, second = first[chosen], second[chosen]
    apart = steps[first, second]
    value = _correlation(cosine[first, second], apart)
    null, drawn = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        order = rng.permutation(count)
        null[draw] = _correlation(cosine[order[first], order[second]], apart)
        again = rng.integers(0, count, count)
        a, b = again[first], again[second]
        known = a != b
        drawn[draw] = _correlation(cosine[a, b][known], steps[a, b][known])
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (math.nan, math.nan)
    spread = null.std()
    return {
        "statistic": "correlation of cosine and tree distance",
        "value": value,
        "low": float(low),
        "high": float(high),
        "n": count,
        "null": "leaves",
        "null_mean": float(null.mean()),
        "null_low": float(np.quantile(null, 0.025)),
        "null_high": float(np.quantile(null, 0.975)),
        "p_value": (1 + int((null <= value).sum())) / (1 + draws),
        "effect": float((value - null.mean()) / spread) if spread > 0 else math.nan,
    }


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size > 0 else math.nan
