"""Figures as inline SVG: no file, no script, no font from outside; text takes the page's own colour, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probing.scores import Record

INK = "#010203"
"""Stands for the page's text colour until the SVG is written."""
BLUE, ORANGE, GREEN = "#2b7bba", "#d9730d", "#2a9d6f"
GREY = "#8a8a8a"
BASELINE = "baseline"
"""The stage of sites that no model was needed for: they are lines across the figures, not points along them."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold dollars
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}
MOST_TICKS = 16
"""Sites that are named across the page before only some of them are."""
PANEL = (4.6, 2.5)
"""Inches."""


def accuracy_curves(probes: Sequence[Record], sites: Sequence[str], levels: Sequence[str]) -> str:
    """Accuracy across sites, a panel per level: interval band, majority line, shuffled-label band."""
    return _panels(probes, sites, levels, _level_panel, "curves", "% right", "Accuracy of every level across sites")


def bits_curves(probes: Sequence[Record], sites: Sequence[str], levels: Sequence[str]) -> str:
    """Usable bits across sites, a panel per level, beside those of the controls."""
    return _panels(probes, sites, levels, _bits_panel, "bits", "bits", "Usable bits of every level across sites")


def _panels(
    probes: Sequence[Record],
    sites: Sequence[str],
    levels: Sequence[str],
    draw: Callable[[Axes, Sequence[Record]], None],
    name: str,
    unit: str,
    title: str,
) -> str:
    """A panel per level; `draw` gets the panel and the level's records."""
    columns = min(len(levels), 2 if len(levels) in (2, 4) else 3)
    rows = -(-len(levels) // columns)
    shown = [record for record in _at(probes, sites, levels[0]) if record["stage"] != BASELINE]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2 * PANEL[0], PANEL[1] * rows + 0.7), layout="constrained")
        panels = figure.subplots(rows, columns, sharey=True, sharex=True, squeeze=False).ravel().tolist()
        for panel, level in zip(panels, levels, strict=False):
            draw(panel, _at(probes, sites, level))
            panel.set_title(level)
        for panel in panels[len(levels) :]:
            panel.set_visible(False)
        _sites_axis(panels[: len(levels)], shown, columns=columns, shares=unit == "% right")
        for index, panel in enumerate(panels[: len(levels)]):
            panel.tick_params(labelbottom=index + columns >= len(levels))
            panel.set_ylabel("" if index % columns else unit)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
        return svg(figure, name, title)


def hca_curves(hca: Sequence[Record]) -> str:
    """HCA across sites beside what it is to be read against."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PANEL[0] * 2, 3.6), layout="constrained")
        panel = figure.subplots()
        x = np.arange(len(hca))
        values = {key: _percent(hca, key) for key in hca[0] if isinstance(hca[0][key], float)}
        panel.fill_between(x, values["shuffled_low"], values["shuffled_high"], color=GREY, alpha=0.4, lw=0, step="mid")
        panel.plot(x, values["frechet_low"], color=BLUE, lw=1, ls=":", label="Fréchet bounds of HCA")
        panel.plot(x, values["frechet_high"], color=BLUE, lw=1, ls=":")
        panel.fill_between(x, values["hca_low"], values["hca_high"], color=BLUE, alpha=0.2, lw=0)
        panel.plot(x, values["hca"], color=BLUE, marker="o", ms=3.5, label="HCA of independent probes")
        panel.plot(x, values["product"], color=ORANGE, marker="s", ms=3, lw=1, label="product of accuracies")
        if np.isfinite(values["leaf_lookup"]).any():
            low, high = values["leaf_lookup_low"], values["leaf_lookup_high"]
            panel.fill_between(x, low, high, color=GREEN, alpha=0.15, lw=0)
            panel.plot(x, values["leaf_lookup"], color=GREEN, marker="^", ms=3.5, lw=1, label="leaf lookup")
        panel.axhline(values["majority_path"][0], color=GREY, ls="--", lw=1, label="most common path")
        panel.fill_between([], [], color=GREY, alpha=0.4, lw=0, label="shuffled labels")
        _sites_axis([panel], hca)
        figure.legend(loc="outside upper left", ncols=3)
        return svg(figure, "hca", "HCA across sites beside the product of accuracies and leaf lookup")


def heatmap(probes: Sequence[Record], hca: Sequence[Record], levels: Sequence[str]) -> str:
    """Accuracy of every level and HCA at every site, levels down, sites across."""
    sites = [record["site"] for record in hca]
    grid = np.array([_percent(_at(probes, sites, level), "accuracy") for level in levels] + [_percent(hca, "hca")])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PANEL[0] * 2, 0.34 * len(grid) + 1.3), layout="constrained")
        panel = figure.subplots()
        image = panel.pcolormesh(grid, vmin=0, vmax=100, cmap="viridis", edgecolors="none")
        panel.invert_yaxis()
        panel.set_yticks(np.arange(len(grid)) + 0.5, [*levels, "HCA"])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        if len(sites) <= 2 * MOST_TICKS:
            for (row, column), value in np.ndenumerate(grid):
                ink = "white" if value < 60 else "black"
                panel.text(column + 0.5, row + 0.5, f"{value:.0f}", ha="center", va="center", color=ink, fontsize=8)
        _sites_axis([panel], hca, offset=0.5, bands=False)
        figure.colorbar(image, ax=panel, label="%", shrink=0.9, pad=0.01).outline.set_visible(False)  # pyright: ignore
        return svg(figure, "heatmap", "Accuracy by site and level")


def _level_panel(panel: Axes, records: Sequence[Record]) -> None:
    plain = [record for record in records if record["stage"] == BASELINE]
    records = [record for record in records if record["stage"] != BASELINE]
    x = np.arange(len(records))
    low, high = _percent(records, "shuffled_low"), _percent(records, "shuffled_high")
    panel.fill_between(x, low, high, color=GREY, alpha=0.4, lw=0, label="shuffled labels")
    panel.plot(x, _percent(records, "majority"), color=GREY, ls="--", lw=1, label="majority class")
    for index, value in enumerate(_percent(plain, "accuracy")):
        panel.axhline(value, color=ORANGE, ls=":", lw=1, label="no model" if index == 0 else None)
    _curve(panel, records, "accuracy", 100, "probe, 95 % interval over leaves")


def _bits_panel(panel: Axes, records: Sequence[Record]) -> None:
    records = [record for record in records if record["stage"] != BASELINE]
    panel.axhline(0, color=GREY, lw=0.8)
    for key, colour, marker, label in (
        ("rehung_bits", ORANGE, "s", "re-hung taxonomy"),
        ("control_bits", GREEN, "^", "control task"),
    ):
        bits = _numbers(records, key)
        absent = bool(np.isnan(bits).all())  # at a level of leaves there is no re-hanging, as published no control
        panel.plot(
            np.arange(len(records)), bits, color=colour, marker=marker, ms=3, lw=1, label=None if absent else label
        )
    _curve(panel, records, "usable_bits", 1, "probe, 95 % interval over leaves")


def _curve(panel: Axes, records: Sequence[Record], key: str, scale: float, label: str) -> None:
    x, value, low, high = (
        np.arange(len(records)),
        *(scale * _numbers(records, f"{key}{end}") for end in ("", "_low", "_high")),
    )
    panel.fill_between(x, low, high, color=BLUE, alpha=0.2, lw=0)
    panel.plot(x, value, color=BLUE, marker="o", ms=3, label=label)


def _sites_axis(
    panels: Sequence[Axes],
    records: Sequence[Record],
    *,
    columns: int = 1,
    offset: float = 0.0,
    bands: bool = True,
    shares: bool = True,
) -> None:
    """Sites along x, every stage marked; shared by the panels, which stand in so many columns."""
    names = [record["site"] for record in records]
    every = -(-len(names) * columns // MOST_TICKS)
    last = len(names) - 1
    shown = [*(index for index in range(last) if index % every == 0 and last - index > every / 2), last]
    for panel in panels:
        panel.set_xticks(
            [index + offset for index in shown], [names[index] for index in shown], rotation=60, ha="right"
        )
        panel.tick_params(axis="x", rotation=60)
        for label in panel.get_xticklabels():
            label.set(rotation_mode="anchor", ha="right")
        position = 0
        for count, (_, group) in enumerate(groupby(record["stage"] for record in records)):
            size = len(list(group))
            if bands and count % 2:
                panel.axvspan(position - 0.5, position + size - 0.5, color=GREY, alpha=0.1, lw=0, zorder=0)
            position += size
        if bands:
            panel.set_xlim(-0.5, len(names) - 0.5)
            panel.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
        if bands and shares:
            panel.set_ylim(0, 102)
            panel.set_yticks([0, 25, 50, 75, 100])
            panel.set_ylabel("% right")


def _at(probes: Sequence[Record], sites: Sequence[str], level: str) -> list[Record]:
    cells = {record["site"]: record for record in probes if record["level"] == level}
    return [cells[site] for site in sites]


def _percent(records: Sequence[Record], key: str) -> np.ndarray:
    return 100 * _numbers(records, key)


def _numbers(records: Sequence[Record], key: str) -> np.ndarray:
    return np.array([record[key] for record in records], float)


def svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an <svg> element for an HTML page, ids prefixed with `name` and unused ones dropped."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    used = set(re.findall(r"(?:url\(|href=\")#([^\")]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r"(url\(|href=\")#", rf"\g<1>#{name}-", text)
    text = text.replace(INK, "currentColor")
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{title}">', text, count=1
    )
    return text.replace("xlink:href", "href")
