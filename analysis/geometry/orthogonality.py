"""Are the directions of a taxonomy's levels orthogonal? From features and leaves to verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from analysis.geometry import records
from analysis.geometry.angles import Arithmetic, EdgeProducts, Nodes, edge_products, half_products
from analysis.geometry.directions import Directions, Leaves, Space
from analysis.geometry.inner_products import InnerProduct, Refused, Shrinkage, participation
from analysis.geometry.layout import Layout
from analysis.geometry.leaf_means import Samples
from analysis.geometry.nulls import LevelTest, budget_of, collected, dealt_rows, leaf_orders, level_test, rehung
from analysis.geometry.ruling import Alignment, Rule, Ruling, Verdict, alignment, ruled
from analysis.geometry.statistics import LARGE, RELIABILITY, Key, Reader, everything
from analysis.geometry.tree_distance import tree_correlation
from commandline import InputError
from taxonomy import Taxonomy

GATES: tuple[Key, Key] = (("offset", -1, -1), ("parent", -1, -1))
COORDINATES = 256
"""Of which products of halves are taken at a time."""
Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Conditioning:
    """How well the samples determine the inner product and the directions."""

    n: int
    d: int
    leaves: int
    left_out: int
    """Leaves without two samples, whose rows were not used."""
    effective_rank: float
    """trace(S)^2 / trace(S^2) of all samples' covariance S."""
    effective_rank_of_means: float
    """The same of the leaf means."""
    shrinkage: Mapping[str, float]
    """Of each covariance that was inverted."""
    refused: str | None
    """Why there is nothing to see, or None."""

    @property
    def n_per_d(self) -> float:
        """Samples per feature."""
        return self.n / self.d


@dataclass(frozen=True)
class Orthogonality:
    """What `orthogonality` found. Records are dicts, long format, levels by name."""

    verdicts: dict[tuple[str, str], Verdict]
    """Per (parent level, child level)."""
    reasons: dict[tuple[str, str], str]
    table: Records
    """Per pair of levels, statistic and null."""
    levels: Records
    """Per level: the test that it is there (`nulls.level_test`)."""
    edges: Records
    siblings: Records
    overlap: Records
    explained: Records
    tree_correlation: Records
    cosines: np.ndarray
    """float32 (node, node): in sample, in the order of `nodes`, which is the tree's."""
    nodes: Records
    conditioning: Conditioning
    rule: str
    settings: Mapping[str, Any]
    bootstrap: Mapping[tuple[str, str, str], np.ndarray] = field(repr=False)
    """(statistic, parent level, child level): the draws of its interval; the same leaves for the same seed."""


def orthogonality(
    features: np.ndarray | Tensor,
    leaf: np.ndarray,
    taxonomy: Taxonomy,
    seed: int = 0,
    *,
    directions: Directions = "mean",
    inner_product: InnerProduct = "euclidean",
    unembedding: np.ndarray | Tensor | None = None,
    shrinkage: Shrinkage = "auto",
    rule: Rule | None = None,
    draws: int | None = None,
    device: str = "cpu",
) -> Orthogonality:
    """The geometry of a taxonomy's directions in features (n, d), with a verdict per pair of adjacent levels.

    leaf (n,) indexes `taxonomy.leaves`; leaves without two samples are left out. `directions` and `inner_product` are
    those of `directions.py` and `inner_products.py`; `unembedding` (token, d) is for the causal product; `shrinkage`
    (auto: Ledoit-Wolf) of every covariance that is inverted; without it (None) and below two samples per feature,
    nothing is inverted, every pair is "not identifiable", and `conditioning.refused` says why. `draws` of every null
    and bootstrap stands in the rule, 1,000 by default. Raises InputError.
    """
    rule = rule or Rule()
    rule = rule if draws is None else Rule(rule.margin, rule.alpha, draws, rule.halves)
    samples, layout = _checked(features, leaf, taxonomy, device)
    given = None if unembedding is None else torch.as_tensor(unembedding)
    names = taxonomy.levels
    settings = {"directions": directions, "inner_product": inner_product, "seed": seed, "draws": rule.draws}
    mean_LBD = samples.means()
    left_out = len(np.unique(leaf)) - samples.leaves
    try:
        space = Space.of(samples, mean_LBD[:, 0], directions, inner_product, shrinkage, given)
    except Refused as refusal:
        return _refused(str(refusal), samples, layout, taxonomy, left_out, rule, settings, seed)
    measured = Measured.of(samples, layout, space, mean_LBD, rule, seed)
    reader = measured.reader
    verdicts, reasons, alignments = {}, {}, {}
    for parent, child in reader.pairs:
        ruling, found = measured.rule_on(child, names)
        verdicts[names[parent], names[child]] = ruling.verdict
        reasons[names[parent], names[child]] = ruling.reason
        alignments[parent, child] = found
    distance = tree_correlation(measured.leaves, measured.at, taxonomy.lca_depth, layout, rule.draws, seed)
    rank = float(measured.gram_rank)
    covariances = {"directions": space.direction_covariance, "inner product": space.metric_covariance}
    conditioning = Conditioning(
        len(samples.x_ND),
        samples.x_ND.shape[1],
        samples.leaves,
        left_out,
        participation(samples, seed),
        rank,
        {name: each.shrinkage for name, each in covariances.items() if each is not None},
        None,
    )
    table = records.table(measured, alignments, names)
    return Orthogonality(
        verdicts=verdicts,
        reasons=reasons,
        table=[row for row in table if row["statistic"] not in records.ELSEWHERE],
        levels=records.levels(measured.tests, names),
        edges=records.edges(measured, taxonomy),
        siblings=records.siblings(measured.nodes, taxonomy),
        overlap=[row for row in table if row["statistic"] == "subspace overlap"],
        explained=[row for row in table if row["statistic"] == "explained"],
        tree_correlation=[distance],
        cosines=records.cosines(measured.nodes),
        nodes=records.nodes(layout, taxonomy, measured.nodes),
        conditioning=conditioning,
        rule=str(rule),
        settings=settings,
        bootstrap={
            (name, names[a] if a >= 0 else "", names[b]): values for (name, a, b), values in measured.bootstrap.items()
        },
    )


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
            _bootstrap(reader, edges, weights, _below(layout)[layout.edges]),
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


def _bootstrap(reader: Reader, edges: EdgeProducts, weights: np.ndarray, below: np.ndarray) -> dict[Key, np.ndarray]:
    """{key: (draw,)}, edges weighed by the leaves below them, some draws at a time."""
    found: dict[Key, np.ndarray] = {}
    for start in range(0, len(weights), 100):
        part = torch.from_numpy(weights[start : start + 100] @ below.T).to(edges.along)
        for key, values in reader.edge_statistics(edges, part).items():
            found.setdefault(key, np.empty(len(weights), values.dtype))[start : start + 100] = values
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


def _checked(
    features: np.ndarray | Tensor, leaf: np.ndarray, taxonomy: Taxonomy, device: str
) -> tuple[Samples, Layout]:
    from probing.grid import resolve_device

    x, leaf = torch.as_tensor(features), np.asarray(leaf)
    if x.ndim != 2 or leaf.shape != (len(x),):
        raise InputError(f"features should be (n, d) and leaf (n,), not {tuple(x.shape)} and {leaf.shape}")
    if not np.issubdtype(leaf.dtype, np.integer) or leaf.min() < 0 or leaf.max() >= len(taxonomy):
        raise InputError(f"leaf should hold indices into the taxonomy's {len(taxonomy)} leaves")
    count = np.bincount(leaf, minlength=len(taxonomy))
    present = np.flatnonzero(count >= 2)
    if len(present) < 2:
        raise InputError("directions need two leaves or more that have two samples or more")
    if (count[leaf] < 2).any():
        keep = np.flatnonzero(count[leaf] >= 2)
        x, leaf = x[torch.from_numpy(keep)], leaf[keep]
    x = x.to(resolve_device(device), torch.float64 if x.dtype == torch.float64 else torch.float32)
    samples = Samples.of(x, np.searchsorted(present, leaf))
    if not bool(torch.isfinite(samples.centre_D).all()):
        raise InputError("the features hold NaN or infinite values; leave those samples out")
    return samples, Layout.of(taxonomy, present)


def _refused(
    why: str,
    samples: Samples,
    layout: Layout,
    taxonomy: Taxonomy,
    left_out: int,
    rule: Rule,
    settings: Mapping[str, Any],
    seed: int,
) -> Orthogonality:
    """Nothing could be measured: every pair is not identifiable."""
    names = taxonomy.levels
    pairs = [(names[a], names[b]) for a, b in Reader(layout).pairs]
    nothing: Literal["not identifiable"] = "not identifiable"
    n, d = samples.x_ND.shape
    rank = participation(samples, seed)
    return Orthogonality(
        dict.fromkeys(pairs, nothing),
        dict.fromkeys(pairs, why),
        [],
        [],
        [],
        [],
        [],
        [],
        [],
        np.zeros((0, 0), np.float32),
        [],
        Conditioning(n, d, samples.leaves, left_out, rank, float("nan"), {}, why),
        str(rule),
        settings,
        {},
    )
