"""Long-format records of what was measured: one dict per number, with n, interval and null."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from analysis.geometry.layout import Layout
from analysis.geometry.nulls import LevelTest
from analysis.geometry.ruling import Alignment
from analysis.geometry.statistics import EXPLAINED, IN_SAMPLE, OVERLAP, RELIABILITY, SIMPLEX, Key
from taxonomy import Taxonomy

if TYPE_CHECKING:
    from analysis.geometry.angles import Nodes
    from analysis.geometry.measuring import Measured

Record = dict[str, Any]
ELSEWHERE = (OVERLAP, EXPLAINED)
"""Statistics that have records of their own."""
UPPER = (*RELIABILITY, EXPLAINED, OVERLAP)
"""Statistics whose p-value is that of being as large; that of the others is two-sided."""
ALIGNMENT = "alignment"


def table(measured: Measured, alignments: dict[tuple[int, int], Alignment], names: tuple[str, ...]) -> list[Record]:
    """Per statistic, pair of levels and null; `alignment` is what the rule reads, and has no null."""
    found = []
    for key, value in measured.observed.items():
        name, parent, child = key
        low, high = _interval(measured.bootstrap.get(key))
        head = {
            "parent": names[parent] if parent >= 0 else None,
            "child": names[child],
            "statistic": name,
            "value": float(value[0]),
            "low": low,
            "high": high,
            "n": _count(measured, name, child),
        }
        found += [head | against for against in _against(measured, key, float(value[0]))]
    for (parent, child), each in alignments.items():
        head = {"parent": names[parent], "child": names[child], "statistic": ALIGNMENT, "value": each.value}
        found.append(head | {"low": each.low, "high": each.high, "n": each.edges} | _no_null())
    return found


def levels(tests: dict[int, LevelTest | None], names: tuple[str, ...]) -> list[Record]:
    """Per level that has children: whether they share directions."""
    found = []
    for level, test in tests.items():
        if test is None:
            found.append({"level": names[level], "tested": False})
            continue
        found.append(
            {
                "level": names[level],
                "tested": True,
                "dealt": test.dealt,
                "arrangements": test.arrangements,
                "statistic": test.statistic,
                "null_mean": test.null_mean,
                "null_sd": test.null_sd,
                "effect": test.effect,
                "p_value": test.p_value,
            }
        )
    return found


def edges(measured: Measured, taxonomy: Taxonomy) -> list[Record]:
    """Per edge: cosines, what noise draws them to, reliabilities, samples."""
    layout, products = measured.layout, measured.edges
    columns = {
        "cos": products.cosine,
        "cos_in_sample": products.in_sample_cosine,
        "cos_with_parent_offset": products.offset_cosine,
        "offset_reliability": products.offset_reliability,
        "parent_reliability": products.parent_reliability,
        "offset_squared": products.offset,
        "parent_squared": products.parent,
    }
    values = {name: column[:, 0].cpu().numpy() for name, column in columns.items()}
    values["cos_without_noise"] = _without_noise(products)
    samples = (layout.weight > 0) @ measured.count_L
    return [
        {
            "parent": _path(layout, taxonomy, layout.parent[child]),
            "child": _path(layout, taxonomy, child),
            "parent_level": taxonomy.levels[layout.level[child] - 1],
            "child_level": taxonomy.levels[layout.level[child]],
            "n": int(samples[child]),
            "n_parent": int(samples[layout.parent[child]]),
            "siblings": int(layout.children[layout.parent[child]]),
            "reliable": bool(measured.reliable[index]),
        }
        | {name: float(value[index]) for name, value in values.items()}
        for index, child in enumerate(layout.edges)
    ]


def siblings(at: Nodes, taxonomy: Taxonomy) -> list[Record]:
    """Per node with three children or more: cosines between their offsets, beside -1/(k - 1) of a regular simplex.

    Noise is taken off the products and the norms; a child whose offset is not above the noise is left out.
    """
    layout, found = at.at.layout, []
    vectors, noise = at.vectors[:, 0].cpu().numpy(), at.raw_noise[:, 0].cpu().numpy()
    length = np.ones(len(layout)) if at.lengths is None else at.lengths[:, 0].cpu().numpy()
    for parent in np.flatnonzero(layout.children > 2):
        children = np.flatnonzero(layout.parent == parent)
        k = len(children)
        offset = vectors[children] - vectors[parent]
        mix = np.diag(length[children]) - length[parent] / k
        products = offset @ offset.T - (mix * noise[children]) @ mix.T
        square = np.diag(products)
        kept = square > 0
        if kept.sum() < 2:
            continue
        size = np.sqrt(square[kept])
        cosine = (products[np.ix_(kept, kept)] / np.outer(size, size))[np.triu_indices(kept.sum(), 1)]
        expected = -1 / (k - 1)
        found.append(
            {
                "node": _path(layout, taxonomy, parent),
                "level": taxonomy.levels[layout.level[parent]],
                "children": k,
                "n": int(kept.sum()),
                "expected": expected,
                "mean": float(cosine.mean()),
                "least": float(cosine.min()),
                "most": float(cosine.max()),
                "rms_deviation": float(np.sqrt(((cosine - expected) ** 2).mean())),
            }
        )
    return found


def cosines(at: Nodes) -> np.ndarray:
    """float32 (node, node)."""
    unit = torch.nn.functional.normalize(at.vectors[:, 0], dim=1)
    return (unit @ unit.T).float().cpu().numpy()


def nodes(layout: Layout, taxonomy: Taxonomy, at: Nodes) -> list[Record]:
    """Per node, in the tree's order."""
    squared, noise = at.squared[:, 0].cpu().numpy(), at.own_noise[:, 0].cpu().numpy()
    twice = squared + 2 * noise  # 0 of a node that all leaves lie below
    reliability = np.divide(squared, twice, out=np.full_like(squared, np.nan), where=twice != 0)
    return [
        {
            "node": _path(layout, taxonomy, node),
            "name": taxonomy.names(int(layout.level[node]))[layout.code[node]],
            "level": taxonomy.levels[layout.level[node]],
            "parent": int(layout.parent[node]),
            "children": int(layout.children[node]),
            "leaves": int((layout.weight[node] > 0).sum()),
            "squared_norm": float(squared[node]),
            "reliability": float(reliability[node]),
        }
        for node in range(len(layout))
    ]


def _path(layout: Layout, taxonomy: Taxonomy, node: Any) -> str:
    return "/".join(taxonomy.nodes(int(layout.level[node]))[layout.code[node]])


def _without_noise(products: Any) -> np.ndarray:
    squares = (products.offset * products.parent)[:, 0].cpu().numpy()
    known = (products.offset[:, 0].cpu().numpy() > 0) & (squares > 0)
    along = products.along[:, 0].cpu().numpy()
    return np.where(known, along / np.sqrt(np.where(known, squares, 1)), np.nan)


def _count(measured: Measured, name: str, child: int) -> int:
    layout = measured.layout
    if name in (EXPLAINED, OVERLAP):
        return int((layout.level == child).sum())
    if name == SIMPLEX:
        return int((layout.children[layout.parent[layout.edges[measured.reader.of_pair(child)]]] > 2).sum())
    return len(measured.reader.of_pair(child))


def _interval(draws: np.ndarray | None) -> tuple[float, float]:
    if draws is None or not np.isfinite(draws).any():
        return math.nan, math.nan
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _against(measured: Measured, key: Key, value: float) -> list[Record]:
    found = []
    for null, draws in measured.nulls.items():
        if key not in draws:
            continue
        name = "nested sets" if null == "rows" and key[0] == IN_SAMPLE else null
        known = draws[key][np.isfinite(draws[key])]
        if not len(known):
            continue
        above = (1 + int((known >= value).sum())) / (1 + len(known))
        below = (1 + int((known <= value).sum())) / (1 + len(known))
        spread = known.std()
        found.append(
            {
                "null": name,
                "null_mean": float(known.mean()),
                "null_low": float(np.quantile(known, 0.025)),
                "null_high": float(np.quantile(known, 0.975)),
                "p_value": above if key[0] in UPPER else min(1.0, 2 * min(above, below)),
                "effect": float((value - known.mean()) / spread) if spread > 0 else math.nan,
            }
        )
    return found or [_no_null()]


def _no_null() -> Record:
    return {"null": None} | dict.fromkeys(("null_mean", "null_low", "null_high", "p_value", "effect"), math.nan)
