"""Orthogonality by layer, from the tables of `python -m analysis geometry`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from analysis.figures import BLUE, GREEN, GREY, ORANGE, STYLE, VERMILLION, Drawing, tip
from analysis.report.axes import PANEL, label_sites
from probing.scores import Record

MARKS = {"orthogonal": ("o", GREEN), "violated": ("X", VERMILLION), "not identifiable": ("D", GREY)}


def verdicts(folder: Path) -> list[Record]:
    """Of the first kind of direction and inner product: a record per site and pair of levels."""
    rows = pq.read_table(folder / "verdicts.parquet").to_pylist()
    return [
        row
        for row in rows
        if (row["directions"], row["inner_product"]) == (rows[0]["directions"], rows[0]["inner_product"])
    ]


def figures(found: Sequence[Record]) -> list[Drawing]:
    """One per pair of levels: what the rule reads with its interval and verdict, the mean |cos| beside its nulls."""
    return [
        _figure([row for row in found if (row["parent"], row["child"]) == pair], *pair, number)
        for number, pair in enumerate(dict.fromkeys((row["parent"], row["child"]) for row in found))
    ]


def _figure(rows: Sequence[Record], parent: str, child: str, number: int) -> Drawing:
    x = np.arange(len(rows))
    tips: list[str] = []
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PANEL[0], 3.1), layout="constrained")
        panel = figure.subplots()
        for null, colour, label in (("leaves", ORANGE, "leaves re-hung"), ("rows", GREY, "rows permuted")):
            low, high = _column(rows, f"{null}_low"), _column(rows, f"{null}_high")
            panel.fill_between(x, low, high, color=colour, alpha=0.25, lw=0, label=label)
        panel.plot(x, _column(rows, "mean_cos"), color=BLUE, lw=1.2, label="mean |cos|")
        value, low, high = (_column(rows, key) for key in ("alignment", "low", "high"))
        for verdict, (marker, colour) in MARKS.items():
            here = np.array([row["verdict"] == verdict for row in rows]) & np.isfinite(value)
            if here.any():
                panel.vlines(x[here], low[here], high[here], color=colour, lw=1.2)
                panel.plot(x[here], value[here], marker, color=colour, ms=4.5, label=verdict)
        for at, row in zip(x, rows, strict=True):
            if np.isfinite(value[at]):
                (dot,) = panel.plot(at, value[at], "o", ms=9, alpha=0)
                tip(
                    dot,
                    tips,
                    f"{row['site']}: {row['verdict']}, {row['alignment']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
                )
        panel.set_title(f"{child} given {parent}")
        panel.set_ylabel("|cos|")
        panel.set_ylim(0, None)
        panel.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
        label_sites(panel, x, [row["site"] for row in rows], 9)
        figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return Drawing(f"orthogonality-{number}", f"Orthogonality of {child} to {parent} across sites", figure, tuple(tips))


def _column(rows: Sequence[Record], key: str) -> np.ndarray:
    return np.array([np.nan if row.get(key) is None else row[key] for row in rows], float)
