"""The erasures as text."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.erasure.scores import Record

WHOSE = {"probe": "probes", "answers": "the model's answers"}
NOTES = (
    "% right on test after the erasure, change in points [95 % interval over leaves, paired]. Probes are fitted anew,",
    "and choose among the children of the true parent; chance is its commonest child. The model's answers are its",
    "likeliest letters; chance is a blind choice among the options below the true parent. * the erased level;",
    "^ a coarser level, erased with it; ~ answers at a finer level, which rest on the erased one: neither counts",
    "against selectivity. random: a subspace of equal rank, for probes the mean over draws.",
)


def table(records: Sequence[Record], totals: Sequence[Record], levels: Sequence[str]) -> str:
    """A block per site and kind of measurement, a row per erasure; a column per level and the reliability."""
    lines = list(NOTES)
    shown = [record for record in records if record["quantity"] != "plain"]
    for site, measured in dict.fromkeys((record["site"], record["measured"]) for record in shown):
        mine = [record for record in shown if (record["site"], record["measured"]) == (site, measured)]
        rows = [["erased", "by", "rank", *(f"{level} (n)" for level in levels), "complete", "selective", "reliability"]]
        rows.append(["nothing", "", "", *(_before(mine, level) for level in levels), "", "", ""])
        rows.append(["chance", "", "", *(_chance(mine, level) for level in levels), "", "", ""])
        for level, method in dict.fromkeys((record["level"], record["method"]) for record in mine):
            these = [record for record in mine if (record["level"], record["method"]) == (level, method)]
            whole = [one for one in totals if _key(one) == (site, measured, level, method)]
            cells = [_cell([record for record in these if record["of"] == of]) for of in levels]
            rows.append([level, method, str(these[0]["rank"]), *cells, *_whole(whole)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += ["", f"{site}, {WHOSE[measured]}"]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    return "\n".join(lines)


def _key(record: Record) -> tuple[str, str, str, str]:
    return record["site"], record["measured"], record["level"], record["method"]


def _before(records: Sequence[Record], level: str) -> str:
    found = [record for record in records if record["of"] == level]
    return f"{_percent(found[0]['before'])} ({found[0]['n']})" if found else ""


def _chance(records: Sequence[Record], level: str) -> str:
    found = [record for record in records if record["of"] == level]
    return _percent(found[0]["chance"]) if found else ""


def _cell(draws: Sequence[Record]) -> str:
    if not draws:
        return ""
    first = draws[0]
    mark = {"erased": "*", "erased with it": "^", "rests on it": "~", "kept": ""}[first["relation"]]
    after, change = (sum(record[key] for record in draws) / len(draws) for key in ("after", "difference"))
    span = f" [{100 * first['low']:+.0f}, {100 * first['high']:+.0f}]" if len(draws) == 1 else ""
    return f"{_percent(after)}{mark} {100 * change:+.1f}{span}"


def _whole(draws: Sequence[Record]) -> list[str]:
    cells = []
    for key in ("completeness", "selectivity", "reliability"):
        values = [record[key] for record in draws]
        mean = sum(values) / len(values)
        span = f" [{draws[0][f'{key}_low']:.2f}, {draws[0][f'{key}_high']:.2f}]" if len(draws) == 1 else ""
        cells.append("\u2013" if mean != mean else f"{mean:.2f}{span}")
    return cells


def _percent(share: float) -> str:
    return "\u2013" if share != share else f"{100 * share:.1f}"
