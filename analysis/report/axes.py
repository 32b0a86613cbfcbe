"""Sites along x, as all figures of the report have them: in the model's order, stages told apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import GREY
from probing.scores import Record

PANEL = (3.5, 2.35)
"""Inches of a figure that stands in a row of others, or fills a phone."""
STAGES = {"encoder": "visual encoder", "projector": "projector", "llm": "LLM"}


def stage_runs(records: Sequence[Record]) -> list[tuple[str, int, int]]:
    """Each stage with the positions of its first and last site."""
    runs, position = [], 0
    for stage, group in groupby(records, lambda record: record["stage"]):
        size = len(list(group))
        runs.append((stage, position, position + size - 1))
        position += size
    return runs


def along_sites(panel: Axes, records: Sequence[Record], *, shares: bool = True, ticks: int = 9) -> None:
    """Name about `ticks` of the sites, shade every other stage; `shares`: y is a share in percent."""
    names = [record["site"] for record in records]
    label_sites(panel, np.arange(len(names)), names, ticks)
    for count, (_, first, last) in enumerate(stage_runs(records)):
        if count % 2:
            panel.axvspan(first - 0.5, last + 0.5, color=GREY, alpha=0.1, lw=0, zorder=0)
    panel.set_xlim(-0.5, len(names) - 0.5)
    panel.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
    if shares:
        panel.set_ylim(-2, 103)
        panel.set_yticks([0, 25, 50, 75, 100])


def ribbon(panel: Axes, x: Sequence[float] | np.ndarray, low: np.ndarray, high: np.ndarray, **style: Any) -> None:
    """The band between two curves; around a lone site it is as wide as to be seen."""
    if len(x) == 1:
        x, low, high = [x[0] - 0.12, x[0] + 0.12], np.repeat(low, 2), np.repeat(high, 2)
    panel.fill_between(x, low, high, lw=0, **style)


def label_sites(panel: Axes, x: np.ndarray, names: Sequence[str], ticks: int) -> None:
    every = -(-len(names) // ticks)
    last = len(names) - 1
    shown = [*(index for index in range(last) if index % every == 0 and last - index > every / 2), last]
    panel.set_xticks([x[index] for index in shown], [names[index] for index in shown])
    panel.tick_params(axis="x", rotation=55, length=2)
    for label in panel.get_xticklabels():
        label.set(rotation_mode="anchor", ha="right")


def column(records: Sequence[Record], key: str, scale: float = 100) -> np.ndarray:
    """A key of every record, float; NaN where it is missing."""
    return scale * np.array([np.nan if record.get(key) is None else record[key] for record in records], float)
