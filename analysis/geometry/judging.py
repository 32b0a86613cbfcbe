"""Are the directions of a taxonomy's levels orthogonal? From features and leaves to verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from analysis.geometry import records
from analysis.geometry.directions import Directions, Space
from analysis.geometry.inner_products import InnerProduct, Refused, Shrinkage, participation
from analysis.geometry.layout import Layout
from analysis.geometry.leaf_means import Samples
from analysis.geometry.measuring import Measured
from analysis.geometry.ruling import Rule, Verdict
from analysis.geometry.statistics import Reader
from analysis.geometry.tree_distance import tree_correlation
from commandline import InputError
from taxonomy import Taxonomy

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
