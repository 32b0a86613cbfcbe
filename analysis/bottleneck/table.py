"""The printed verdict: a line per level, a paragraph for each, what could not be judged, the rule."""

from __future__ import annotations

import math
import textwrap
from itertools import groupby

from analysis.bottleneck.evidence import Number
from analysis.bottleneck.judging import LevelVerdict, Verdict
from analysis.bottleneck.wording import CALLED, MEANT, RULE, percent, span

WIDTH = 120
LEGEND = (
    "Where each level of the taxonomy is lost, and how much of it can be read, beyond the level above it, %: at the "
    "encoder's best site, behind the projector, at the LLM's last site, in the answers about images and by name, and "
    "of leaves that no probe was fitted on (LLM's last site). ? not certain; - not measured."
)
HEAD = (
    "level",
    "lost at",
    "share lost [95 %]",
    "p",
    "encoder",
    "projector",
    "LLM",
    "answers",
    "by name",
    "unseen leaves",
)


def table(found: Verdict) -> str:
    """All of it as text."""
    rows = [list(HEAD), *(_row(level) for level in found.levels)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    parts = [_wrapped(LEGEND), lines[0], rule, *lines[1:], rule, *paragraphs(found)]
    parts += [_wrapped(line, "Not judged: ") for line in found.missing]
    return "\n".join([*parts, _wrapped(RULE, "The rule: ")])


def paragraphs(found: Verdict) -> list[str]:
    """A paragraph per level; one for neighbours of which the same is said."""
    said = []
    for text, members in groupby(found.levels, key=sentence):
        names = ", ".join(level.level for level in members)
        said.append(_wrapped(text, f"{names}: "))
    return said


def sentence(level: LevelVerdict) -> str:
    """`lost at the projector: ...`."""
    where = f" from {level.at} on" if level.at else ""
    text = f"{MEANT[level.stage]}{where}{_doubt(level, ' (not certain)')}: {level.why}."
    for loss in level.also:
        sure = "" if loss.confident else ", not certain"
        text += f" Also {MEANT[loss.stage]}: {percent(loss.strength)} % {span(loss.low, loss.high)}{sure}."
    text += f" Unseen leaves: {level.unseen}." if level.unseen else ""
    text += f" Geometry: {level.geometry}." if level.geometry else ""
    return text + (f" What would change this: {level.would_change}." if level.would_change else "")


def _row(level: LevelVerdict) -> list[str]:
    share = "-" if math.isnan(level.strength) else f"{percent(level.strength)} {span(*level.interval)}"
    p = "-" if math.isnan(level.p_adjusted) else f"{level.p_adjusted:.2g}"
    cells = [_last(level, "readable", "projector"), _last(level, "readable", "llm"), _last(level, "answered")]
    cells += [_last(level, "answered by name"), _last(level, "readable of unseen leaves", "llm")]
    best = next((entry for entry in level.evidence if entry.quantity == "kept"), None)
    encoder = _last(level, "readable", "encoder", best.place if best else None)
    return [level.level, CALLED[level.stage] + _doubt(level, " ?"), share, p, encoder, *cells]


def _last(level: LevelVerdict, quantity: str, stage: str = "", place: str | None = None) -> str:
    """The number of the stage's last site, or of a place."""

    def fits(entry: Number) -> bool:
        return entry.quantity == quantity and entry.place.startswith(stage) and place in (None, entry.place)

    values = [entry.value for entry in level.evidence if fits(entry)]
    return percent(max(values[-1], 0)) if values else "-"


def _doubt(level: LevelVerdict, mark: str) -> str:
    return "" if level.confident or level.stage == "not identifiable" else mark


def _wrapped(text: str, head: str = "") -> str:
    return textwrap.fill(head + text, WIDTH, subsequent_indent="  " if head else "", break_on_hyphens=False)
