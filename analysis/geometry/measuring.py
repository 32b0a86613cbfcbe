"""Everything that is measured of a tree's directions: products and angles, their nulls, intervals and tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.geometry.angles import Arithmetic, EdgeProducts, Nodes, edge_products, half_products
from analysis.geometry.directions import Leaves, Space
from analysis.geometry.layout import Layout
from analysis.geometry.leaf_means import Samples
from analysis.geometry.nulls import LevelTest, budget_of, collected, dealt_rows, leaf_orders, level_test, rehung
from analysis.geometry.ruling import Alignment, Rule, Ruling, alignment, ruled
from analysis.geometry.statistics import LARGE, RELIABILITY, Key, Reader, everything

GATES: tuple[Key, Key] = (("offset", -1, -1), ("parent", -1, -1))
COORDINATES = 256
"""Of which products of halves are taken at a time."""


@dataclass(frozen=True)
class Measured:
    """Everything that verdicts and records are made of."""

    reader: Reader
    at: Arithmetic
    leaves: Leaves
    nodes: Nodes
    edges: EdgeProducts
    observed: dict[Key, np.ndarray]
    nulls: dict[str, dict[Key, np.ndarray]]
    bootstrap: dict[Key, np.ndarray]
    gate: tuple[np.ndarray, np.ndarray]
    """float (edge,): the reliability that 95 % of the draws of samples dealt anew stay below: offset, parent."""
    halves: np.ndarray
    """float (half, 2, edge): products from disjoint halves."""
    tests: dict[int, LevelTest | None]
    weights: np.ndarray
    """float32 (draw, leaf): leaves drawn anew."""
    rule: Rule
    count_L: np.ndarray

    @classmethod
    def of(cls, samples: Samples, layout: Layout, space: Space, mean_LBD: Tensor, rule: Rule, seed: int) -> Measured:
        """Measure, draw the nulls, test the levels."""
        mapped = space.place(mean_LBD, mean_LBD.new_zeros(mean_LBD.shape[:2]))
        squares = samples.squares(space.onto)
        noise = samples.noise(mapped.vectors, squares)
        leaves = space.place(mean_LBD, noise, compact=True)
        reader, at = Reader(layout), Arithmetic.like(layout, leaves.vectors)
        nodes = at.nodes(leaves)
        edges = edge_products(nodes)
        halves = _halves(samples, space, mean_LBD[:, 0], layout, nodes.lengths, rule.halves, seed)
        small = samples.leaves <= LARGE

        orders = leaf_orders(samples.leaves, rule.draws, seed)
        by_leaf = collected(
            rehung(leaves, orders, len(layout), budget_of(samples)),
            layout,
            lambda at, each: everything(reader, at, each, small),
            rule.draws,
        )

        def read_rows(at: Arithmetic, each: Leaves) -> dict[Key, np.ndarray]:
            products = edge_products(at.nodes(each))
            plain = at.nodes(Leaves(each.vectors, each.noise, None))
            found = reader.edge_statistics(products) | reader.explained(plain)
            gates = products.offset_reliability, products.parent_reliability
            return found | {name: gate.float().cpu().numpy() for name, gate in zip(GATES, gates, strict=True)}

        by_row = collected(dealt_rows(samples, space, squares, rule.draws, seed), layout, read_rows, rule.draws)
        gate = tuple(np.quantile(by_row.pop(name), 0.95, axis=1) for name in GATES)
        rng = np.random.default_rng([seed, 4])
        weights = rng.multinomial(samples.leaves, np.full(samples.leaves, 1 / samples.leaves), size=rule.draws)
        weights = weights.astype(np.float32)
        levels = range(int(layout.level.max()))
        return cls(
            reader,
            at,
            leaves,
            nodes,
            edges,
            everything(reader, at, leaves),
            {"leaves": by_leaf, "rows": by_row},
            _bootstrap(reader, at, leaves, weights, small),
            (gate[0], gate[1]),
            halves,
            {level: level_test(layout, level, leaves, rule.alpha, rule.draws, seed) for level in levels},
            weights,
            rule,
            samples.count_L,
        )

    @property
    def layout(self) -> Layout:
        """The tree."""
        return self.reader.layout

    @property
    def reliable(self) -> np.ndarray:
        """bool (edge,): offset and parent are both reproduced better than by samples dealt anew."""
        products = self.edges
        found = (products.offset_reliability[:, 0], products.parent_reliability[:, 0])
        return np.logical_and(*(each.cpu().numpy() > gate for each, gate in zip(found, self.gate, strict=True)))

    @property
    def gram_rank(self) -> Tensor:
        """The effective rank of the leaf means."""
        x = self.leaves.vectors[:, 0]
        squared = (x @ x.T).square().sum()
        return x.square().sum() ** 2 / squared

    def rule_on(self, child: int, names: tuple[str, ...]) -> tuple[Ruling, Alignment]:
        """The verdict of a level and the one above it."""
        layout, parent = self.layout, child - 1
        chosen = self.reader.of_pair(child)
        chosen = chosen[self.reliable[chosen]]
        first, second = self.halves[:, 0], self.halves[:, 1]
        lengths = (self.edges.offset * self.edges.parent)[:, 0].cpu().numpy()
        ends = layout.edges[chosen]
        found = alignment(
            (first * second).mean(0)[chosen],
            ((first - second) ** 2).mean(0)[chosen] / 4,
            lengths[chosen],
            layout.parent[ends],
            _below(layout)[ends],
            self.weights,
        )
        every = layout.edges[self.reader.of_pair(child)]
        branching = layout.inner[layout.chain_bottom[every]]
        tests = {"parent": self.tests[parent]}
        if len(every) and branching.mean() > 0.5:
            tests["child"] = self.tests.get(child)
        reproducible = {
            role: _p_above(self.observed[name, parent, child][0], self.nulls["rows"][name, parent, child])
            for role, name in (("child", RELIABILITY[0]), ("parent", RELIABILITY[1]))
            if (name, parent, child) in self.observed
        }
        return ruled(self.rule, found, tests, reproducible, {"parent": names[parent], "child": names[child]}), found


def _p_above(value: float, null: np.ndarray) -> float:
    return (1 + int((null >= value).sum())) / (1 + len(null))


def _below(layout: Layout) -> np.ndarray:
    """float (node, leaf): the leaves under each node, rows summing to 1."""
    below = (layout.weight > 0).astype(float)
    return below / below.sum(1, keepdims=True)


def _bootstrap(
    reader: Reader, at: Arithmetic, leaves: Leaves, weights: np.ndarray, between: bool
) -> dict[Key, np.ndarray]:
    """{key: (draw,)}, nodes weighed by the leaves below them, some draws at a time."""
    below, step = _below(reader.layout), 100
    found: dict[Key, np.ndarray] = {}
    for start in range(0, len(weights), step):
        part = torch.from_numpy(weights[start : start + step] @ below.T).to(leaves.vectors)
        for key, values in everything(reader, at, leaves, between, part).items():
            found.setdefault(key, np.empty(len(weights), values.dtype))[start : start + step] = values
    return found


def _halves(
    samples: Samples,
    space: Space,
    mean_LD: Tensor,
    layout: Layout,
    lengths: Tensor | None,
    halves: int,
    seed: int,
) -> np.ndarray:
    """float (half, 2, edge), in the features' dtype; some coordinates at a time."""
    rng = np.random.default_rng([seed, 6])
    mean_LD = mean_LD.to(samples.x_ND.dtype)
    at, nothing = Arithmetic.like(layout, mean_LD), mean_LD.new_zeros(len(mean_LD), 1)
    lengths = None if lengths is None else lengths.to(mean_LD.dtype)
    found = np.zeros((halves, 2, len(layout.edges)))
    for half in found:
        placed = [space.place(part[:, None], nothing).vectors for part in samples.halves(mean_LD, rng)]
        for first, second in zip(*(each.split(COORDINATES, dim=2) for each in placed), strict=True):
            nodes = [at.nodes(Leaves(each, nothing, None), lengths).vectors[:, 0] for each in (first, second)]
            half += half_products(nodes[0], nodes[1], at).double().cpu().numpy()
    return found
