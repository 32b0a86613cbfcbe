"""Differences between runs: paired over the samples they share, else between two independent sets of leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.bottleneck.losses import max_t
from analysis.compare.sides import Side
from analysis.intervals import HCA
from probing.bootstrap import LeafBootstrap, percentiles


@dataclass(frozen=True)
class Share:
    """What one run gets right at a place."""

    name: str
    place: str
    site: str
    level: str
    value: float
    low: float
    high: float
    null_low: float
    null_high: float
    n: int
    leaves: int


@dataclass(frozen=True)
class Difference:
    """How much more one run gets right than another, as a difference of shares."""

    first: str
    second: str
    place: str
    level: str
    difference: float
    """The second's share less the first's."""
    low: float
    high: float
    p_adjusted: float
    """Two-sided against 0, adjusted for all differences of the comparison (step-down max-T)."""
    n: int
    """Samples of both where paired, else of the smaller run."""
    leaves: int
    paired: bool


def shares(side: Side, levels: Sequence[str], draws: int, seed: int) -> list[Share]:
    """Of every place and level (HCA may be one of them), with 95 % intervals over leaves."""
    bootstrap = LeafBootstrap.of(side.leaf, draws, seed)
    found = []
    for place, scores in side.places.items():
        for level in levels:
            right = scores.right[level]
            counted = np.isfinite(right)
            if counted.any():
                low, high = bootstrap.interval(right)
                size = int(counted.sum()), len(np.unique(side.leaf[counted]))
                found.append(
                    Share(
                        side.name,
                        place,
                        scores.site,
                        level,
                        float(np.nanmean(right)),
                        low,
                        high,
                        *scores.null[level],
                        *size,
                    )
                )
    return found


def differences(sides: Sequence[Side], levels: Sequence[str], draws: int, seed: int) -> list[Difference]:
    """Of every run to the first, at the places both have. Whole leaves are drawn, the same ones on both sides where the
    samples are the same."""
    first = sides[0]
    drawn: list[np.ndarray] = []
    found: list[Difference] = []
    for second in sides[1:]:
        for place in (place for place in first.places if place in second.places):
            for level in levels:
                values, n, leaves, paired = _difference(first, second, place, level, draws, seed)
                if values is None:
                    continue
                low, high = percentiles(values[1:])
                drawn.append(values)
                found.append(
                    Difference(
                        first.name, second.name, place, level, float(values[0]), low, high, np.nan, n, leaves, paired
                    )
                )
    if not found:
        return []
    both = np.concatenate([np.array(drawn), -np.array(drawn)])
    one_sided = max_t(both, np.zeros(len(both)))
    adjusted = np.minimum(one_sided[: len(found)], one_sided[len(found) :])
    return [replace(one, p_adjusted=float(p)) for one, p in zip(found, adjusted, strict=True)]


def shared(first: Side, second: Side, level: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both with the same sample and the same truth at a level (for HCA, at every level of both), int each."""
    place = {name: row for row, name in enumerate(second.ids)}
    pairs = [(row, place[name]) for row, name in enumerate(first.ids) if name in place]
    if not pairs:
        return np.zeros(0, int), np.zeros(0, int)
    mine, theirs = np.array(pairs).T
    levels = [name for name in first.truth if name in second.truth] if level == HCA else [level]
    same = np.all([first.truth[name][mine] == second.truth[name][theirs] for name in levels], axis=0)
    return mine[same], theirs[same]


def _difference(
    first: Side, second: Side, place: str, level: str, draws: int, seed: int
) -> tuple[np.ndarray | None, int, int, bool]:
    """The difference and its draws (1 + draw,), samples, leaves, and whether it is paired."""
    mine, theirs = first.places[place].right[level], second.places[place].right[level]
    rows, others = shared(first, second, level)
    if len(rows):
        gap = theirs[others] - mine[rows]
        counted = np.isfinite(gap)
        if not counted.any():
            return None, 0, 0, True
        bootstrap = LeafBootstrap.of(first.leaf[rows], draws, seed)
        values = np.append(np.nanmean(gap), bootstrap.means(gap[:, None])[:, 0])
        return values, int(counted.sum()), len(np.unique(first.leaf[rows][counted])), True
    if not (np.isfinite(mine).any() and np.isfinite(theirs).any()):
        return None, 0, 0, False
    one, two = (
        np.append(np.nanmean(right), LeafBootstrap.of(side.leaf, draws, seed + turn).means(right[:, None])[:, 0])
        for turn, (side, right) in enumerate(((first, mine), (second, theirs)))
    )
    n = int(min(np.isfinite(mine).sum(), np.isfinite(theirs).sum()))
    return two - one, n, min(len(np.unique(first.leaf)), len(np.unique(second.leaf))), False
