"""What chance does to a tree's statistics, with its shape and the sizes of its nodes kept.

* leaves: the leaves, with their means, are dealt anew among the places of the tree. What is left is structure in the
  leaves that the tree knows nothing of.
* rows: the samples are dealt anew among the leaves. What is left is noise, in the representation's own covariance.
* nested sets: the same draws, read as published, the child's samples among its parent's: sets of random samples, each
  inside its parent's. They are what an in-sample angle has to be compared with: nesting alone makes it 0.

And for each level its own test, `level_test`: do the children of one node share a direction? Whatever is dealt anew
there is that level's doing only, the levels above and below stay as they are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.geometry.angles import Arithmetic
from analysis.geometry.directions import Leaves, Space
from analysis.geometry.layout import Layout, apply, csr
from analysis.geometry.leaf_means import Samples
from analysis.geometry.statistics import Key

SHARE = 1 / 24
"""How much memory a batch of draws may take, beside the features."""
LEVEL_DRAWS = 1000
"""A level's test draws at least so many: it is cheap, and of few arrangements some are drawn twice."""
ENOUGH = 5
"""How many times 1 / alpha ways of dealing there should be."""
CONSISTENT = 1 / 8
"""The share of ways to deal the children that may do better where the test is of what lies below them."""
LEAST = 1 << 21
"""Bytes a batch of draws may always take."""


def leaf_orders(leaves: int, draws: int, seed: int) -> np.ndarray:
    """int (draw, leaf): the leaf in each place."""
    rng = np.random.default_rng([seed, 1])
    return rng.permuted(np.tile(np.arange(leaves), (draws, 1)), axis=1)


def rehung(leaves: Leaves, orders: np.ndarray, nodes: int, budget: float) -> Iterator[Leaves]:
    """The leaves of one draw in the places that `orders` (draw, leaf) gives them, some draws at a time."""
    step = max(1, int(budget / (8 * nodes * leaves.vectors.shape[2] * 3)))
    for part in np.array_split(orders, math.ceil(len(orders) / step)):
        yield leaves.rehung(torch.from_numpy(part).to(leaves.vectors.device))


def dealt_rows(samples: Samples, space: Space, squares: Tensor, draws: int, seed: int) -> Iterator[Leaves]:
    """Leaves of samples dealt anew, some draws at a time."""
    rng = np.random.default_rng([seed, 2])
    n, d = samples.x_ND.shape
    budget = max(LEAST, SHARE * samples.x_ND.nbytes)
    step = max(1, int(budget / (samples.x_ND.element_size() * samples.leaves * d * 2)))
    for start in range(0, draws, step):
        orders = np.stack([rng.permutation(n) for _ in range(min(step, draws - start))])
        means = samples.means(orders)
        mapped = space.place(means, means.new_zeros(means.shape[:2]))
        yield Leaves(mapped.vectors, samples.noise(mapped.vectors, squares, orders), mapped.projected)


def budget_of(samples: Samples) -> float:
    """Bytes for a batch of draws of leaf vectors."""
    return max(LEAST, SHARE * samples.x_ND.nbytes)


def collected(
    drawn: Iterator[Leaves], layout: Layout, read: Callable[[Arithmetic, Leaves], dict[Key, np.ndarray]], draws: int
) -> dict[Key, np.ndarray]:
    """What `read` makes of each batch, all `draws` of them along the last axis.

    Into arrays that are there from the start: results kept one by one lie between the batches in memory, and what a
    batch gives back is then too small for the next.
    """
    at: Arithmetic | None = None
    found: dict[Key, np.ndarray] = {}
    start = 0
    for leaves in drawn:
        at = at or Arithmetic.like(layout, leaves.vectors)
        part = read(at, leaves)
        found = found or {key: np.empty((*each.shape[:-1], draws), each.dtype) for key, each in part.items()}
        end = start + leaves.vectors.shape[1]
        for key, each in part.items():
            found[key][..., start:end] = each
        start = end
    return found


@dataclass(frozen=True)
class LevelTest:
    """Whether the children of a level's nodes share a direction, against the same children dealt anew."""

    level: int
    dealt: str
    """What was dealt anew, in words."""
    arrangements: float
    """How many there are that differ, at least; the p-value cannot be below one of them."""
    statistic: float
    """The mean cosine of two children of one node, less their mean within the parent."""
    null_mean: float
    null_sd: float
    p_value: float

    @property
    def effect(self) -> float:
        """Standard deviations above the null's mean."""
        return (self.statistic - self.null_mean) / self.null_sd if self.null_sd > 0 else math.nan


@dataclass(frozen=True)
class _Places:
    """The places of a level test: each unit's child of the level, node of the level, and parent of that node."""

    dealt: str
    unit_node: np.ndarray
    part: np.ndarray
    node: np.ndarray
    within: np.ndarray
    block: np.ndarray
    """Units are dealt anew inside a block only."""
    residual: bool = False
    """Whether what the levels above give a unit is taken off before it is dealt."""

    @property
    def log_arrangements(self) -> float:
        """The natural logarithm of how many ways of dealing differ."""
        total = 0.0
        for block in np.unique(self.block):
            inside = self.block == block
            total += math.lgamma(inside.sum() + 1)
            shapes: dict[tuple, list[tuple]] = {}
            for node in np.unique(self.node[inside]):
                at = inside & (self.node == node)
                sizes = tuple(sorted(Counter(self.part[at].tolist()).values()))
                total -= sum(math.lgamma(size + 1) for size in sizes)
                total -= sum(math.lgamma(count + 1) for count in Counter(sizes).values())
                shapes.setdefault((int(self.within[at][0]),), []).append(sizes)
            for sizes in shapes.values():
                total -= sum(math.lgamma(count + 1) for count in Counter(sizes).values())
            total -= sum(
                math.lgamma(count + 1) for count in Counter(tuple(sorted(s)) for s in shapes.values()).values()
            )
        return total


def level_test(layout: Layout, level: int, leaves: Leaves, alpha: float, draws: int, seed: int) -> LevelTest | None:
    """The test of one level; None where none of its nodes has two children, or it has one node in every parent.

    Dealt anew are the children of the level's nodes among the nodes of the same parent. Where there are too few ways
    for a p-value of `alpha` (two nodes with two children each: three), their children are dealt, and so on to the
    leaves, and where these are too few too, the leaves of the whole tree, each less the mean of those below the same
    parent. That is a test of the level and those below it together, so the children as they hang must also be among
    the best ways to hang them: the best eighth, or the best where there are very few (`p_value` is 1 if not).
    """
    ladder = _ladder(layout, level)
    if not ladder:
        return None
    at = Arithmetic.like(layout, leaves.vectors)
    every = at.nodes(leaves).vectors[:, 0]
    rng, draws = np.random.default_rng([seed, 3, level]), max(draws, LEVEL_DRAWS)
    places = next((each for each in ladder if each.log_arrangements >= math.log(ENOUGH / alpha)), ladder[-1])
    found = _dealt(every, places, draws, rng)
    p = _share_above(found)
    if places is not ladder[0]:
        children = _dealt(every, ladder[0], draws, rng)
        least = math.exp(-ladder[0].log_arrangements)
        if _share_above(children, ties=False) > max(CONSISTENT, least / 2):
            p = 1.0
    arrangements = float(np.exp(min(places.log_arrangements, 700.0)))
    return LevelTest(level, places.dealt, arrangements, float(found[0]), found[1:].mean(), found[1:].std(), p)


def _share_above(found: np.ndarray, ties: bool = True) -> float:
    return (1 + int((found[1:] >= found[0] + (-1e-9 if ties else 1e-9)).sum())) / len(found)


def _dealt(every: Tensor, places: _Places, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(1 + draw,): the statistic as things are, and dealt anew. Node vectors (K, R)."""
    vectors = every[torch.from_numpy(places.unit_node).to(every.device)]
    if places.residual:
        vectors = _centred(vectors[:, None], places.within)[:, 0]
    step = max(1, int(LEAST / (8 * vectors.numel() * 3)))
    found = np.empty(1 + draws)
    found[0] = _shared_direction(vectors, places, np.arange(len(places.block))[None])[0]
    for start in range(0, draws, step):
        some = min(step, draws - start)
        found[1 + start : 1 + start + some] = _shared_direction(vectors, places, _orders(places.block, some, rng))
    return found


def _orders(block: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """int (draw, unit): units dealt anew inside their block."""
    shuffled = np.lexsort((rng.random((draws, len(block))), np.tile(block, (draws, 1))), axis=1)
    orders = np.empty_like(shuffled)
    orders[:, np.argsort(block, kind="stable")] = shuffled
    return orders


def _ladder(layout: Layout, level: int) -> list[_Places]:
    """From the most particular to the most powerful.

    A node and its only child are one: what counts are the children where it branches, and where its siblings do.
    """
    nodes = np.flatnonzero(layout.level == level)
    above = layout.parent[layout.chain_top[nodes]]
    nodes, above = (each[np.bincount(above + 1)[above + 1] > 1] for each in (nodes, above))
    rank = np.full(len(layout), -1)
    rank[nodes] = np.arange(len(nodes))
    bottom = layout.chain_bottom[nodes]
    branches = [np.flatnonzero(layout.parent == end) if layout.inner[end] else np.array([end]) for end in bottom]
    if not branches or max(map(len, branches)) < 2:
        return []
    children = np.concatenate(branches)
    at = np.repeat(nodes, [len(each) for each in branches])
    within = np.repeat(above, [len(each) for each in branches]) + 1
    owner = np.full(len(layout), -1)
    owner[children] = np.arange(len(children))
    for node in range(len(layout)):  # parents come first
        if owner[node] < 0 and layout.parent[node] >= 0:
            owner[node] = owner[layout.parent[node]]
    parts = children, at, within
    ladder = [_Places("children among the nodes of one parent", children, *parts, within)]
    units = children
    while layout.inner[units].any():
        below = np.flatnonzero((layout.parent >= 0) & np.isin(layout.parent, units))
        units = np.concatenate([units[~layout.inner[units]], below])
        parts = children[owner[units]], at[owner[units]], within[owner[units]]
        ladder.append(_Places("descendants among the nodes of one parent", units, *parts, parts[2]))
    ladder.append(_Places("leaves of the whole tree, less their parents' parents", units, *parts, 0 * units, True))
    return ladder


def _shared_direction(vectors: Tensor, places: _Places, orders: np.ndarray) -> np.ndarray:
    """(draw,): the mean cosine of two units below one node and different children of it.

    With several units below a child, plus the mean cosine of two below one child. vectors (unit, R), orders
    (draw, unit). Cosines are of the units' offsets from the mean of those within one parent.
    """
    x = vectors[torch.from_numpy(orders.T.copy()).to(vectors.device)]
    node, part = (np.unique(each, return_inverse=True)[1] for each in (places.node, places.part))
    x = _centred(x, places.within)
    x = x / torch.linalg.vector_norm(x, dim=2, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    in_node, in_part = (apply(_sums(each, x), x).square().sum(2).sum(0).cpu().numpy() for each in (node, part))
    node_pairs, part_pairs = ((np.bincount(each) ** 2).sum() for each in (node, part))
    across = (in_node - in_part) / (node_pairs - part_pairs)
    alone = len(part)  # a unit's cosine with itself
    return across + (in_part - alone) / (part_pairs - alone) if part_pairs > alone else across


def _centred(vectors: Tensor, group: np.ndarray) -> Tensor:
    """Vectors (unit, draw, R) less their group's mean."""
    place = np.unique(group, return_inverse=True)[1]
    size = torch.from_numpy(np.bincount(place)).to(vectors)[:, None, None]
    return vectors - (apply(_sums(place, vectors), vectors) / size)[torch.from_numpy(place).to(vectors.device)]


def _sums(group: np.ndarray, like: Tensor) -> Tensor:
    shape = (int(group.max()) + 1, len(group))
    return csr(group, np.arange(len(group)), np.ones(len(group)), shape, like.dtype, like.device)
