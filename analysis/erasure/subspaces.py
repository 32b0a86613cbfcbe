"""What is taken out of the features: the subspace in which the nodes of a level differ, as an affine map.

Within parents, a level is what it adds to the level above: the differences between the children of one parent. Erasing
those leaves the parents' own means where they are. Erasing a level whole makes all of its nodes' means equal, and with
them, necessarily, those of every coarser level, whose nodes are unions of its nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from commandline import InputError
from hooks.editing import Edit

Method = Literal["leace", "mean", "random"]


@dataclass(frozen=True)
class Eraser:
    """The affine map x -> x - left right (x - centre).

    It commutes with the mean: the mean of a sample's edited tokens is the edited mean of its tokens. A map fitted on
    features that are means over tokens therefore does to them, applied token by token, exactly what it was fitted for.
    """

    left: np.ndarray
    """float64 (feature, direction)."""
    right: np.ndarray
    """float64 (direction, feature)."""
    centre: np.ndarray
    """float64 (feature,): the mean of the rows it was fitted on, which it leaves where it is."""

    @property
    def rank(self) -> int:
        """Directions that are taken out."""
        return self.left.shape[1]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features (row, feature) less the subspace, in their dtype."""
        x = features.astype(np.float64)
        return (x - (x - self.centre) @ self.right.T @ self.left.T).astype(features.dtype)

    def edit(self) -> Edit:
        """The same for `hooks.edit`: of every row, in float32 at least, rounded once to the model's dtype."""
        left, right, centre = (torch.from_numpy(part) for part in (self.left, self.right, self.centre))

        def erased(rows: Tensor) -> Tensor:
            if rows.shape[-1] != len(centre):
                raise InputError(f"the erased features have {len(centre)} values, and the rows have {rows.shape[-1]}")
            wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
            shift = (wide - centre.to(wide)) @ right.to(wide).T @ left.to(wide).T
            return (wide - shift).to(rows.dtype)

        return erased


def differences(codes: np.ndarray, parents: np.ndarray | None) -> np.ndarray:
    """What is to be erased as numbers, float64 (row, node): whether a row is of a node, less how often it is to be
    expected; 0 of rows that do not have the level.

    codes: int (row,), -1 = the row does not have the level. parents: int (row,) codes one level up, whose own share is
    what is expected (within parents); None takes the share among all rows (whole). Raises InputError where nothing
    differs: one node, or no parent with two.
    """
    has = codes >= 0
    nodes, code = np.unique(codes[has], return_inverse=True)
    parent = np.zeros(len(code), int) if parents is None else np.unique(parents[has], return_inverse=True)[1]
    shared = np.zeros((int(parent.max(initial=0)) + 1, len(nodes)))
    np.add.at(shared, (parent, code), 1)
    if not len(nodes) or (shared > 0).sum(1).max() < 2:
        raise InputError("no parent has two nodes of it among the rows, so there is nothing to erase")
    shares = shared / shared.sum(1, keepdims=True)
    found = np.zeros((len(codes), len(nodes)))
    found[has] = np.eye(len(nodes))[code] - shares[parent]
    return found


def leace(features: np.ndarray, concept: np.ndarray) -> Eraser:
    """The least change of the features, in their own covariance's terms, after which no linear map of them says
    anything about the concept (LEACE, Belrose et al. 2023, arXiv 2306.03819; the `concept-erasure` package).

    features: (row, feature). concept: float (row, column), as `differences` gives it. The covariance is shrunk as the
    package does; that the cross-covariance vanishes does not depend on it.
    """
    from concept_erasure import LeaceFitter

    x, z = torch.from_numpy(features.astype(np.float64)), torch.from_numpy(concept)
    # The package's own cut-off (0.01) leaves correlations that a probe of a few hundred samples reads.
    fitter = LeaceFitter(x.shape[1], z.shape[1], dtype=torch.float64, svd_tol=1e-6)
    eraser = fitter.update(x, z).eraser
    used = eraser.proj_left.norm(dim=0) > 0
    bias = eraser.bias
    assert bias is not None
    return Eraser(eraser.proj_left[:, used].numpy(), eraser.proj_right[used].numpy(), bias.numpy())


def mean_projection(features: np.ndarray, concept: np.ndarray) -> Eraser:
    """The orthogonal projection along the differences of the nodes' means, from the same two arrays as `leace`."""
    x = features.astype(np.float64)
    return _projection((x - x.mean(0)).T @ concept, x.mean(0))


def random_subspace(rank: int, centre: np.ndarray, rng: np.random.Generator) -> Eraser:
    """The orthogonal projection along `rank` random directions: what erasing anything of that size does."""
    return _projection(rng.normal(size=(len(centre), rank)), centre)


def _projection(directions: np.ndarray, centre: np.ndarray) -> Eraser:
    """Out of the span of columns (feature, column)."""
    span, sizes, _ = np.linalg.svd(directions, full_matrices=False)
    span = span[:, sizes > sizes.max(initial=0) * max(directions.shape) * np.finfo(np.float32).eps]
    if not span.shape[1]:
        raise InputError("the means of its nodes do not differ at all, so there is nothing to erase")
    return Eraser(span, span.T, centre)
