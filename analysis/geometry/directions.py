"""Node directions: a linear map of leaf means, and a length.

* mean: the node's mean.
* lda: S^-1 m, S the covariance within leaves, shrunk (Fisher's discriminant of the node against the rest).
* probe: S^-1 m, S the covariance of all samples, shrunk: the weights, but for their length, of the ridge regression of
  "is below this node" on the features, which is the least-squares linear probe.

m is the node's mean less the root's. The last two get Park et al.'s length (2406.01506): the mean's projection on the
direction, (m . u) u with u = S^-1 m / ||S^-1 m||. All are linear in the leaf means but for that length, so trees are
re-hung and samples dealt anew without another fit; S is the one of the samples as they are.

Shape suffixes: K node, L leaf, B draw, R coordinate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from analysis.geometry.inner_products import (
    Covariance,
    InnerProduct,
    Shrinkage,
    causal_map,
    covariance,
)
from analysis.geometry.layout import apply
from analysis.geometry.leaf_means import Samples
from commandline import InputError

Directions = Literal["mean", "lda", "probe"]


@dataclass(frozen=True)
class Space:
    """Where directions live: a linear map of features after which products are Euclidean. None is the identity."""

    onto: Tensor | None
    """(D, R)."""
    discriminant: Tensor | None
    """(D, D): S^-1, for the length; None for mean directions."""
    root: Tensor | None
    """(D, D): S^(-1/2), for the length."""
    direction_covariance: Covariance | None
    metric_covariance: Covariance | None

    @classmethod
    def of(
        cls,
        samples: Samples,
        mean_LD: Tensor,
        directions: Directions,
        inner_product: InnerProduct,
        shrinkage: Shrinkage,
        unembedding: Tensor | None,
    ) -> Space:
        """Raises Refused where samples are too few for a covariance that is not to be shrunk, and InputError."""
        direction = metric = onto = discriminant = root = None
        if directions != "mean":
            direction = covariance(samples, mean_LD if directions == "lda" else None, shrinkage)
            discriminant, root = direction.power(-1), direction.power(-0.5)
        if inner_product in ("total", "within"):
            metric = covariance(samples, mean_LD if inner_product == "within" else None, shrinkage)
            onto = metric.power(-0.5)
        elif inner_product == "causal":
            if unembedding is None:
                raise InputError("the causal inner product needs the unembedding (token, feature) of a language model")
            if unembedding.shape[1] != samples.x_ND.shape[1]:
                raise InputError(
                    f"the unembedding has {unembedding.shape[1]} features and the activations {samples.x_ND.shape[1]}: "
                    "the causal inner product is that of the language model's own residual stream"
                )
            onto = causal_map(unembedding.to(samples.x_ND.device))
        if discriminant is not None:
            onto = discriminant if onto is None else discriminant @ onto
        return cls(onto, discriminant, root, direction, metric)

    def place(self, mean_LBD: Tensor, noise_LB: Tensor, compact: bool = False) -> Leaves:
        """Leaf means in this space. `compact`: in as few coordinates as leaves, when the features are more."""
        vectors = _mapped(mean_LBD, self.onto)
        shrink = _compact if compact else _same
        if self.discriminant is None:
            return Leaves(shrink(vectors), noise_LB, None)
        projected = shrink(_mapped(mean_LBD, self.root)), shrink(_mapped(mean_LBD, self.discriminant))
        return Leaves(shrink(vectors), noise_LB, projected)


@dataclass(frozen=True)
class Leaves:
    """Vectors that node directions are made of."""

    vectors: Tensor
    """(L, B, R)."""
    noise: Tensor
    """(L, B): the expected squared error of each vector."""
    projected: tuple[Tensor, Tensor] | None
    """(L, B, R'), (L, B, R''): S^(-1/2) m and S^-1 m, for the length."""

    def rehung(self, orders: Tensor) -> Leaves:
        """int (B, L): the leaf that hangs in each leaf's place, per draw; of leaves of one draw."""
        at = orders.T
        deal = None if self.projected is None else (self.projected[0][at, 0], self.projected[1][at, 0])
        return Leaves(self.vectors[at, 0], self.noise[at, 0], deal)

    def lengths(self, weight: Tensor, root_weight: Tensor) -> Tensor | None:
        """(K, B): m S^-1 m / |S^-1 m|^2, the factor of each node's S^-1 m; None where directions are means."""
        if self.projected is None:
            return None
        half, whole = (_nodes(weight, root_weight, part).square().sum(2) for part in self.projected)
        return half / whole.clamp(min=torch.finfo(whole.dtype).tiny)


def _nodes(weight: Tensor, root_weight: Tensor, vectors: Tensor) -> Tensor:
    """Node means less the root: (K, B, R)."""
    return apply(weight, vectors - torch.einsum("l,lbr->br", root_weight, vectors))


def _mapped(vectors: Tensor, onto: Tensor | None) -> Tensor:
    return vectors if onto is None else vectors @ onto.to(vectors.dtype)


def _same(vectors: Tensor) -> Tensor:
    return vectors


def _compact(vectors: Tensor) -> Tensor:
    """(L, 1, D) with all its products kept in (L, 1, min(L, D))."""
    if len(vectors) >= vectors.shape[2]:
        return vectors
    return torch.linalg.qr(vectors[:, 0].T).R.T[:, None]
