"""How far off the wrong answers are: where the path of the node that was named parts from the true one."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from analysis.figures import STYLE, Drawing, tip
from analysis.report.readings import Readings
from probing.bootstrap import LeafBootstrap

NOTHING = "nothing in common"


@dataclass(frozen=True)
class Shared:
    """Of the samples whose finest scored node a site gets wrong, the share whose last common ancestor is at a level."""

    site: str
    ancestor: str
    """A level, or `NOTHING`."""
    share: float
    low: float
    high: float
    null: float
    """The same where the wrong leaves are dealt anew among these samples."""
    n: int
    leaves: int


def by_ancestor(readings: Readings, sites: list[str], draws: int, seed: int) -> list[Shared]:
    """Sites in order; per site from no common ancestor to the closest one. Sites without an error are left out."""
    levels = readings.levels
    if len(levels) < 2:
        return []
    found: list[Shared] = []
    rows = np.arange(len(readings.ids))
    truth = readings.truth[rows, readings.deepest]
    for site in sites:
        said = readings.at(site)[rows, readings.deepest]
        wrong = np.flatnonzero((said != truth) & (readings.deepest > 0))
        if not len(wrong):
            continue
        depth = common_depth(readings, truth[wrong], said[wrong], wrong)
        bootstrap = LeafBootstrap.of(readings.leaf[wrong], draws, seed)
        null = _dealt_anew(readings, truth[wrong], said[wrong], wrong)
        for position, name in enumerate([NOTHING, *levels[:-1]]):
            here = (depth == position).astype(float)
            low, high = bootstrap.interval(here)
            found.append(
                Shared(site, name, float(here.mean()), low, high, null[position], len(wrong), bootstrap.leaves)
            )
    return found


def common_depth(readings: Readings, truth: np.ndarray, said: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """int (row,): 0 where nothing is shared, k where the nodes at levels 1 to k are. truth, said: the leaves' nodes."""
    above = ancestors(readings)
    depth = np.zeros(len(rows), int)
    for column in range(len(readings.levels) - 1):
        mine, theirs = above[truth, column], above[said, column]
        depth[(mine >= 0) & (mine == theirs) & (readings.deepest[rows] > column)] = column + 1
    return depth


def ancestors(readings: Readings) -> np.ndarray:
    """int (node, level): the node at or above each, by level; -1 where there is none."""
    level_of = np.full(len(readings.nodes), -1)
    for column in range(len(readings.levels)):
        for codes in (readings.truth[:, column], readings.predicted[:, :, column].ravel()):
            level_of[np.unique(codes[codes >= 0])] = column
    above = np.full((len(readings.nodes), len(readings.levels)), -1)
    for node in range(len(readings.nodes)):
        step = node
        while step >= 0:
            above[node, level_of[step]] = step
            step = readings.parent_of[step]
    return above


def _dealt_anew(readings: Readings, truth: np.ndarray, said: np.ndarray, rows: np.ndarray) -> list[float]:
    """The mean over all ways to deal the wrong leaves among the samples, those that come out right left out; exact."""
    above, deepest = ancestors(readings), readings.deepest[rows]
    same = [1.0]
    for column in range(len(readings.levels) - 1):
        same.append(_meet(np.where(deepest > column, above[truth, column], -1), above[said, column]))
    right = [_meet(np.where(deepest == depth, truth, -1), said) for depth in range(len(readings.levels))]
    rest = max(1 - sum(right), 1e-12)
    return [float(here - deeper - hit) / rest for here, deeper, hit in zip(same, [*same[1:], 0.0], right, strict=True)]


def _meet(mine: np.ndarray, theirs: np.ndarray) -> float:
    """How often a code drawn from each agree; -1 never does."""
    size = max(int(mine.max()), int(theirs.max()), 0) + 1
    first, second = (np.bincount(codes[codes >= 0], minlength=size) for codes in (mine, theirs))
    return float(first @ second) / (len(mine) * len(theirs))


def figure(found: list[Shared]) -> Drawing:
    """A bar per site, parted by how much of the path is shared; null beside it as a thin bar."""
    sites = list(dict.fromkeys(one.site for one in found))
    names = list(dict.fromkeys(one.ancestor for one in found))
    colours = [mpl.colormaps["cividis"](0.1 + 0.85 * index / max(len(names) - 1, 1)) for index in range(len(names))]
    tips: list[str] = []
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(4.6, 0.55 * len(sites) + 1.0), layout="constrained")
        panel = drawn.subplots()
        for row, site in enumerate(sites):
            left = floor = 0.0
            for index, one in enumerate(one for one in found if one.site == site):
                label = (f"same {one.ancestor}" if one.ancestor != NOTHING else NOTHING) if row == 0 else None
                (bar,) = panel.barh(row, 100 * one.share, 0.5, left=left, color=colours[index], label=label)
                tip(bar, tips, said(one))
                panel.barh(row + 0.36, 100 * one.null, 0.12, left=floor, color=colours[index])
                if one.share > 0.09:
                    ink = "white" if index < len(names) / 2 else "black"
                    panel.text(
                        left + 50 * one.share,
                        row,
                        f"{100 * one.share:.0f}",
                        ha="center",
                        va="center",
                        color=ink,
                        fontsize=7,
                    )
                left, floor = left + 100 * one.share, floor + 100 * one.null
        panel.set_yticks(np.arange(len(sites)), sites)
        panel.set(xlim=(0, 100), ylim=(len(sites) - 0.4, -0.5), xlabel="% of what is wrong (thin: dealt anew)")
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        drawn.legend(loc="outside lower center", ncols=2, fontsize=7.5)
    return Drawing("confusions", "What is wrong, by the level of the last common ancestor", drawn, tuple(tips))


def said(one: Shared) -> str:
    """A share in words."""
    what = one.ancestor if one.ancestor == NOTHING else f"same {one.ancestor}"
    return (
        f"{one.site}, {what}: {100 * one.share:.0f} % [{100 * one.low:.0f}, {100 * one.high:.0f}] of {one.n:,} wrong; "
        f"dealt anew {100 * one.null:.0f} %"
    )
