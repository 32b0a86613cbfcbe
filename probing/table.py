"""The printed table: sites down, levels across, each number with its interval, the nulls at the bottom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from probing.scores import Record
from taxonomy.splits import SPLITS

MARKS = "~ within the site's shuffled-label null, ^ penalty at the end of its grid, ! a fit did not converge"
LEGEND = """\
HCA: every level right, each answered by its own probe. product: what HCA would be if levels failed independently.
leaf lookup: the path of the predicted leaf. majority: always the class most common in training. shuffled: probes
fitted on shuffled labels, their mean over sites and the range of their 95 % nulls. n: test samples (their leaves)."""
ACCURACY = "Accuracy on test, % [95 % interval over leaves]"
MACRO = "Macro accuracy (the mean over classes), % [95 % interval over classes and their leaves]"

FOOT = 3
"""Rows below the sites: majority, shuffled, n."""


def table(probes: Sequence[Record], hca: Sequence[Record], summary: Mapping[str, Any]) -> str:
    """The results of a run as text."""
    parts = [
        f"{ACCURACY}. {MARKS}.",
        _aligned(accuracy_rows(probes, hca, summary)),
        LEGEND,
        "",
        f"{MACRO}.",
        _aligned(macro_rows(probes, hca, summary)),
        "",
        *notes(probes, summary),
    ]
    return "\n".join(parts)


def accuracy_rows(probes: Sequence[Record], hca: Sequence[Record], summary: Mapping[str, Any]) -> list[list[str]]:
    """Cells: a head row, a row per site, and the rows of `FOOT`."""
    levels, columns = _columns(probes, hca, summary)
    rows = [["site", *levels, "HCA", "product", "leaf lookup"]]
    for index, record in enumerate(hca):
        chance = "~" if record["hca"] <= record["shuffled_high"] else ""
        paths = [interval(record, "hca") + chance, percent(record["product"]), interval(record, "leaf_lookup")]
        rows.append([record["site"], *(marked(column[index]) for column in columns), *paths])
    first = [column[0] for column in columns]
    rows.append(["majority", *(percent(cell["majority"]) for cell in first), percent(hca[0]["majority_path"]), "", ""])
    rows.append(["shuffled", *(null(column) for column in columns), null(hca), "", ""])
    rows.append(["n (leaves)", *(f"{cell['n_test']:,} ({cell['leaves_test']:,})" for cell in [*first, hca[0]]), "", ""])
    return rows


def macro_rows(probes: Sequence[Record], hca: Sequence[Record], summary: Mapping[str, Any]) -> list[list[str]]:
    """Cells, as `accuracy_rows`."""
    levels, columns = _columns(probes, hca, summary)
    rows = [["site", *levels]]
    for index, record in enumerate(hca):
        rows.append([record["site"], *(interval(column[index], "macro_accuracy", "macro") for column in columns)])
    first = [column[0] for column in columns]
    rows.append(["majority", *(percent(1 / cell["classes_test"]) for cell in first)])
    rows.append(["shuffled", *(null(column, "shuffled_macro") for column in columns)])
    rows.append(["classes in test", *(f"{cell['classes_test']:,}" for cell in first)])
    return rows


def _columns(
    probes: Sequence[Record], hca: Sequence[Record], summary: Mapping[str, Any]
) -> tuple[list[str], list[list[Record]]]:
    """The scored levels, and the records of each, site after site."""
    levels = [entry["level"] for entry in summary["levels"] if not entry["unscored"]]
    cells = {(record["site"], record["level"]): record for record in probes}
    return levels, [[cells[record["site"], level] for record in hca] for level in levels]


def notes(probes: Sequence[Record], summary: Mapping[str, Any]) -> list[str]:
    """What a reader of the table has to know besides: the split, unscored levels, unseen nodes, failed fits."""
    rows = summary["split"]["rows"]
    counts = ", ".join(f"{rows[part]:,} {part}" for part in SPLITS if part in rows)
    lines = [f"Split {summary['split']['source']}: {counts}"]
    lines += [f"Level {e['level']} is not scored: {e['unscored']}." for e in summary["levels"] if e["unscored"]]
    unseen = {record["level"]: record["unseen"] for record in probes if record.get("unseen")}
    lines += [
        f"Test samples whose {level} was never trained on: {count:,}; they count as wrong."
        for level, count in unseen.items()
    ]
    alone = {record["level"] for record in probes if not record["unscored"] and record["classes_test"] == 1}
    lines += [f"Only one {level} is in test: its accuracy tells nothing apart." for level in sorted(alone)]
    lost = sum(not (record["converged"] and record["path_converged"]) for record in probes if not record["unscored"])
    if lost:
        lines.append(f"{lost} of {len(probes)} probes have a fit that did not reach its tolerance; raise --max_iter.")
    return lines


def marked(cell: Record) -> str:
    """A level's accuracy with its interval and the marks it has earned."""
    marks = "~" if cell["accuracy"] <= cell["shuffled_high"] else ""
    marks += "^" if cell["penalty_at_edge"] else ""
    marks += "" if cell["converged"] and cell["path_converged"] else "!"
    return interval(cell, "accuracy") + marks


def interval(record: Record, name: str, stem: str | None = None) -> str:
    """`71.2 [68, 74]`, in percent; the ends are `<stem>_low` and `<stem>_high`."""
    if math.isnan(record[name]):
        return "-"
    stem = stem or name
    return f"{percent(record[name])} {_ends(record[f'{stem}_low'], record[f'{stem}_high'])}"


def null(records: Sequence[Record], name: str = "shuffled") -> str:
    """The nulls of all sites in one: their mean, and the hull of their intervals."""
    middle = sum(record[name] for record in records) / len(records)
    low, high = min(record[f"{name}_low"] for record in records), max(record[f"{name}_high"] for record in records)
    return f"{percent(middle)} {_ends(low, high)}"


def percent(share: float) -> str:
    """`71.2`; a dash where there is no number."""
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def _ends(low: float, high: float) -> str:
    """An interval's ends: whole percents, which is as much as they are known to, but below 10 with a decimal."""
    return "[" + ", ".join(f"{100 * end:.0f}" if end >= 0.0995 else f"{100 * end:.1f}" for end in (low, high)) + "]"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, with rules below the head and above the foot."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([lines[0], rule, *lines[1:-FOOT], rule, *lines[-FOOT:]])
