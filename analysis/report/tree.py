"""The taxonomy, coloured by how often each node is named right at a site; large trees are folded."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures import INK, STYLE, Drawing, tip
from analysis.report.grid import MAP
from analysis.report.readings import Readings
from probing.bootstrap import LeafBootstrap

MOST_ROWS = 60
"""A level of more nodes than this is folded into the level above it."""
STRIP = 24
"""Folded nodes that have a cell of their own in a row; more of them share cells."""


@dataclass(frozen=True)
class Node:
    """Shares of the test samples of a node."""

    path: str
    name: str
    level: str
    parent: str
    """A path, empty at the top."""
    right: float
    low: float
    high: float
    null: float
    """How often a sample is given this node, whatever it is: what dealing the predictions anew would get right."""
    n: int
    leaves: int


def nodes(readings: Readings, site: str, draws: int, seed: int) -> list[Node]:
    """Every node that is in test, depth first. Intervals are over leaves; of one leaf, Wilson's over its samples."""
    from taxonomy.metrics import wilson

    said = readings.at(site)
    found = []
    for column, level in enumerate(readings.levels):
        has = readings.truth[:, column] >= 0
        truth, predicted, leaf = readings.truth[has, column], said[has, column], readings.leaf[has]
        for node in np.unique(truth):
            mine = truth == node
            hits, count = (predicted[mine] == node).astype(float), len(np.unique(leaf[mine]))
            if count > 1:
                low, high = LeafBootstrap.of(leaf[mine], draws, seed).interval(hits)
            else:
                low, high = wilson(float(hits.mean()), len(hits))
            above = readings.parent_of[node]
            parent = readings.nodes[above] if above >= 0 else ""
            null = float((predicted == node).mean())
            path = readings.nodes[node]
            found.append(
                Node(
                    path, readings.name(int(node)), level, parent, float(hits.mean()), low, high, null, len(hits), count
                )
            )
    return depth_first(found)


def depth_first(found: list[Node]) -> list[Node]:
    """A node before what is below it, siblings in the order of their names."""
    below: dict[str, list[Node]] = {}
    for node in found:
        below.setdefault(node.parent, []).append(node)
    ordered, waiting = [], sorted(below.get("", []), key=lambda node: node.name, reverse=True)
    while waiting:
        node = waiting.pop()
        ordered.append(node)
        waiting += sorted(below.get(node.path, []), key=lambda node: node.name, reverse=True)
    return ordered


def shown_levels(found: list[Node], levels: tuple[str, ...]) -> tuple[list[str], str | None]:
    """The levels whose nodes have a row or more each, and the level that is folded into strips, if any."""
    ends = {node.parent for node in found}
    shown: list[str] = []
    for level in levels:
        kept = {*shown, level}
        rows = sum(node.level in kept and (node.level == level or node.path not in ends) for node in found)
        if rows > MOST_ROWS and shown:
            return shown, levels[-1]
        shown.append(level)
    return shown, None


def figure(found: list[Node], levels: tuple[str, ...], site: str) -> Drawing:
    """Levels left to right, a node as high as what is below it."""
    shown, folded = shown_levels(found, levels)
    rows = _rows(found, shown)
    count = max((last for _, last in rows.values()), default=0) + 1
    tips: list[str] = []
    colours = mpl.colormaps[MAP]
    width = 1.0
    strip = 2.2 if folded else 0.0
    with mpl.rc_context(STYLE):
        size = (max(3.9, min(1.25 * len(shown) + 1.1 * strip + 0.3, 9.6)), min(0.17 * count + 0.9, 11.5))
        drawn = Figure(figsize=size, layout="constrained")
        panel = drawn.subplots()
        for node in found:
            if node.level not in shown:
                continue
            first, last = rows[node.path]
            left = shown.index(node.level) * width
            cell = _cell(panel, (left, first), 0.97 * width, last + 1 - first - 0.06, colours(node.right))
            tip(cell, tips, said(node, site))
            ink = "white" if node.right < 0.55 else "black"
            panel.text(
                left + 0.03, (first + last + 0.94) / 2, _short(node.name),
                ha="left", va="center", color=ink, fontsize=6.5, clip_on=True,
            )  # fmt: skip
        if folded:
            _strips(panel, found, folded, shown, rows, len(shown) * width, strip, colours, tips, site)
        heads = [*shown, *([f"{folded}, from the worst to the best"] if folded else [])]
        for index, head in enumerate(heads):
            panel.text(index * width, -0.4, head, ha="left", va="bottom", fontsize=7.5, color=INK)
        panel.set(xlim=(0, len(shown) * width + strip), ylim=(count, -0.2))
        panel.axis("off")
        bar = drawn.colorbar(
            ScalarMappable(norm=Normalize(0, 100), cmap=MAP), ax=panel, location="bottom",
            label=f"% right at {site}", shrink=0.6, aspect=40, pad=0.01,
        )  # fmt: skip
        bar.outline.set_visible(False)  # pyright: ignore
    return Drawing(
        "tree", f"The taxonomy, each node coloured by the share of its samples right at {site}", drawn, tuple(tips)
    )


def said(node: Node, site: str) -> str:
    """A node in words."""
    return (
        f"{node.path}: {100 * node.right:.0f} % [{100 * node.low:.0f}, {100 * node.high:.0f}] right at {site}, "
        f"n = {node.n:,} of {node.leaves:,} leaves; chance {100 * node.null:.1f} %"
    )


def _rows(found: list[Node], shown: list[str]) -> dict[str, tuple[int, int]]:
    """The first and last row of every node of the levels shown."""
    kept = [node for node in found if node.level in shown]
    inner = {node.parent for node in kept}
    above = {node.path: node.parent for node in found}
    rows: dict[str, tuple[int, int]] = {}
    next_row = 0
    for node in kept:
        if node.path in inner:
            continue
        path = node.path
        while path:
            first = rows.get(path, (next_row, next_row))[0]
            rows[path] = (first, next_row)
            path = above[path]
        next_row += 1
    return rows


def _strips(panel, found, folded, shown, rows, left, room, colours, tips, site) -> None:
    """What is folded, a cell per node in the row of the last node shown above it."""
    above = {node.path: node.parent for node in found}
    groups: dict[str, list[Node]] = {}
    for node in found:
        if node.level == folded:
            path = node.parent
            while path and path not in rows:
                path = above[path]
            groups.setdefault(path, []).append(node)
    most = min(max((len(group) for group in groups.values()), default=1), STRIP)
    for path, group in groups.items():
        if path not in rows:
            continue
        ordered = sorted(group, key=lambda node: node.right)
        cells = np.array_split(np.arange(len(ordered)), min(len(ordered), STRIP))
        first, last = rows[path]
        for index, members in enumerate(cells):
            some = [ordered[member] for member in members]
            mean = float(np.mean([node.right for node in some]))
            size = room / most
            cell = _cell(panel, (left + index * size, first), 0.92 * size, last + 1 - first - 0.06, colours(mean))
            count = sum(node.n for node in some)
            many = f"{len(some)} of {path}: {100 * mean:.0f} % right on average at {site}, n = {count:,}"
            tip(cell, tips, said(some[0], site) if len(some) == 1 else many)


def _cell(panel, corner, width, height, colour) -> Rectangle:
    cell = Rectangle(corner, width, height, facecolor=colour, edgecolor="none")
    panel.add_patch(cell)
    return cell


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
