"""The first picture: what of every level can be read, stage by stage, and what the model itself makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.bottleneck.judging import LevelVerdict
from analysis.bottleneck.losses import ANSWERS
from analysis.bottleneck.readable import NOWHERE, within_parent
from analysis.figures import GREY, SERIES, STYLE, Drawing, tip
from analysis.report.axes import STAGES, label_sites, ribbon, stage_runs
from analysis.report.material import Material
from analysis.report.readings import Readings
from probing.scores import Record

Point = tuple[float, float, float]
"""A share with its interval, in percent."""
Span = tuple[float, float]
DEALS = 100
THIN = 0.25
"""Of a level's samples; with fewer counted, a line is pale."""
TOLD, BY_NAME = "by image", "by name"
"""The last columns."""
FATES = {"text": "unknown: ", "binding": "not bound: ", "answers": "not said: "}
"""What becomes of a level in the answers, in a word; `analysis.bottleneck.wording` has more."""


@dataclass(frozen=True)
class Line:
    """A level along the model."""

    number: int
    level: str
    sites: Mapping[str, Point]
    null: Mapping[str, Span]
    """What chance reaches, 95 %."""
    answers: Mapping[str, Point]
    """Of the last columns."""
    thin: frozenset[str]
    """Sites where so few samples have the right parent that little is counted."""
    fate: str
    """The stage that loses it, as the verdict has it."""
    confident: bool
    n: int

    @property
    def colour(self) -> str:
        return SERIES[self.number % len(SERIES)][0]


def judged(material: Material) -> list[Line]:
    """Of every scored level the share that is readable beyond the level above it, as the verdict counts it."""
    assert material.verdict is not None
    scored = [level for level in material.verdict.levels if level.evidence]
    return [
        _line(number, level, dealt_anew(material.readings, level.level, material.ends), thin(material, level.level))
        for number, level in enumerate(scored)
    ]


def plain(material: Material) -> list[Line]:
    """Where there is no verdict: accuracies."""
    lines = []
    for number, level in enumerate(material.levels):
        records = [material.record(record["site"], level) for record in material.model_sites]
        sites = {
            record["site"]: _percent(*(record[f"accuracy{end}"] for end in ("", "_low", "_high"))) for record in records
        }
        null = {record["site"]: (100 * record["shuffled_low"], 100 * record["shuffled_high"]) for record in records}
        lines.append(Line(number, level, sites, null, {}, frozenset(), "", False, records[0]["n_test"]))
    return lines


def picture(lines: Sequence[Line], sites: Sequence[Record], unit: str, *, narrow: bool = False) -> Drawing:
    """Wide, or for a phone. sites: records of hca.parquet; unit: what y is."""
    names = [record["site"] for record in sites]
    runs = stage_runs(sites)
    x = _places(runs, 0.19 if narrow else 0.14)
    columns = [name for name in (TOLD, BY_NAME) if any(name in line.answers for line in lines)]
    step = len(names) / (6.5 if narrow else 11)
    beyond = {name: x[-1] + 0.5 + step * (index + 0.6) for index, name in enumerate(columns)}
    right = x[-1] + 0.5 + step * (len(columns) + 0.2 if columns else 0)
    tips: list[str] = []
    style: dict[Any, Any] = {**STYLE, "legend.fontsize": 7.5 if narrow else 9, "font.size": 8 if narrow else 9}
    with mpl.rc_context(style):
        figure = Figure(figsize=(3.7, 4.2) if narrow else (9.6, 3.7), layout="constrained")
        panel = figure.subplots()
        heads = []
        for count, (stage, first, last) in enumerate(runs):
            span = _edges(x, first, last)
            panel.axvspan(*span, color=GREY, alpha=0.1 * (count % 2), lw=0, zorder=0)
            lost = [(line, "loses ") for line in lines if line.fate == stage]
            heads.append((sum(span) / 2, stage if narrow else STAGES.get(stage, stage), lost))
        if columns:
            panel.axvspan(x[-1] + 0.5, right, color=GREY, alpha=0.1 * (len(runs) % 2), lw=0, zorder=0)
            panel.axvline(x[-1] + 0.5, color=GREY, lw=0.8)
            said = [(line, FATES[line.fate]) for line in lines if line.fate in FATES]
            heads.append(((x[-1] + 0.5 + right) / 2, "own answers" if narrow else "the model's answers", said))
        _heads(panel, heads, narrow)
        place = dict(zip(names, x, strict=True)) | beyond
        spots = list(lines[0].null)
        ends = np.array([[line.null[site] for site in spots] for line in lines])
        low, high = ends[:, :, 0].min(0), ends[:, :, 1].max(0)
        where = [place[site] for site in spots]
        ribbon(panel, where, low, high, color=GREY, alpha=0.4, label="chance, 95 % (the widest)")
        for line in lines:
            _draw(panel, line, place, step * 0.09 * (line.number - (len(lines) - 1) / 2), tips)
        label_sites(panel, x, names, 6 if narrow else 16)
        ticks, words = list(panel.get_xticks()), [label.get_text() for label in panel.get_xticklabels()]
        panel.set_xticks([*ticks, *beyond.values()], [*words, *beyond])
        for label in panel.get_xticklabels():
            label.set(rotation_mode="anchor", ha="right")
        panel.set(xlim=(-0.55, right), ylim=(-8, 104), ylabel=unit)
        panel.set_yticks([0, 25, 50, 75, 100])
        panel.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
        handles, words = panel.get_legend_handles_labels()
        figure.legend(
            [*handles[1:], handles[0]], [*words[1:], words[0]], loc="outside lower center", ncols=3 if narrow else 8
        )
    title = f"Stages left to right, a line per level: {unit}"
    return Drawing("overview-narrow" if narrow else "overview", title, figure, tuple(tips))


def dealt_anew(readings: Readings, level: str, sites: Sequence[str]) -> dict[str, Span]:
    """What chance reads of a level, in percent: the middle 95 % of `DEALS` deals of a site's predictions, each
    among the samples of one parent that have it right."""
    column = readings.levels.index(level)
    truth = readings.truth[:, column]
    rng = np.random.default_rng(0)
    found = {}
    for site in sites:
        said = readings.at(site)[:, column]
        counted = np.flatnonzero(np.isfinite(within_parent(truth, said, readings.parent_of)[1]))
        parent = readings.parent_of[truth[counted]]
        places = counted[np.argsort(parent, kind="stable")]
        shares = []
        for _ in range(DEALS):
            dealt = said.copy()
            dealt[places] = said[counted[np.lexsort((rng.random(len(counted)), parent))]]
            gain, room = within_parent(truth, dealt, readings.parent_of)
            shares.append(100 * float(np.nansum(gain)) / max(float(np.nansum(room)), 1e-9))
        low, high = np.percentile(shares, [2.5, 97.5])
        found[site] = (float(low), float(high))
    return found


def thin(material: Material, level: str) -> frozenset[str]:
    """Sites that have the right parent of fewer than `THIN` of a level's samples."""
    readings = material.readings
    column = readings.levels.index(level)
    truth = readings.truth[:, column]
    has = int((truth != NOWHERE).sum())
    return frozenset(
        site
        for site in readings.sites
        if np.isfinite(within_parent(truth, readings.at(site)[:, column], readings.parent_of)[0]).sum() < THIN * has
    )


def _line(number: int, level: LevelVerdict, null: Mapping[str, Span], pale: frozenset[str]) -> Line:
    numbers = {(entry.quantity, entry.place): entry for entry in level.evidence}
    points = {key: _percent(entry.value, entry.low, entry.high) for key, entry in numbers.items()}
    sites = {place: point for (quantity, place), point in points.items() if quantity == "readable"}
    answers = {TOLD: points.get(("kept", ANSWERS)), BY_NAME: points.get(("answered by name", ANSWERS))}
    n = next(entry.n for (quantity, _), entry in numbers.items() if quantity == "readable")
    known = {name: point for name, point in answers.items() if point}
    return Line(number, level.level, sites, null, known, pale, level.stage, level.confident, n)


def _percent(*values: float) -> Point:
    value, low, high = (100 * value for value in values)
    return value, low, high


def _places(runs: Sequence[tuple[str, int, int]], least: float) -> np.ndarray:
    """x of every site: one apart, but no stage has less than `least` of them all, for its name."""
    least *= runs[-1][2] + 1
    x: list[float] = []
    left = -0.5
    for _, first, last in runs:
        size = last - first + 1
        room = max(size, least)
        x += [left + room * (index + 0.5) / size for index in range(size)]
        left += room
    return np.array(x)


def _edges(x: np.ndarray, first: int, last: int) -> Span:
    left = -0.55 if first == 0 else (x[first - 1] + x[first]) / 2
    return float(left), float(x[-1] + 0.5 if last == len(x) - 1 else (x[last] + x[last + 1]) / 2)


def _heads(panel: Axes, heads: Sequence[tuple[float, str, Sequence[tuple[Line, str]]]], narrow: bool) -> None:
    """Above the picture the stages' names, and below each what it loses: x, name, lines with what is said of them."""
    size, step = (7.0, 9.0) if narrow else (9.5, 12.0)
    style = {"xycoords": panel.get_xaxis_transform(), "textcoords": "offset points", "ha": "center", "va": "bottom"}
    most = max(len(lost) for _, _, lost in heads)
    for x, name, lost in heads:
        panel.annotate(name, (x, 1), (0, 3 + step * most), fontsize=size, **style)
        for index, (line, words) in enumerate(lost):
            text = f"{words}{line.level}" + ("" if line.confident else " ?")
            place = (0, 3 + step * (most - 1 - index))
            panel.annotate(text, (x, 1), place, color=line.colour, weight="bold", fontsize=size, **style)


def _draw(panel: Axes, line: Line, place: Mapping[str, float], aside: float, tips: list[str]) -> None:
    """A level's line, its interval, its null; `aside`: how far its answers stand from the middle of their column."""
    colour, marker = SERIES[line.number % len(SERIES)]
    values = np.array(list(line.sites.values()))
    x = np.array([place[site] for site in line.sites])
    ribbon(panel, x, values[:, 1], values[:, 2], color=colour, alpha=0.16)
    full = np.array([np.nan if site in line.thin else value[0] for site, value in line.sites.items()])
    panel.plot(x, values[:, 0], color=colour, marker=marker, ms=4, lw=1.4, alpha=0.3)
    panel.plot(x, full, color=colour, marker=marker, ms=4, lw=1.8, label=line.level)
    for at, (site, (value, low, high)) in zip(x, line.sites.items(), strict=True):
        (dot,) = panel.plot([at], [value], marker="o", ms=9, alpha=0, lw=0)
        tip(dot, tips, f"{line.level} at {site}: {value:.1f} % [{low:.1f}, {high:.1f}], n = {line.n:,}")
    for name, (value, low, high) in line.answers.items():
        at = place[name] + aside
        if name == TOLD:
            panel.plot([x[-1], at], [values[-1, 0], value], color=colour, lw=1, ls=":")
        bars = panel.errorbar(
            [at], [value], [[max(value - low, 0)], [max(high - value, 0)]],
            color=colour, marker=marker, ms=6, lw=1.4, mfc=colour if name == TOLD else "none",
        )  # fmt: skip
        tip(bars.lines[0], tips, f"{line.level} {name}: {value:.1f} % [{low:.1f}, {high:.1f}], n = {line.n:,}")
