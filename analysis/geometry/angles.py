"""Products and angles along the edges of a tree, without the bias of noise.

Two independent estimates of a vector have its squared norm as their expected product; one estimate with itself has the
noise on top. So products are taken between estimates from disjoint samples. Their mean over every way to halve each
leaf's samples has a closed form, the plain product less the noise of the leaves that both sides share (a U-statistic),
and that is what `edge_products` gives; `half_products` takes one random halving, of which the verdict needs several.

Shape suffixes: K node, E edge, L leaf, B draw, R coordinate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from analysis.geometry.directions import Leaves
from analysis.geometry.layout import Layout, apply, sparse

PAIRS = 64
"""Of nodes that are multiplied at a time: their vectors are copied for it."""


class Arithmetic:
    """What a layout does to leaf vectors, as sparse matrices in one dtype on one device."""

    def __init__(self, layout: Layout, dtype: torch.dtype, device: torch.device) -> None:
        self.layout = layout
        self.weight = sparse(layout.weight, dtype, device)
        self.squared = sparse(layout.weight**2, dtype, device)
        share = torch.from_numpy(layout.root_share).to(device, dtype)
        self.share_K1 = share[:, None]
        self.root_L = share[torch.from_numpy(layout.leaf_node)]
        child = layout.edges
        parent = layout.parent[child]
        grand = np.where(layout.parent[parent] >= 0, layout.parent[parent], -1)
        self.child_E, self.parent_E, self.grand_E = (
            torch.from_numpy(each).to(device) for each in (child, parent, grand)
        )
        children = torch.from_numpy(np.maximum(layout.children, 1)).to(device, dtype)
        self.siblings_E1 = children[self.parent_E][:, None]
        self.aunts_E1 = torch.where(self.grand_E >= 0, children[self.grand_E], layout.tops)[:, None]
        self.alone_E1 = self.aunts_E1 == 1  # an only child has no offset from its parent

    @classmethod
    def like(cls, layout: Layout, vectors: Tensor) -> Arithmetic:
        """For vectors of this dtype and device."""
        return cls(layout, vectors.dtype, vectors.device)

    def nodes(self, leaves: Leaves, lengths: Tensor | None = None) -> Nodes:
        """Every node's vector and its noise. lengths (K, B): the leaves' own unless given."""
        vectors = apply(self.weight, leaves.vectors)
        vectors -= torch.einsum("l,lbr->br", self.root_L, leaves.vectors)
        noise = self.squared @ leaves.noise.to(vectors.dtype)
        root = self.root_L.square() @ leaves.noise.to(vectors.dtype)
        if lengths is None:
            lengths = leaves.lengths(self.weight, self.root_L)
        if lengths is not None:
            vectors *= lengths[:, :, None]
        return Nodes(self, vectors, noise, root, lengths)


@dataclass(frozen=True)
class Nodes:
    """Directions of all nodes, for a number of draws."""

    at: Arithmetic
    vectors: Tensor
    """(K, B, R), less the root's; in sample, that is with their noise."""
    raw_noise: Tensor
    """(K, B): of the nodes' means before the root's is taken off and before their length."""
    root_noise: Tensor
    """(B,)."""
    lengths: Tensor | None

    def shared_noise(self, node: Tensor, above: Tensor, share: Tensor) -> Tensor:
        """(E, B): the noise in the product of a node with an ancestor whose mean takes `share` (E, 1) of it.

        Both less the root, of which they are parts too. A node is its own ancestor, with share 1.
        """
        noise, part = self.raw_noise, self.at.share_K1
        both = noise[node] * share - noise[node] * part[node] - noise[above] * part[above] + self.root_noise
        return both if self.lengths is None else both * self.lengths[node] * self.lengths[above]

    @cached_property
    def own_noise(self) -> Tensor:
        """(K, B): the noise in each node's squared norm."""
        every = torch.arange(len(self.vectors), device=self.vectors.device)
        return self.shared_noise(every, every, torch.ones_like(self.at.share_K1))

    @cached_property
    def squared(self) -> Tensor:
        """(K, B): squared norms, cross-fitted: they may come out below 0."""
        return self.in_sample - self.own_noise

    @cached_property
    def in_sample(self) -> Tensor:
        """(K, B): squared norms with their noise."""
        return torch.einsum("kbr,kbr->kb", self.vectors, self.vectors)

    def products(self, first: Tensor, second: Tensor) -> Tensor:
        """(pair, B): products of nodes (pair,) with nodes (pair,), in sample."""
        found = self.vectors.new_empty(len(first), self.vectors.shape[1])
        for some in torch.arange(len(first), device=first.device).split(PAIRS):
            found[some] = torch.einsum("kbr,kbr->kb", self.vectors[first[some]], self.vectors[second[some]])
        return found


@dataclass(frozen=True)
class EdgeProducts:
    """Per edge and draw, (E, B): a child's offset from its parent, its parent, and the parent's own offset."""

    along: Tensor
    """<child - parent, parent>, cross-fitted."""
    along_offset: Tensor
    """<child - parent, parent - grandparent>, cross-fitted; at the top the grandparent is the root."""
    offset: Tensor
    """|child - parent|^2, cross-fitted."""
    parent: Tensor
    """|parent|^2, cross-fitted."""
    parent_offset: Tensor
    """|parent - grandparent|^2, cross-fitted."""
    along_noise: Tensor
    """What an in-sample <child - parent, parent> has on top of `along`."""
    offset_noise: Tensor
    parent_noise: Tensor
    parent_offset_noise: Tensor

    @property
    def cosine(self) -> Tensor:
        """Of child - parent with parent: a cross-fitted product over in-sample norms, so noise draws it to 0."""
        return _ratio(self.along, (self.offset + self.offset_noise) * (self.parent + self.parent_noise))

    @property
    def offset_cosine(self) -> Tensor:
        """Of child - parent with parent - grandparent, the same."""
        return _ratio(
            self.along_offset,
            (self.offset + self.offset_noise) * (self.parent_offset + self.parent_offset_noise),
        )

    @property
    def in_sample_cosine(self) -> Tensor:
        """Of child - parent with parent as published: all from the same samples."""
        squares = (self.offset + self.offset_noise) * (self.parent + self.parent_noise)
        return _ratio(self.along + self.along_noise, squares)

    @property
    def offset_reliability(self) -> Tensor:
        """Cosine of two offsets from half the samples each."""
        return self.offset / (self.offset + 2 * self.offset_noise)

    @property
    def parent_reliability(self) -> Tensor:
        """Cosine of two parents from half the samples each."""
        return self.parent / (self.parent + 2 * self.parent_noise)


def edge_products(nodes: Nodes) -> EdgeProducts:
    """Cross-fitted over all halves of each leaf's samples, in closed form."""
    at = nodes.at
    child, parent = at.child_E, at.parent_E
    top = (at.grand_E < 0)[:, None]
    grand = torch.where(at.grand_E < 0, parent, at.grand_E)
    own = nodes.in_sample
    cc, pp, gg = own[child], own[parent], own[grand]
    cp, pg, cg = nodes.products(child, parent), nodes.products(parent, grand), nodes.products(child, grand)
    noise_cc, noise_pp, noise_gg = nodes.own_noise[child], nodes.own_noise[parent], nodes.own_noise[grand]
    noise_cp = nodes.shared_noise(child, parent, 1 / at.siblings_E1)
    noise_pg = nodes.shared_noise(parent, grand, 1 / at.aunts_E1)
    noise_cg = nodes.shared_noise(child, grand, 1 / (at.siblings_E1 * at.aunts_E1))
    along_noise = noise_cp - noise_pp
    above = torch.where(top, cp - pp, cp - pp - cg + pg)
    above_noise = torch.where(top, along_noise, along_noise - noise_cg + noise_pg)
    offset_noise = noise_cc - 2 * noise_cp + noise_pp
    parent_offset_noise = torch.where(top, noise_pp, noise_pp - 2 * noise_pg + noise_gg)
    return EdgeProducts(
        along=cp - pp - along_noise,
        along_offset=(above - above_noise).masked_fill(at.alone_E1, torch.nan),
        offset=cc - 2 * cp + pp - offset_noise,
        parent=pp - noise_pp,
        parent_offset=torch.where(top, pp, pp - 2 * pg + gg) - parent_offset_noise,
        along_noise=along_noise,
        offset_noise=offset_noise,
        parent_noise=noise_pp,
        parent_offset_noise=parent_offset_noise,
    )


def half_products(first: Tensor, second: Tensor, at: Arithmetic) -> Tensor:
    """(2, E): <child - parent, parent>, the offset from one half and the parent from the other, and the reverse.

    Node vectors (K, R) of the two halves.
    """
    child, parent = at.child_E, at.parent_E
    steps = [each[child] - each[parent] for each in (first, second)]
    return torch.stack([(steps[0] * second[parent]).sum(1), (steps[1] * first[parent]).sum(1)])


def _ratio(product: Tensor, squares: Tensor) -> Tensor:
    """A cosine from a product and the product of squared norms; NaN where a vector is nothing but rounding."""
    tiny = torch.finfo(squares.dtype).tiny
    return torch.where(squares > tiny, product / squares.clamp(min=tiny).sqrt(), torch.nan).clamp(-1, 1)
