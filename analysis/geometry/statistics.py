"""What is read off a tree of directions: numbers per pair of levels, for one draw or for many.

Keys of the results are (statistic, parent level, child level), with -1 for what is of one level or of the whole tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from analysis.geometry.angles import Arithmetic, EdgeProducts, Nodes, edge_products
from analysis.geometry.directions import Leaves
from analysis.geometry.layout import Layout

Key = tuple[str, int, int]
PAIRS = 500
"""At most so many pairs of siblings are read per level."""
LARGE = 1000
"""With more leaves than this, no null of the subspace overlap is drawn."""

CROSS_FITTED = ("mean |cos|", "RMS cos", "mean |cos| with the parent's offset", "RMS cos with the parent's offset")
IN_SAMPLE = "mean |cos| in sample"
RELIABILITY = ("reliability of offsets", "reliability of parents")
EXPLAINED = "explained"
OVERLAP = "subspace overlap"
SIMPLEX = "RMS deviation from the simplex"


@dataclass(frozen=True)
class Reader:
    """Reads one layout."""

    layout: Layout

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Adjacent levels."""
        return [(level - 1, level) for level in range(1, int(self.layout.level.max()) + 1)]

    def of_pair(self, child_level: int) -> np.ndarray:
        """int: which edges lead to a level."""
        return self._by_level[child_level]

    @cached_property
    def _by_level(self) -> list[np.ndarray]:
        level = self.layout.level[self.layout.edges]
        return [np.flatnonzero(level == each) for each in range(int(self.layout.level.max()) + 1)]

    @cached_property
    def _couples(self) -> dict[int, np.ndarray]:
        """int (pair, 2) per level: siblings, at least three of them, of whom not too many are read."""
        layout, found = self.layout, {}
        rng = np.random.default_rng(PAIRS)
        for level in range(1, int(layout.level.max()) + 1):
            parents = np.flatnonzero((layout.level == level - 1) & (layout.children > 2))
            groups = [np.flatnonzero(layout.parent == parent) for parent in parents]
            couples = [each[np.stack(np.triu_indices(len(each), 1), 1)] for each in groups]
            if couples:
                chosen = np.concatenate(couples)
                found[level] = chosen[np.sort(rng.permutation(len(chosen))[:PAIRS])]
        return found

    def edge_statistics(self, edges: EdgeProducts, weights: Tensor | None = None) -> dict[Key, np.ndarray]:
        """{key: (draw,)}; weights (draw, edge) weigh the edges of the only draw there is."""
        found: dict[Key, np.ndarray] = {}
        readings = {
            CROSS_FITTED[0]: (edges.cosine.abs(), False),
            CROSS_FITTED[1]: (edges.cosine.square(), True),
            CROSS_FITTED[2]: (edges.offset_cosine.abs(), False),
            CROSS_FITTED[3]: (edges.offset_cosine.square(), True),
            IN_SAMPLE: (edges.in_sample_cosine.abs(), False),
        }
        for parent, child in self.pairs:
            at = torch.from_numpy(self.of_pair(child)).to(edges.along.device)
            if not len(at):
                continue
            weight = None if weights is None else weights[:, at]
            for name, (values, root) in readings.items():
                mean = _mean(values[at], weight)
                found[name, parent, child] = (mean.sqrt() if root else mean).cpu().numpy()
            found[RELIABILITY[0], parent, child] = (
                (_mean(edges.offset[at], weight) / _mean((edges.offset + 2 * edges.offset_noise)[at], weight))
                .cpu()
                .numpy()
            )
            found[RELIABILITY[1], parent, child] = (
                (_mean(edges.parent[at], weight) / _mean((edges.parent + 2 * edges.parent_noise)[at], weight))
                .cpu()
                .numpy()
            )
        return found

    def explained(self, nodes: Nodes, weights: Tensor | None = None) -> dict[Key, np.ndarray]:
        """{key: (draw,)}: each level's share of the variance of leaf means, noise taken off; they sum to 1.

        Of means, without Park's length. A leaf weighs what its mean weighs in the root. weights (draw, node) weigh the
        nodes of the only draw there is.
        """
        layout, squared = self.layout, nodes.squared
        above = np.maximum(layout.parent, 0)
        gain = squared - torch.where(
            torch.from_numpy(layout.parent < 0).to(squared.device)[:, None], 0, squared[torch.from_numpy(above)]
        )
        gain = gain * nodes.at.share_K1
        gain = gain if weights is None else gain * weights.T
        total = gain.sum(0)
        return {
            (EXPLAINED, -1, level): (gain[torch.from_numpy(layout.level == level)].sum(0) / total).cpu().numpy()
            for level in range(int(layout.level.max()) + 1)
        }

    def overlap(self, nodes: Nodes, weights: Tensor | None = None) -> dict[Key, np.ndarray]:
        """{key: (draw,)}: tr(A B) / sqrt(tr(A A) tr(B B)), A and B the second moments of two levels' offsets.

        weights (draw, node) weigh the nodes of the only draw there is.
        """
        layout, found = self.layout, {}
        above = torch.from_numpy(np.maximum(layout.parent, 0)).to(nodes.vectors.device)
        top = torch.from_numpy(layout.parent < 0).to(nodes.vectors.device)[:, None, None]
        offset = nodes.vectors - torch.where(top, 0, nodes.vectors[above])
        members = [torch.from_numpy(layout.level == level) for level in range(int(layout.level.max()) + 1)]
        by_level = [offset[each].transpose(0, 1) for each in members]
        weight = [None if weights is None else weights[:, each] for each in members]
        own = [_shared(each, each, w, w) for each, w in zip(by_level, weight, strict=True)]
        for parent, child in self.pairs:
            both = _shared(by_level[parent], by_level[child], weight[parent], weight[child])
            size = (own[parent] * own[child]).sqrt()
            found[OVERLAP, parent, child] = torch.where(size > 0, both / size, torch.nan).cpu().numpy()
        return found

    def simplex(self, nodes: Nodes, weights: Tensor | None = None) -> dict[Key, np.ndarray]:
        """{key: (draw,)}: how far cosines of siblings' offsets are from -1/(k - 1), those of a regular simplex.

        weights (draw, node) weigh the nodes of the only draw there is, and pairs by the product.
        """
        layout, found = self.layout, {}
        for level, chosen in self._couples.items():
            parent = layout.parent[chosen[:, 0]]
            expected = torch.from_numpy(-1 / (layout.children[parent] - 1)).to(nodes.vectors)[:, None]
            first, second, up = (torch.from_numpy(each).to(nodes.vectors.device) for each in (*chosen.T, parent))
            own, to_first, to_second = nodes.in_sample, nodes.products(first, up), nodes.products(second, up)
            product = nodes.products(first, second) - to_first - to_second + own[up]
            squares = (own[first] - 2 * to_first + own[up]) * (own[second] - 2 * to_second + own[up])
            cosine = product / squares.clamp(min=torch.finfo(squares.dtype).tiny).sqrt()
            couples = None if weights is None else weights[:, first] * weights[:, second]
            found[SIMPLEX, level - 1, level] = _mean((cosine - expected).square(), couples).sqrt().cpu().numpy()
        return found


def everything(
    reader: Reader, at: Arithmetic, leaves: Leaves, between: bool = True, weights: Tensor | None = None
) -> dict[Key, np.ndarray]:
    """All statistics of a batch of draws; without those `between` nodes on one level, which cost more.

    weights (draw, node): of leaves of one draw, the statistics with their nodes so weighed.
    """
    nodes = at.nodes(leaves)
    plain = nodes if nodes.lengths is None else at.nodes(Leaves(leaves.vectors, leaves.noise, None))
    of_edges = None if weights is None else weights[:, torch.from_numpy(reader.layout.edges).to(weights.device)]
    found = reader.edge_statistics(edge_products(nodes), of_edges) | reader.explained(plain, weights)
    return found | reader.simplex(nodes, weights) | reader.overlap(nodes, weights) if between else found


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Over edges: of values (edge, draw); or, weights (draw, edge) given, of values (edge, 1). NaN does not count."""
    known = ~values.isnan()
    values = values.nan_to_num(0)
    if weights is None:
        return values.sum(0) / known.sum(0)
    return (weights @ values)[:, 0] / (weights @ known.to(weights.dtype))[:, 0]


def _shared(first: Tensor, second: Tensor, weigh_first: Tensor | None, weigh_second: Tensor | None) -> Tensor:
    """(draw,): the sum of squared products of two sets of vectors (draw, node, R).

    Or, of vectors of one draw, the sums with the weights (draw, node).
    """
    squares = torch.bmm(first, second.transpose(1, 2)).square()
    if weigh_first is None or weigh_second is None:
        return squares.sum((1, 2))
    return ((weigh_first @ squares[0]) * weigh_second).sum(1)
