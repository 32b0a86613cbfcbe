"""What a calibration comes to: the confusion matrix, the share that is right, the curve of doses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from organisms.calibrate import BAR, Judged
from taxonomy.metrics import wilson

UNTRAINED = "random"
ORDER = ("encoder", "projector", "llm", "text", "binding", "answers", "none", "not identifiable")


def whole(found: Sequence[Judged]) -> list[Judged]:
    """Those with one right answer: of an organism that loses a part of a level, `none` and the stage are both right."""
    return [judged for judged in found if judged.dose in (None, 0.0, 1.0)]


def holds(found: Sequence[Judged]) -> bool:
    """At least 95 % of verdicts are right, and none on an untrained model is certain."""
    known = whole(found)
    certain = any(judged.confident for judged in found if judged.organism == UNTRAINED)
    return sum(judged.right for judged in known) >= BAR * len(known) and not certain


def summary(found: Sequence[Judged]) -> dict[str, Any]:
    """The figures of `page`."""
    known = whole(found)
    right = sum(judged.right for judged in known)
    low, high = wilson(right / len(known), len(known)) if known else (None, None)
    certain = [judged for judged in known if judged.confident]
    return {
        "verdicts": len(known),
        "right": right,
        "share": right / len(known) if known else None,
        "low": low,
        "high": high,
        "certain": len(certain),
        "certain_right": sum(judged.right for judged in certain),
        "untrained_certain": sum(judged.confident for judged in found if judged.organism == UNTRAINED),
        "confusion": [
            {"planted": planted, "found": said, "count": count}
            for (planted, said), count in sorted(Counter((judged.planted, judged.found) for judged in known).items())
        ],
        "trend": trend(found),
        "holds": holds(found),
    }


def page(found: Sequence[Judged]) -> str:
    """All of it as text."""
    known = whole(found)
    parts = ["Planted (rows) x found (columns); a verdict per organism, level and world.", *_confusion(known), ""]
    if known:
        figures = summary(found)
        parts.append(
            f"right: {figures['right']} of {figures['verdicts']}, {100 * figures['share']:.1f} % "
            f"[{100 * figures['low']:.1f}, {100 * figures['high']:.1f}] (bar {100 * BAR:.0f} %); of the "
            f"{figures['certain']} that are certain, {figures['certain_right']}"
        )
        untrained = [judged for judged in found if judged.organism == UNTRAINED]
        parts.append(
            f"certain verdicts on untrained models: {figures['untrained_certain']} of {len(untrained)} (bar 0)"
        )
    parts += [f"wrong: {_said(judged)}" for judged in known if not judged.right]
    return "\n".join([*parts, *_doses(found)])


def _confusion(known: Sequence[Judged]) -> list[str]:
    """A row per planted stage and kind of level."""
    counts = Counter((judged.planted, judged.found) for judged in known)
    rows = [stage for stage in ORDER if any(planted == stage for planted, _ in counts)]
    columns = [stage for stage in ORDER if any(stage in pair for pair in counts)]
    table = [["planted", *columns, "certain"]]
    for planted in rows:
        certain = sum(judged.confident for judged in known if judged.planted == planted)
        cells = [str(counts[planted, said]) if counts[planted, said] else "." for said in columns]
        table.append([planted, *cells, str(certain)])
    return aligned(table)


def _doses(found: Sequence[Judged]) -> list[str]:
    """What is lost at the planted stage, dose by dose."""
    series = dosed(found)
    if len({judged.dose for judged in series}) < 2:
        return []
    worlds = list(dict.fromkeys((judged.weights, judged.world) for judged in series))
    table = [["dose", *(f"{weights}, world {world}" for weights, world in worlds)]]
    for dose in sorted({judged.dose for judged in series if judged.dose is not None}):
        cells = []
        for weights, world in worlds:
            at = [j for j in series if (j.dose, j.weights, j.world) == (dose, weights, world)]
            cells.append(_strength(at[0]) if at else "-")
        table.append([f"{100 * dose:.0f} %", *cells])
    figures = trend(found)
    said = ""
    if figures:
        said = (
            f"rises with every dose in {figures['rising']} of {figures['series']} series; trend p = {figures['p']:.2g}"
        )
    head = "By dose: the share of the species lost at the projector, % [95 %], and the verdict (? not certain)."
    return ["", head, *aligned(table), said]


def _strength(judged: Judged) -> str:
    if judged.lost is None or judged.lost_low is None or judged.lost_high is None:
        return judged.found
    size = f"{100 * judged.lost:.0f} [{100 * judged.lost_low:.0f}, {100 * judged.lost_high:.0f}]"
    return f"{size} {judged.found}{'' if judged.confident else ' ?'}"


def dosed(found: Sequence[Judged]) -> list[Judged]:
    """The level that is attenuated, of organisms that come in degrees."""
    level = {judged.level for judged in found if judged.dose and judged.planted != "none"}
    series = [judged for judged in found if judged.dose is not None and judged.level in level]
    mixed = {judged.weights for judged in series if judged.dose not in (None, 1.0)}
    return [judged for judged in series if judged.weights in mixed]


def trend(found: Sequence[Judged]) -> dict[str, Any] | None:
    """Whether what is lost rises with the dose: Page's test (1963) over series, one per folder and world, Kendall's of
    a single one; exact, one-sided. None without three doses."""
    import numpy as np
    from scipy.stats import kendalltau, page_trend_test

    series = dosed(found)
    doses = sorted({judged.dose for judged in series if judged.dose is not None})
    rows = []
    for place in dict.fromkeys((judged.weights, judged.world) for judged in series):
        lost = {j.dose: j.lost or 0.0 for j in series if (j.weights, j.world) == place}
        if len(lost) == len(doses):
            rows.append([lost[dose] for dose in doses])
    if len(doses) < 3 or not rows:
        return None
    if len(rows) > 1:
        p = page_trend_test(np.array(rows), method="exact").pvalue
    else:
        p = np.asarray(kendalltau(doses, rows[0], alternative="greater"))[1]
    rising = [bool(np.all(np.diff(row) > 0)) for row in rows]
    return {"doses": doses, "series": len(rows), "p": float(p), "rising": sum(rising)}


def _said(judged: Judged) -> str:
    sure = "certain" if judged.confident else "not certain"
    return (
        f"{judged.organism} ({judged.weights}, training seed {judged.training_seed}), world {judged.world}, "
        f"{judged.level}: {judged.planted} planted, {judged.found} found ({sure})"
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell, a rule below the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
