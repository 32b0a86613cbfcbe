"""The printed comparison: both protocols per site and level, and what each step from one to the other changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probing.ladder import CHANGES
from probing.table import interval, percent

HEAD = """\
Accuracy on test, %: strict [95 % interval over leaves]; paper, as it reports itself (its epoch); difference, paper less
strict in points [95 %, paired]. ~ strict within its shuffled-label null, ! a strict fit did not converge."""
STEPS_HEAD = """\
From paper to strict, one choice at a time: the change of accuracy in points against the step before, mean over these
sites [95 %, paired]. The changes add up to strict less paper."""


def comparison_table(found: Sequence[dict[str, Any]], steps: Sequence[dict[str, Any]], levels: Sequence[str]) -> str:
    """found: a record per site and level; steps: one per step and level, of the mean over sites."""
    sites = list(dict.fromkeys(record["site"] for record in found))
    cells = {(record["site"], record["level"]): record for record in found}
    rows = [["site", *levels]]
    for site in sites:
        records = [cells[site, level] for level in levels]
        rows.append([site, *(_strict(record) for record in records)])
        rows.append(["  paper", *(_paper(record) for record in records)])
        rows.append(["  difference", *(_points(record, "difference") for record in records)])
    nulls = [[cells[site, level] for site in sites] for level in levels]
    rows.append(["shuffled", *(_null(column) for column in nulls)])
    ladder = {(step["step"], step["level"]): step for step in steps}
    names = list(dict.fromkeys(step["step"] for step in steps))
    first = [percent(ladder[names[0], level]["accuracy"]) for level in levels]
    last = [percent(ladder[names[-1], level]["accuracy"]) for level in levels]
    climbed = [
        ["step", *levels],
        [names[0], *first],
        *([f"+ {name}", *(_points(ladder[name, level], "change") for level in levels)] for name in names[1:]),
        ["= strict", *last],
    ]
    legend = [f"{name}: {CHANGES[name]}." for name in names]
    return "\n".join([HEAD, aligned(rows), "", STEPS_HEAD, aligned(climbed), *legend])


def _strict(record: dict[str, Any]) -> str:
    marks = "~" if record["strict"] <= record["shuffled_high"] else ""
    return interval(record, "strict") + marks + ("" if record["strict_converged"] else "!")


def _paper(record: dict[str, Any]) -> str:
    epoch = "" if record["paper_epoch"] is None else f" ({record['paper_epoch']})"
    return percent(record["paper"]) + epoch


def _points(record: dict[str, Any], name: str) -> str:
    """`+1.2 [-0.3, +2.6]`, in percentage points."""
    low, high = record[f"{name}_low"], record[f"{name}_high"]
    return f"{100 * record[name]:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _null(records: Sequence[dict[str, Any]]) -> str:
    middle = sum(record["shuffled"] for record in records) / len(records)
    low, high = min(record["shuffled_low"] for record in records), max(record["shuffled_high"] for record in records)
    return interval({"shuffled": middle, "shuffled_low": low, "shuffled_high": high}, "shuffled")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, with a rule below the head and above the last row."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
