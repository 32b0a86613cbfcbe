"""Figures of a tree's geometry, as inline SVG: data in, text out. Drawn on the page's own ink, light or dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from analysis.figures import BLUE, GREEN, GREY, INK, ORANGE, STYLE, VERMILLION, Drawing
from analysis.geometry.parts import Record

MARKS = {"orthogonal": ("o", GREEN), "violated": ("X", VERMILLION), "not identifiable": ("D", GREY)}
PANEL = (4.6, 2.5)
"""Inches."""
NAMED = 60
"""Nodes that are named beside a heatmap before only the coarse ones are."""
MOST_TICKS = 24


@dataclass(frozen=True)
class Shown:
    """A figure on the page."""

    drawing: Drawing
    caption: str
    folded: bool = False
    """Whether it is shown only when asked for."""

    @classmethod
    def of(cls, name: str, title: str, caption: str, draw: Callable[[], Figure], folded: bool = False) -> Shown:
        """Drawn in the pages' style."""
        with mpl.rc_context(STYLE):
            return cls(Drawing(name, title, draw()), caption, folded)


def heatmap(cosines: np.ndarray, nodes: Sequence[Record], site: str) -> Figure:
    """Cosines of every node's direction with every other's, in the order of the tree; lines part the top level."""
    size = len(nodes)
    figure = Figure(figsize=(2 * PANEL[0], 2 * PANEL[0] * 0.8), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(cosines, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
    tops = [place for place, node in enumerate(nodes) if node["parent"] < 0]
    named = list(range(size)) if size <= NAMED else tops
    if len(named) > MOST_TICKS and size > NAMED:
        named = named[:: -(-len(named) // MOST_TICKS)]
    depth = _depths(nodes)
    panel.set_yticks(
        named, ["\u00a0\u00a0" * depth[place] + _short(nodes[place]["name"]) for place in named], fontsize=7
    )
    panel.set_xticks(tops, [_short(nodes[place]["name"]) for place in tops], rotation=60, ha="right", fontsize=7)
    for label in panel.get_xticklabels():
        label.set(rotation_mode="anchor")
    for label in panel.get_yticklabels():
        label.set(ha="left")
    widest = max((len(label.get_text()) for label in panel.get_yticklabels()), default=0)
    panel.tick_params(axis="y", pad=5 + 4.2 * widest, length=0)
    panel.tick_params(axis="x", length=0)
    for top in tops[1:]:
        panel.axhline(top - 0.5, color=INK, lw=0.6)
        panel.axvline(top - 0.5, color=INK, lw=0.6)
    panel.set_title(site)
    panel.spines[:].set_visible(False)
    figure.colorbar(image, ax=panel, label="cosine", shrink=0.8, pad=0.01).outline.set_visible(False)  # pyright: ignore
    return figure


def layers(verdicts: Sequence[Record], margin: float) -> Figure:
    """Site by site, a panel per pair of levels: what the rule reads, marked by verdict, and the mean |cos| beside its
    nulls. verdicts: of one kind of direction and one inner product."""
    pairs = list(dict.fromkeys((record["parent"], record["child"]) for record in verdicts))
    sites = list(dict.fromkeys(record["site"] for record in verdicts))
    x = np.arange(len(sites))
    figure = Figure(figsize=(2 * PANEL[0], 2.6 * len(pairs) + 0.9), layout="constrained")
    panels = figure.subplots(len(pairs), 1, sharex=True, squeeze=False)[:, 0].tolist()
    for panel, (parent, child) in zip(panels, pairs, strict=True):
        mine = [record for record in verdicts if (record["parent"], record["child"]) == (parent, child)]
        for null, colour, label in (("leaves", ORANGE, "mean |cos|, leaves re-hung"), ("rows", GREY, "rows permuted")):
            low, high = (_column(mine, f"{null}_{end}") for end in ("low", "high"))
            panel.fill_between(x, low, high, color=colour, alpha=0.2, lw=0, label=f"{label} (95 %)")
        if any("random_init_mean" in record for record in mine):
            panel.plot(x, _column(mine, "random_init_mean"), color=GREY, ls=":", label="mean |cos|, untrained")
        panel.plot(x, _column(mine, "mean_cos"), color=BLUE, lw=1, label="mean |cos|")
        panel.axhline(margin, color=INK, ls="--", lw=0.8, label="margin")
        value, low, high = (_column(mine, key) for key in ("alignment", "low", "high"))
        for verdict, (mark, colour) in MARKS.items():
            here = np.array([record["verdict"] == verdict for record in mine]) & np.isfinite(value)
            panel.plot(x[here], value[here], mark, color=colour, ms=5, label=verdict)
            panel.vlines(x[here], low[here], high[here], color=colour, lw=1.2)
        panel.set_title(f"{child} given {parent}")
        panel.set_ylabel("|cos|")
        panel.set_ylim(0, None)
        panel.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
    every = max(1, -(-len(sites) // MOST_TICKS))
    panels[-1].set_xticks(x[::every], sites[::every], rotation=60, ha="right")
    for label in panels[-1].get_xticklabels():
        label.set(rotation_mode="anchor")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=8)
    return figure


def simplex(siblings: Sequence[Record], site: str) -> Figure:
    """Cosines between siblings' offsets, a bar per parent from the least to the most, beside -1/(k - 1).

    With the noise taken off a cosine may come out beyond 1; it is drawn there."""
    levels = sorted({record["level"]: record["node"].count("/") for record in siblings}.items(), key=lambda one: one[1])
    figure = Figure(figsize=(2 * PANEL[0], 2.6 * len(levels) + 0.5), layout="constrained")
    panels = figure.subplots(len(levels), 1, squeeze=False)[:, 0].tolist()
    for panel, (level, _) in zip(panels, levels, strict=True):
        mine = [record for record in siblings if record["level"] == level]
        x = np.arange(len(mine))
        least, most, mean = (np.clip(_column(mine, key), -1, 1) for key in ("least", "most", "mean"))
        panel.vlines(x, least, most, color=BLUE, lw=2, alpha=0.5)
        panel.plot(x, mean, "o", color=BLUE, ms=4, label="mean, least and most over pairs of children")
        panel.plot(x, _column(mine, "expected"), "_", color=ORANGE, ms=10, mew=2, label="a regular simplex: -1/(k - 1)")
        panel.set_ylim(-1.05, 1.05)
        panel.set_ylabel("cosine")
        panel.set_title(f"children of each {level}, {site}")
        panel.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
        every = max(1, -(-len(mine) // MOST_TICKS))
        names = [_short(record["node"].rsplit("/", 1)[-1]) for record in mine]
        panel.set_xticks(x[::every], names[::every], rotation=60, ha="right", fontsize=7)
        for label in panel.get_xticklabels():
            label.set(rotation_mode="anchor")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8)
    return figure


def _depths(nodes: Sequence[Record]) -> list[int]:
    found: list[int] = []
    for node in nodes:
        found.append(0 if node["parent"] < 0 else found[node["parent"]] + 1)
    return found


def _column(records: Sequence[Record], key: str) -> np.ndarray:
    values = [record.get(key) for record in records]
    return np.array([np.nan if value is None else value for value in values], float)


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}\u2026"
