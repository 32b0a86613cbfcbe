"""The comparison as one HTML page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from analysis.bottleneck.wording import CALLED
from analysis.compare.paired import Difference, Share
from analysis.compare.sides import ANSWERS, CHOSEN
from analysis.figures import DARK, GREY, SERIES, STYLE, Drawing, tip, variables
from analysis.intervals import HCA
from analysis.report.axes import PANEL, STAGES
from analysis.report.downloads import downloads
from analysis.report.material import Material
from analysis.report.page import Page, environment
from analysis.report.tables import Table

TEMPLATE = "compare.html.j2"
ALPHA = 0.05


@dataclass(frozen=True)
class Compared:
    names: list[str]
    levels: list[str]
    """The shared ones, coarse to fine; HCA too, where all runs have the same."""
    shares: list[Share]
    differences: list[Difference]


def compose(found: Compared, materials: Sequence[Material]) -> Page:
    drawn = [_panel(found, level, number) for number, level in enumerate(found.levels)]
    html = (
        environment()
        .get_template(TEMPLATE)
        .render(
            names=found.names,
            palette=(variables(), variables(DARK)),
            sentences=sentences(found),
            drawn=drawn,
            shares=_share_table(found),
            differences=_difference_table(found),
            verdicts=_verdict_table(found, materials),
            sources=[(name, str(material.probes.path)) for name, material in zip(found.names, materials, strict=True)],
            downloads=downloads(
                {"shares": [vars(one) for one in found.shares], "differences": [vars(one) for one in found.differences]}
            ),
        )
    )
    return Page(html, tuple(drawn))


def sentences(found: Compared) -> list[str]:
    """Per run the clear differences to the first, and whether they are paired."""
    said = []
    for name in found.names[1:]:
        mine = [one for one in found.differences if one.second == name]
        if not mine:
            said.append(f"{name} and {found.names[0]} have no place in common.")
            continue
        clear = sorted((one for one in mine if one.p_adjusted < ALPHA), key=lambda one: -abs(one.difference))
        words = [" ".join(word for word in (one.level, _at(one.place), points(one)) if word) for one in clear[:3]]
        text = f"{name} against {found.names[0]}: " + (
            f"{'; '.join(words)}" + (f"; {len(clear) - 3} more" if len(clear) > 3 else "")
            if clear
            else f"no difference is clear of 0 after adjusting for all {len(found.differences)}"
        )
        if all(one.paired for one in mine):
            text += f" (points; paired over {_range([one.n for one in mine])} samples)."
        elif not any(one.paired for one in mine):
            text += " (points; not paired: they share no sample, so the intervals are of two independent sets)."
        else:
            text += " (points; some levels are paired, others not: see the table)."
        said.append(text)
    return said


def points(one: Difference) -> str:
    return f"{100 * one.difference:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"


def _panel(found: Compared, level: str, number: int) -> Drawing:
    places = list(dict.fromkeys(one.place for one in found.shares))
    tips: list[str] = []
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PANEL[0], 2.9), layout="constrained")
        panel = figure.subplots()
        for index, name in enumerate(found.names):
            colour, marker = SERIES[index % len(SERIES)]
            mine = [one for one in found.shares if one.name == name and one.level == level]
            x = np.array([places.index(one.place) + 0.12 * (index - (len(found.names) - 1) / 2) for one in mine])
            y, low, high = (100 * np.array([getattr(one, key) for one in mine]) for key in ("value", "low", "high"))
            panel.vlines(x, low, high, color=colour, lw=1.3)
            panel.plot(x, y, color=colour, marker=marker, ms=4.5, lw=1, alpha=0.9, label=_short(name))
            for at, one in zip(x, mine, strict=True):
                left, right = 100 * one.null_low, 100 * one.null_high
                panel.fill_between([at - 0.06, at + 0.06], left - 0.4, right + 0.4, color=GREY, alpha=0.5, lw=0)
                (dot,) = panel.plot(at, 100 * one.value, "o", ms=9, alpha=0)
                tip(dot, tips, f"{name}, {one.site}: {_span(one)}, n = {one.n:,}; chance {left:.1f} to {right:.1f} %")
        panel.set_xticks(np.arange(len(places)), [_place(place) for place in places], rotation=25, ha="right")
        panel.set(xlim=(-0.5, len(places) - 0.5), ylim=(-2, 103), title=level, ylabel="% right")
        panel.set_yticks([0, 25, 50, 75, 100])
        panel.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
        figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    return Drawing(f"compare-{number}", f"{level} of every run, by place", figure, tuple(tips))


def _share_table(found: Compared) -> Table:
    rows = [["run", "place", "site", "of", "% right [95 %]", "chance", "n (leaves)"]]
    for one in found.shares:
        chance = f"{100 * one.null_low:.1f} to {100 * one.null_high:.1f}"
        rows.append(
            [one.name, _place(one.place), one.site, one.level, _span(one), chance, f"{one.n:,} ({one.leaves:,})"]
        )
    return Table(
        "Of each stage the site that reads the whole path best on validation. Answers are among options.",
        rows,
        "Every share",
        "shares",
    )


def _difference_table(found: Compared) -> Table:
    rows = [["against", "run", "place", "of", "points [95 %]", "p, adjusted", "n (leaves)", ""]]
    bold = set()
    for one in found.differences:
        if one.p_adjusted < ALPHA:
            bold.add((len(rows), 4))
        size = f"{one.n:,} ({one.leaves:,})"
        rows.append(
            [
                one.first,
                one.second,
                _place(one.place),
                one.level,
                points(one),
                f"{one.p_adjusted:.2g}",
                size,
                "paired" if one.paired else "not paired",
            ]
        )
    caption = (
        "Share right of the run less that of the first, in points, with intervals over leaves: paired over the same "
        "samples where both have them, else over two independent sets of leaves. p: two-sided, adjusted for all rows "
        "(max-T); bold below 0.05. Null: 0."
    )
    return Table(caption, rows, "", "differences", frozenset(bold))


def _verdict_table(found: Compared, materials: Sequence[Material]) -> Table | None:
    if not any(material.verdict for material in materials):
        return None
    levels = [level for level in found.levels if level != HCA]
    rows = [["run", *levels]]
    for name, material in zip(found.names, materials, strict=True):
        judged: dict[str, Any] = {level.level: level for level in material.verdict.levels} if material.verdict else {}
        rows.append([name, *(_verdict(judged.get(level)) for level in levels)])
    return Table(
        "Where each run loses a level, with the share lost there [95 %]; ? not certain (analysis verdict).", rows
    )


def _verdict(level: Any) -> str:
    if level is None:
        return "–"
    if level.strength != level.strength:
        return CALLED[level.stage]
    low, high = level.interval
    doubt = "" if level.confident else " ?"
    return f"{CALLED[level.stage]}{doubt}: {100 * level.strength:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _span(one: Share) -> str:
    return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def _place(place: str) -> str:
    return STAGES.get(place, place)


def _at(place: str) -> str:
    """In a sentence."""
    return {ANSWERS: "in the answers", CHOSEN: ""}.get(place, f"at the {_place(place)}")


def _range(sizes: Sequence[int]) -> str:
    return f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"


def _short(name: str, most: int = 28) -> str:
    return name if len(name) <= most else f"…{name[-most + 1 :]}"
