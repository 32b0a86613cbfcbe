"""The tree as linear algebra: which leaves a node's mean is made of, and with which weights.

A node's mean is the mean of its children's means, down to the leaves, so a child with many leaves or samples does not
pull its parent towards itself. (Weighed by samples, a heavy child drags the parent along, and the offsets of its
siblings then point against the parent whatever the representation does.) The root, the mean of the top level, is the
origin. All of it is one sparse matrix on the leaves.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from taxonomy import Taxonomy


@dataclass(frozen=True)
class Layout:
    """The nodes above some leaves of a taxonomy, depth first: a subtree's nodes stand together."""

    leaves: np.ndarray
    """int (leaf,): the taxonomy's leaves that are present; all else counts them from 0."""
    level: np.ndarray
    """int (node,)."""
    code: np.ndarray
    """int (node,): the node's code in `taxonomy.nodes(level)`."""
    parent: np.ndarray
    """int (node,): the node one level up, -1 at the top."""
    children: np.ndarray
    """int (node,): how many nodes lie one level down; 0 for a leaf."""
    leaf_node: np.ndarray
    """int (leaf,)."""
    weight: np.ndarray
    """float (node, leaf): what the node's mean takes of each leaf. Dense here, sparse where it is used."""
    tops: int
    """How many nodes the top level has."""

    @classmethod
    def of(cls, taxonomy: Taxonomy, present: np.ndarray) -> Layout:
        """present: int (leaf,), indices into `taxonomy.leaves`, ascending."""
        codes = taxonomy.codes[present]
        order = np.lexsort(codes.T[::-1])
        index: dict[tuple[int, int], int] = {}
        level, code, parent = [], [], []
        leaf_node = np.zeros(len(present), int)
        for leaf in order:
            above = -1
            for depth, node in enumerate(codes[leaf]):
                if node < 0:
                    break
                if (depth, int(node)) not in index:
                    index[depth, int(node)] = len(level)
                    level.append(depth)
                    code.append(int(node))
                    parent.append(above)
                above = index[depth, int(node)]
            leaf_node[leaf] = above
        parents = np.array(parent)
        children = np.bincount(parents[parents >= 0], minlength=len(level))
        weight = np.zeros((len(level), len(present)))
        weight[leaf_node, np.arange(len(present))] = 1
        for depth in range(max(level), 0, -1):
            for node in np.flatnonzero(np.array(level) == depth):
                weight[parents[node]] += weight[node] / children[parents[node]]
        return cls(
            present,
            np.array(level),
            np.array(code),
            parents,
            children,
            leaf_node,
            weight,
            int((np.array(level) == 0).sum()),
        )

    def __len__(self) -> int:
        return len(self.level)

    @cached_property
    def inner(self) -> np.ndarray:
        """bool (node,): has children."""
        return self.children > 0

    @cached_property
    def edges(self) -> np.ndarray:
        """int (edge,): the child of each edge that has an angle.

        An only child is its parent, and has no offset; a node that all leaves lie below is the root, and has no
        direction.
        """
        parent = self.parent
        return np.flatnonzero((parent >= 0) & (self.children[parent] > 1) & (self.root_share[parent] < 1 - 1e-9))

    @cached_property
    def chain_top(self) -> np.ndarray:
        """int (node,): the highest node that a node is alone below, often itself."""
        found = np.arange(len(self))
        for node in range(len(self)):  # parents come first
            above = self.parent[node]
            if above >= 0 and self.children[above] == 1:
                found[node] = found[above]
        return found

    @cached_property
    def chain_bottom(self) -> np.ndarray:
        """int (node,): the lowest node that is alone below a node, often itself."""
        found = np.arange(len(self))
        for node in range(len(self) - 1, -1, -1):
            above = self.parent[node]
            if above >= 0 and self.children[above] == 1:
                found[above] = found[node]
        return found

    @cached_property
    def root_share(self) -> np.ndarray:
        """float (node,): the weight of a node's mean in the root."""
        share = np.full(len(self), 1 / self.tops)
        for node in np.flatnonzero(self.parent >= 0):  # parents come first
            share[node] = share[self.parent[node]] / self.children[self.parent[node]]
        return share

    def ancestor(self, level: int) -> np.ndarray:
        """int (node,): the ancestor at `level`, the node itself there, -1 where there is none."""
        found = np.where(self.level == level, np.arange(len(self)), -1)
        for node in np.flatnonzero(self.level > level):
            found[node] = found[self.parent[node]]
        return found


def sparse(matrix: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A dense matrix as sparse CSR."""
    rows, columns = np.nonzero(matrix)
    return csr(rows, columns, matrix[rows, columns], matrix.shape, dtype, device)


def csr(
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """A sparse CSR matrix from coordinates, all different."""
    order = np.lexsort((columns, rows))
    columns, values = columns[order], values[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "beta state": only its product with a dense matrix is used
        return torch.sparse_csr_tensor(
            torch.from_numpy(starts),
            torch.from_numpy(np.ascontiguousarray(columns)),
            torch.from_numpy(np.ascontiguousarray(values)).to(dtype),
            shape,
            device=device,
            check_invariants=True,
        )


def apply(matrix: Tensor, vectors: Tensor) -> Tensor:
    """A sparse (a, b) matrix times vectors (b, draw, feature): (a, draw, feature)."""
    flat = matrix @ vectors.reshape(len(vectors), -1)
    return flat.reshape(len(flat), *vectors.shape[1:])
