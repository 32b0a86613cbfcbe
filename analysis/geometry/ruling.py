"""The rule by which a pair of levels is called orthogonal, violated, or not identifiable.

1. The two levels stand: the children of the parent level's nodes share directions, more than children dealt anew among
   its nodes do (`nulls.level_test`), and so do those of the child level's nodes, unless these are leaves; and the
   offsets of the child level and the parents are reproducible, more than those of samples dealt anew among the leaves.
   If not: not identifiable.
2. The alignment: the root mean square cosine of child - parent with parent over the edges, weighed by the lengths,
   squares from independent halves of the samples, so that noise and the tree's shape do not add to it. Below the margin
   with its whole interval: orthogonal. Above it with its whole interval: violated. Else: not identifiable.

Not to find a violation is thus not to find orthogonality: the interval has to exclude the margin.

False verdicts. Where no level is real, a verdict needs the parent level's test to err; for a pair whose child level is
not the leaves, two tests. With m pairs that makes at most alpha + (m - 1) alpha^2, a bit more than alpha, for a whole
tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.geometry.nulls import LevelTest

Verdict = Literal["orthogonal", "violated", "not identifiable"]
MARGIN = 0.25
ALPHA = 0.025
HALVES = 16


@dataclass(frozen=True)
class Rule:
    """The numbers of the rule."""

    margin: float = MARGIN
    """Of the root mean square cosine: 0.25 is a sixteenth of an offset's squared length along the parent."""
    alpha: float = ALPHA
    """Of every test that a level has to pass."""
    draws: int = 1000
    halves: int = HALVES

    def __str__(self) -> str:
        return (
            f"A pair of levels is identifiable when the children of one node share a direction at the parent level "
            f"(and at the child level, unless its nodes are leaves), more than children dealt anew do, p <= "
            f"{self.alpha:g}, and offsets and parents are reproducible, more than those of samples dealt anew, p <= "
            f"{self.alpha:g}; {self.draws} draws each. Its alignment is the root mean square cosine of child - parent "
            f"with parent, cross-fitted over {self.halves} random halvings. 95 % interval below {self.margin:g}: "
            f"orthogonal; above {self.margin:g}: violated; otherwise, or when not identifiable: not identifiable."
        )


@dataclass(frozen=True)
class Alignment:
    """The root mean square cosine of child - parent with parent, noise taken off, with its 95 % interval."""

    value: float
    low: float
    high: float
    edges: int
    parents: int


@dataclass(frozen=True)
class Ruling:
    """The verdict of a pair of levels and what it rests on."""

    verdict: Verdict
    reason: str


def alignment(
    squared: np.ndarray,
    noise: np.ndarray,
    lengths: np.ndarray,
    parent: np.ndarray,
    below: np.ndarray,
    weights: np.ndarray,
) -> Alignment:
    """squared (edge,): <child - parent, parent>^2 from independent halves; noise (edge,): the variance of the product
    before it is squared; lengths (edge,): |child - parent|^2 |parent|^2; parent (edge,): which edges share one;
    below (edge, leaf): the leaves under the child, rows summing to 1; weights (draw, leaf): leaves drawn anew.

    The interval is the hull of two: leaves, and with them edges, drawn anew; and the noise in the products, those of
    one parent taken to err together.
    """
    total = lengths.sum()
    if not len(squared) or total <= 0:
        return Alignment(np.nan, np.nan, np.nan, len(squared), len(np.unique(parent)))
    value = squared.sum() / total
    edge = weights @ below.T
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (edge @ squared) / (edge @ lengths)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    error = np.sqrt(4 * np.maximum(squared, 0) * noise + 2 * noise**2)
    spread = np.sqrt((np.bincount(np.unique(parent, return_inverse=True)[1], weights=error) ** 2).sum()) / total
    low, high = min(low, value - 1.96 * spread), max(high, value + 1.96 * spread)
    root = np.sqrt(np.clip([value, low, high], 0, None))
    return Alignment(float(root[0]), float(root[1]), float(root[2]), len(squared), len(np.unique(parent)))


def ruled(
    rule: Rule, found: Alignment, tests: dict[str, LevelTest | None], reproducible: dict[str, float], names: dict
) -> Ruling:
    """tests: of the parent level, and of the child level unless it is all leaves; reproducible: p-values of both.

    names: what to call the two levels.
    """
    if not found.edges:
        return Ruling("not identifiable", "no parent has two children and a direction")
    for role, test in tests.items():
        if test is None:
            return Ruling("not identifiable", f"{names[role]}: no node has two children beside another node")
        if test.p_value > rule.alpha:
            few = test.arrangements < 1 / rule.alpha
            why = f"only {test.arrangements:.0f} ways to deal {test.dealt}" if few else f"{test.dealt} dealt anew"
            return Ruling(
                "not identifiable", f"{names[role]}: children share no direction (p = {test.p_value:.3g}, {why})"
            )
    for role, p in reproducible.items():
        if not p <= rule.alpha:
            return Ruling("not identifiable", f"{names[role]}: not reproducible (p = {p:.3g}, samples dealt anew)")
    if found.high < rule.margin:
        return Ruling(
            "orthogonal", f"|cos| {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] below {rule.margin:g}"
        )
    if found.low > rule.margin:
        return Ruling("violated", f"|cos| {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] above {rule.margin:g}")
    return Ruling(
        "not identifiable",
        f"|cos| {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] does not exclude {rule.margin:g}",
    )
