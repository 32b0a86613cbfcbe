"""Park et al., "The Geometry of Categorical and Hierarchical Concepts in Large Language Models" (2406.01506).

Their estimator and their criterion as published, for a language model's unembeddings or any other rows: what is
reported under their name, not what the verdicts here rest on. Sets of random rows, each inside its parent's, pass the
criterion (`python benchmarks/geometry.py published`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from commandline import InputError

Estimator = Literal["lda", "mean"]
NEAR = 0.1
"""Mean cosines nearer to 0 than this read as orthogonal. The paper has plots and no number; this one is ours."""


def unified_space(unembedding: np.ndarray) -> np.ndarray:
    """(token, d) float64: rows centred and whitened by the symmetric inverse square root of their covariance.

    The covariance is that of all rows, divided by their number, without shrinkage and without a floor (eq. 2.3; its
    inner product is the causal one of 2311.03658). Raises InputError where it has no inverse.
    """
    rows = np.asarray(unembedding, np.float64)
    rows = rows - rows.mean(0)
    values, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    if values[0] <= len(values) * np.finfo(float).eps * values[-1]:
        raise InputError(
            f"the covariance of {rows.shape[0]} rows of {rows.shape[1]} features has no inverse: "
            "give more rows than features, none of which is a sum of others"
        )
    return rows @ (axes * values**-0.5) @ axes.T


def park_directions(
    vectors: np.ndarray, sets: Mapping[str, np.ndarray], estimator: Estimator = "lda"
) -> dict[str, np.ndarray]:
    """A direction with a length for each set of rows of `vectors` (row, d), in the unified space: float64 (d,).

    lda: u = pinv(S) m / |pinv(S) m|, with m the set's mean and S its covariance after Ledoit and Wolf, and then
    (m . u) u. mean: m. Raises InputError for a set without rows.
    """
    from sklearn.covariance import ledoit_wolf

    if estimator not in ("lda", "mean"):
        raise InputError(f"the estimator should be lda or mean, not {estimator!r}")
    found = {}
    for name, rows in sets.items():
        if not len(rows):
            raise InputError(f"the set {name!r} has no rows")
        members = np.asarray(vectors[rows], np.float64)
        mean = members.mean(0)
        if estimator == "lda":
            covariance = ledoit_wolf(members)[0]
            direction = np.linalg.pinv(covariance, hermitian=True) @ mean
            direction /= np.linalg.norm(direction)
            mean = (mean @ direction) * direction
        found[name] = mean
    return found


@dataclass(frozen=True)
class ParkCriterion:
    """Cosines of child - parent with parent, float (edge,) each, and the two controls of the paper."""

    edges: tuple[tuple[str, str], ...]
    """(parent, child)."""
    true: np.ndarray
    shuffled: np.ndarray
    """The same sets of rows that were permuted once."""
    random_parent: np.ndarray
    """Of child - q with q, another set drawn as the parent."""
    grandparent: np.ndarray
    """Of child - parent with parent - grandparent; NaN at the top."""

    @property
    def reads_orthogonal(self) -> bool:
        """Whether the plots look as in the paper: the true cosines around 0, those with a random parent not."""
        return abs(self.true.mean()) < NEAR < abs(self.random_parent.mean())


def park_criterion(
    vectors: np.ndarray,
    sets: Mapping[str, np.ndarray],
    parents: Mapping[str, str],
    estimator: Estimator = "lda",
    seed: int = 100,
) -> ParkCriterion:
    """The published test of hierarchical orthogonality. parents: {child: its parent}, of the names in `sets`."""
    rng = np.random.default_rng(seed)
    directions = park_directions(vectors, sets, estimator)
    permuted = park_directions(vectors[rng.permutation(len(vectors))], sets, estimator)
    names, edges = list(sets), [(parent, child) for child, parent in parents.items()]
    others = [
        rng.choice([name for name in names if name not in (parent, child)]) for parent, child in edges if len(names) > 2
    ]
    return ParkCriterion(
        tuple(edges),
        np.array([_cosine(directions[c] - directions[p], directions[p]) for p, c in edges]),
        np.array([_cosine(permuted[c] - permuted[p], permuted[p]) for p, c in edges]),
        np.array(
            [_cosine(directions[c] - directions[q], directions[q]) for (_, c), q in zip(edges, others, strict=False)]
        ),
        np.array(
            [
                _cosine(directions[c] - directions[p], directions[p] - directions[parents[p]])
                if p in parents
                else np.nan
                for p, c in edges
            ]
        ),
    )


def existence(vectors: np.ndarray, rows: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """(row,): how far rows reach along a direction with a length; about 1 where the concept holds, 0 elsewhere."""
    return np.asarray(vectors[rows], np.float64) @ direction / (direction @ direction)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / size) if size > 0 else float("nan")
