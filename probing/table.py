"""The printed table: sites down, levels across, each number with its interval, the nulls at the bottom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from probing.scores import Record

MARKS = "~ within the shuffled-label null, ^ penalty at the end of its grid, ! a fit did not converge"


def table(probes: Sequence[Record], hca: Sequence[Record], summary: Mapping[str, Any]) -> str:
    """The results of a run as text."""
    levels = [entry["level"] for entry in summary["levels"] if not entry["unscored"]]
    cells = {(record["site"], record["level"]): record for record in probes}
    sites = [record["site"] for record in hca]
    first = [cells[sites[0], level] for level in levels]
    main = [["site", *levels, "HCA", "product", "leaf lookup"]]
    for record in hca:
        row = [cells[record["site"], level] for level in levels]
        path = [_interval(record, "hca"), _percent(record["product"]), _interval(record, "leaf_lookup")]
        main.append([record["site"], *(_marked(cell) for cell in row), *path])
    main.append(
        ["majority", *(_percent(cell["majority"]) for cell in first), _percent(hca[0]["majority_path"]), "", ""]
    )
    shuffled = [[cells[site, level] for site in sites] for level in levels]
    main.append(["shuffled", *map(_null, shuffled), _null(hca), "", ""])
    main.append(["n (leaves)", *(f"{cell['n_test']:,} ({cell['leaves_test']:,})" for cell in first)])
    main[-1] += [f"{hca[0]['n_test']:,} ({hca[0]['leaves_test']:,})", "", ""]
    macro = [["site", *levels]]
    macro += [[site, *(_interval(cells[site, level], "macro_accuracy", "macro") for level in levels)] for site in sites]
    macro.append(["shuffled", *(_null(column, "shuffled_macro") for column in shuffled)])
    parts = [
        f"Accuracy on test, % [95 % interval over leaves]. {MARKS}.",
        _aligned(main, rules=(1, len(main) - 3)),
        "",
        "Macro accuracy (the mean over classes), % [95 % interval over classes].",
        _aligned(macro, rules=(1, len(macro) - 1)),
        *_notes(probes, summary),
    ]
    return "\n".join(parts)


def _notes(probes: Sequence[Record], summary: Mapping[str, Any]) -> list[str]:
    rows = summary["split"]["rows"]
    notes = [f"Split {summary['split']['source']}: " + ", ".join(f"{count:,} {part}" for part, count in rows.items())]
    notes += [f"Level {e['level']} is not scored: {e['unscored']}." for e in summary["levels"] if e["unscored"]]
    unseen = {record["level"]: record["unseen"] for record in probes if record.get("unseen")}
    notes += [
        f"{count:,} test samples are of a {level} never trained on; they count as wrong."
        for level, count in unseen.items()
    ]
    lost = sum(not (record["converged"] and record["path_converged"]) for record in probes if not record["unscored"])
    if lost:
        notes.append(f"{lost} of {len(probes)} probes have a fit that did not reach its tolerance; raise --max_iter.")
    return ["", *notes]


def _marked(cell: Record) -> str:
    marks = "~" if cell["accuracy"] <= cell["shuffled_high"] else ""
    marks += "^" if cell["penalty_at_edge"] else ""
    marks += "" if cell["converged"] and cell["path_converged"] else "!"
    return _interval(cell, "accuracy") + marks


def _interval(record: Record, name: str, stem: str | None = None) -> str:
    if math.isnan(record[name]):
        return "-"
    stem = stem or name
    return f"{_percent(record[name])} [{_percent(record[f'{stem}_low'])}, {_percent(record[f'{stem}_high'])}]"


def _null(records: Sequence[Record], name: str = "shuffled") -> str:
    """The nulls of all sites in one: their mean, and the hull of their intervals."""
    middle = sum(record[name] for record in records) / len(records)
    low, high = min(record[f"{name}_low"] for record in records), max(record[f"{name}_high"] for record in records)
    return f"{_percent(middle)} [{_percent(low)}, {_percent(high)}]"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def _aligned(rows: Sequence[Sequence[str]], rules: Sequence[int]) -> str:
    """Columns as wide as their widest cell, with a rule before each row of `rules`."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for index in sorted(rules, reverse=True):
        lines.insert(index, "-" * (sum(widths) + 2 * len(widths) - 2))
    return "\n".join(lines)
