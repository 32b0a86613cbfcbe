"""Curves along the sites: accuracy and bits of every level, and the whole path."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import BLUE, GREEN, GREY, ORANGE, STYLE, VERMILLION, Drawing
from analysis.report.axes import PANEL, along_sites, column, ribbon
from analysis.report.material import BASELINE, Material


def accuracy(material: Material) -> list[Drawing]:
    """A panel per level: interval, shuffled labels, majority, what needs no model."""
    return [_level(material, level, number) for number, level in enumerate(material.levels)]


def bits(material: Material) -> list[Drawing]:
    """A panel per level: usable bits beside those of the controls."""
    return [_bits(material, level, number) for number, level in enumerate(material.levels)]


def whole_path(material: Material) -> Drawing:
    """HCA across sites beside what it is to be read against."""
    records = material.model_sites
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.9, 3.2), layout="constrained")
        panel = figure.subplots()
        x = np.arange(len(records))
        low, high = column(records, "shuffled_low"), column(records, "shuffled_high")
        ribbon(panel, x, low, high, color=GREY, alpha=0.4, label="shuffled labels")
        panel.plot(x, column(records, "frechet_low"), color=BLUE, lw=1, ls=":", label="Fréchet bounds of HCA")
        panel.plot(x, column(records, "frechet_high"), color=BLUE, lw=1, ls=":")
        _band(panel, records, "hca", BLUE, "o", "HCA of independent probes")
        panel.plot(
            x, column(records, "product"), color=VERMILLION, marker="s", ms=3, lw=1, label="product of accuracies"
        )
        if np.isfinite(column(records, "leaf_lookup")).any():
            _band(panel, records, "leaf_lookup", GREEN, "^", "leaf lookup")
        panel.axhline(100 * records[0]["majority_path"], color=GREY, ls="--", lw=1, label="most common path")
        along_sites(panel, records, ticks=13)
        panel.set_ylabel("% right")
        figure.legend(loc="outside lower center", ncols=2)
    return Drawing("path", "HCA across sites beside the product of accuracies and leaf lookup", figure)


def _level(material: Material, level: str, number: int) -> Drawing:
    records = [material.record(record["site"], level) for record in material.model_sites]
    plain = [record for record in material.probes.probes if record["stage"] == BASELINE and record["level"] == level]
    figure, panel = _panel()
    with mpl.rc_context(STYLE):
        x = np.arange(len(records))
        low, high = column(records, "shuffled_low"), column(records, "shuffled_high")
        ribbon(panel, x, low, high, color=GREY, alpha=0.4, label="shuffled labels")
        panel.plot(x, column(records, "majority"), color=GREY, ls="--", lw=1, label="majority class")
        for index, value in enumerate(column(plain, "accuracy")):
            panel.axhline(value, color=ORANGE, ls=":", lw=1.2, label="no model" if index == 0 else None)
        _band(panel, records, "accuracy", BLUE, "o", "probe")
        along_sites(panel, records)
        panel.set_title(_short(level))
        panel.set_ylabel("% right")
        _legend(figure, panel, number)
    return Drawing(f"accuracy-{number}", f"Accuracy on {level} across sites", figure)


def _bits(material: Material, level: str, number: int) -> Drawing:
    records = [material.record(record["site"], level) for record in material.model_sites]
    figure, panel = _panel()
    with mpl.rc_context(STYLE):
        x = np.arange(len(records))
        panel.axhline(0, color=GREY, lw=0.8)
        for key, colour, marker, label in (
            ("rehung_bits", VERMILLION, "s", "re-hung taxonomy"),
            ("control_bits", GREEN, "^", "control task"),
        ):
            values = column(records, key, 1)
            if np.isfinite(values).any():  # of leaves there is no re-hanging, as published no control
                panel.plot(x, values, color=colour, marker=marker, ms=2.5, lw=1, label=label)
        _band(panel, records, "usable_bits", BLUE, "o", "probe", scale=1)
        along_sites(panel, records, shares=False)
        panel.set_title(_short(level))
        panel.set_ylabel("bits")
        _legend(figure, panel, number)
    return Drawing(f"bits-{number}", f"Usable bits of {level} across sites", figure)


def _panel() -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        return figure, figure.subplots()


def _legend(figure: Figure, panel: Axes, number: int) -> None:
    """Every panel stands alone in a paper, so every one has its legend."""
    del number
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)


def _band(panel: Axes, records, key: str, colour: str, marker: str, label: str, scale: float = 100) -> None:
    x = np.arange(len(records))
    value, low, high = (column(records, f"{key}{end}", scale) for end in ("", "_low", "_high"))
    ribbon(panel, x, low, high, color=colour, alpha=0.2)
    panel.plot(x, value, color=colour, marker=marker, ms=3, lw=1.4, label=label)


def _short(name: str, most: int = 40) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
