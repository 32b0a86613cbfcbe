"""Leaf means whose geometry is known, and samples about them."""

from __future__ import annotations

import numpy as np

from taxonomy import Taxonomy


def tree(*branching: int) -> Taxonomy:
    """A balanced tree with two levels or more."""
    paths: list[list[str]] = [[]]
    for k in branching:
        paths = [[*path, f"{'x'.join(path[-1:])}.{i}"] for path in paths for i in range(k)]
    return Taxonomy.from_paths(paths)


RAGGED = Taxonomy.from_paths(
    [
        ["a", "b", "c"],
        ["a", "b", "d"],
        ["a", "e", "f"],
        ["g", "h", "i", "j"],  # a chain
        ["g", "k"],
        ["g", "l", "m"],
        ["g", "l", "n", "o"],
        ["g", "l", "n", "p"],
        ["q", "r"],
    ]
)
"""Ragged, with only children and a leaf two levels down."""


def planted(taxonomy: Taxonomy, n: int, d: int, rho: float | None, seed: int, norm: float = 6.0):
    """(features, leaf). Offsets are coordinate axes: orthogonal, or with a cosine of +-rho with their parent.

    rho None: leaves differ, but not by the tree. Every leaf has as many samples as any other, or one more.
    """
    rng = np.random.default_rng(seed)
    axes = iter(np.linalg.qr(rng.normal(size=(d, d)))[0])
    means = np.zeros((len(taxonomy), d))
    if rho is None:
        means = np.array([next(axes) for _ in taxonomy.leaves]) * norm
    else:
        vectors = {(): np.zeros(d)}
        for level in range(len(taxonomy.levels)):
            groups: dict[tuple, list[tuple]] = {}
            for node in taxonomy.nodes(level):
                groups.setdefault(node[:-1], []).append(node)
            for parent, children in groups.items():
                up = vectors[parent]
                along = up / np.linalg.norm(up) if up.any() else up
                own = np.array([next(axes) for _ in children])
                signs = np.array([(-1.0) ** i for i in range(len(children))])
                for node, offset, sign in zip(children, own - own.mean(0), signs - signs.mean(), strict=True):
                    vectors[node] = up + norm * (np.sqrt(1 - rho**2) * offset * np.sqrt(2) + rho * sign * along)
        means = np.array([vectors[path] for path in taxonomy.paths])
    leaf = np.arange(n) % len(taxonomy)
    return (means[leaf] + rng.normal(size=(n, d))).astype(np.float32), leaf
