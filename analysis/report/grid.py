"""Sites down, levels across: every accuracy at a glance, its interval where the pointer rests."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures import GREY, STYLE, Drawing, tip
from analysis.report.axes import column
from analysis.report.material import Material

MAP = "cividis"
"""Made for the colour-blind (Nunez et al. 2018)."""
MOST_NAMED = 48


def heatmap(material: Material) -> Drawing:
    """Accuracy of every level, and HCA."""
    hca = material.probes.hca
    sites = [record["site"] for record in hca]
    columns = [*material.levels, "HCA"]
    tips: list[str] = []
    grid = np.array(
        [column([material.record(site, level) for site in sites], "accuracy") for level in material.levels]
        + [column(hca, "hca")]
    ).T
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(3.9, 0.62 * len(columns) + 1.5), 0.19 * len(sites) + 0.9), layout="constrained")
        panel = figure.subplots()
        colours = mpl.colormaps[MAP]
        for (row, cell), value in np.ndenumerate(grid):
            patch = Rectangle((cell, row), 1, 1, facecolor=colours(value / 100), edgecolor="none")
            panel.add_patch(patch)
            tip(patch, tips, _said(material, sites[row], row, columns[cell]))
            ink = "white" if value < 55 else "black"
            panel.text(cell + 0.5, row + 0.52, f"{value:.0f}", ha="center", va="center", color=ink, fontsize=7.5)
        stages = [record["stage"] for record in hca]
        for row in range(1, len(sites)):
            if stages[row] != stages[row - 1]:
                panel.axhline(row, color=GREY, lw=1.5)
        every = -(-len(sites) // MOST_NAMED)
        panel.set_yticks(np.arange(len(sites))[::every] + 0.5, sites[::every])
        panel.set_xticks(np.arange(len(columns)) + 0.5, columns)
        panel.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        panel.tick_params(axis="x", rotation=30)
        for label in panel.get_xticklabels():
            label.set(rotation_mode="anchor", ha="left")
        panel.set(xlim=(0, len(columns)), ylim=(len(sites), 0))
        panel.spines[:].set_visible(False)
    return Drawing("heatmap", "Accuracy by site and level, percent", figure, tuple(tips))


def _said(material: Material, site: str, row: int, level: str) -> str:
    if level == "HCA":
        record, key = material.probes.hca[row], "hca"
    else:
        record, key = material.record(site, level), "accuracy"
    value, low, high = (100 * record[f"{key}{end}"] for end in ("", "_low", "_high"))
    chance = f"shuffled labels {100 * record['shuffled_low']:.1f} to {100 * record['shuffled_high']:.1f} %"
    return f"{level} at {site}: {value:.1f} % [{low:.1f}, {high:.1f}], n = {record['n_test']:,}; {chance}"
