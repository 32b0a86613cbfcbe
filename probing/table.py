"""The printed table: sites down, levels across, each number with its interval, the nulls at the bottom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from probing.scores import Record
from taxonomy.splits import SPLITS

MARKS = "~ not above chance, ^ penalty at the end of its grid, ! a fit did not converge"
LEGEND = """\
HCA: every level right, each answered by its own probe. product: what HCA would be if levels failed independently.
leaf lookup: the path of the predicted leaf. joint: the most probable path. re-hung: HCA when the leaves are dealt
anew over the tree; a lookup of leaves does as well there. majority: always the class most common in training.
shuffled: probes fitted on shuffled labels, their mean over sites and the range of their 95 % nulls. n: test samples
(their leaves). ~: p > 0.05 against shuffled labels, adjusted for all accuracies of the table (max-T, step-down)."""
PUBLISHED = """\
PUBLISHED PROTOCOL (arXiv 2505.24840), reproduced with its defects: good to explain a published number, and for nothing
else. The strict protocol is `python -m probing STORE`; `python -m probing compare STORE` says what each costs."""
EPOCHS = 500
"""Of the published training."""
ALPHA = 0.05
ACCURACY = "Accuracy on test, % [95 % interval over leaves]"
MACRO = "Macro accuracy (the mean over classes), % [95 % interval over classes and their leaves]"
BITS = (
    "Usable information, bits per test sample: the prior's cross-entropy less the probe's [95 % interval over leaves]"
)
DETAILS = (
    "re-hung: leaves dealt anew over the tree; control: a random class per leaf; selectivity: accuracy less control; "
    "ECE in 15 bins of equal mass, KS without bins, no temperature fitted"
)

FOOT = 3
"""Rows below the sites: majority, shuffled, n."""


def table(probes: Sequence[Record], hca: Sequence[Record], summary: Mapping[str, Any], wide: bool = False) -> str:
    """The results of a run as text; `wide`: with a table of every level's other numbers."""
    parts = [
        *([PUBLISHED, *shortened(summary["config"]["epochs"]), ""] if summary.get("protocol") == "paper" else []),
        f"{ACCURACY}. {MARKS}.",
        _aligned(accuracy_rows(probes, hca, summary)),
        LEGEND,
        "",
        f"{MACRO}.",
        _aligned(macro_rows(probes, hca, summary)),
        "",
        *(wide_parts(probes, hca, summary) if wide else []),
        *notes(probes, summary),
    ]
    return "\n".join(parts)


def shortened(epochs: int) -> list[str]:
    """What is to be said of a training that is not as long as the published one."""
    if epochs == EPOCHS:
        return []
    return [f"Trained for {epochs:,} epochs, not for the published {EPOCHS}: this explains no published number."]


def accuracy_rows(probes: Sequence[Record], hca: Sequence[Record], summary: Mapping[str, Any]) -> list[list[str]]:
    """Cells: a head row, a row per site, and the rows of `FOOT`."""
    levels, columns = _columns(probes, hca, summary)
    rows = [["site", *levels, "HCA", "product", "leaf lookup", "joint", "re-hung"]]
    for index, record in enumerate(hca):
        failed = "" if record["converged"] and record["path_converged"] else "!"
        whole = interval(record, "hca") + ("~" if record["p_adjusted"] > ALPHA else "") + failed
        others = [interval(record, name) for name in ("leaf_lookup", "joint")]
        rehung = interval(record, "rehung") + ("" if record["controls_converged"] else "!")
        cells = [marked(column[index]) for column in columns]
        rows.append([record["site"], *cells, whole, percent(record["product"]), *others, rehung])
    first, rest = [column[0] for column in columns], [""] * 4
    rows.append(["majority", *(percent(cell["majority"]) for cell in first), percent(hca[0]["majority_path"]), *rest])
    by_chance = [
        "" if math.isnan(hca[0][name]) else null(hca, name) for name in ("shuffled_leaf_lookup", "shuffled_joint")
    ]
    rows.append(["shuffled", *(null(column) for column in columns), null(hca), "", *by_chance, ""])
    rows.append(["n (leaves)", *(f"{cell['n_test']:,} ({cell['leaves_test']:,})" for cell in [*first, hca[0]]), *rest])
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


def bits_rows(probes: Sequence[Record], hca: Sequence[Record], summary: Mapping[str, Any]) -> list[list[str]]:
    """Usable bits of every level, as `accuracy_rows`, with what the prior leaves to be known below."""
    levels, columns = _columns(probes, hca, summary)
    rows = [["site", *levels]]
    rows += [[record["site"], *(bits(column[index]) for column in columns)] for index, record in enumerate(hca)]
    first = [column[0] for column in columns]
    rows.append(["prior entropy", *(f"{cell['prior_log_loss'] / math.log(2):.2f}" for cell in first)])
    return rows


def level_rows(column: Sequence[Record]) -> list[list[str]]:
    """Everything else about a level, a row per site."""
    rows = [
        ["site", "top-5", "log-loss", "bits", "ECE", "KS", "re-hung", "control", "selectivity", "penalty", "p adj."]
    ]
    for cell in column:
        failed = "" if cell["controls_converged"] else "!"
        numbers = [f"{cell['log_loss']:.3f}", bits(cell), f"{cell['ece']:.3f}", f"{cell['ks_error']:.3f}"]
        against = [interval(cell, name) + failed for name in ("rehung", "control", "selectivity")]
        tail = [f"{cell['penalty']:g}", f"{cell['p_adjusted']:.3g}"]
        rows.append([cell["site"], interval(cell, "top5"), *numbers, *against, *tail])
    return rows


def wide_parts(probes: Sequence[Record], hca: Sequence[Record], summary: Mapping[str, Any]) -> list[str]:
    """What `--wide` adds."""
    levels, columns = _columns(probes, hca, summary)
    parts = [f"{BITS}.", _aligned(bits_rows(probes, hca, summary), foot=1), ""]
    for level, column in zip(levels, columns, strict=True):
        parts += [f"{level}: {DETAILS}.", _aligned(level_rows(column), foot=0), ""]
    return parts


def bits(cell: Record) -> str:
    """`1.23 [1.10, 1.35]`; a dash where there is no number."""
    if math.isnan(cell["usable_bits"]):
        return "-"
    return f"{cell['usable_bits']:.2f} [{cell['usable_bits_low']:.2f}, {cell['usable_bits_high']:.2f}]"


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
    copies = summary.get("duplicates")
    if copies and "pictures" in copies:
        lines.append(f"Copies among the images: {copies['pictures']}.")
    if copies and copies["near"]:
        fate = "left out" if copies["dropped"] else "still in; leave them out with --duplicates drop"
        alike = f"{copies['exact']:,} of them the same file, the others from a cosine of {copies['threshold']:g}"
        lines.append(f"Test samples with a copy among the fitted ones: {copies['near']:,} ({alike}); {fate}.")
    unseen = {record["level"]: record["unseen"] for record in probes if record.get("unseen")}
    lines += [
        f"Test samples whose {level} was never trained on: {count:,}; they count as wrong."
        for level, count in unseen.items()
    ]
    alone = {record["level"] for record in probes if not record["unscored"] and record["classes_test"] == 1}
    lines += [f"Only one {level} is in test: its accuracy tells nothing apart." for level in sorted(alone)]
    if apart := [record for record in probes if record.get("accuracy_seed_low") is not None]:
        lines.append(_seeds(apart, summary["draws"]))
    lost = sum(not (record["converged"] and record["path_converged"]) for record in probes if not record["unscored"])
    lines += [f"NOT CERTIFIED: {site}: {reason}." for site, reason in summary.get("uncertified", {}).items()]
    if summary.get("protocol") == "paper":
        lines += [f"As published: {choice['paper']}: {choice['why']}." for choice in summary["choices"]]
        lines.append("!: no fit was solved; the gradient that training left is in probes.parquet (grad_norm).")
    elif lost:
        lines.append(f"{lost} of {len(probes)} probes have a fit that did not reach its tolerance; raise --max_iter.")
    return lines


def _seeds(records: Sequence[Record], draws: Sequence[Sequence[int]]) -> str:
    """How far the seeds go apart."""
    count = sum(map(len, draws))
    if len(draws) == 1:
        return f"{count} seeds: all have this split, and each adds its own shuffled labels and controls."
    spans = [100 * (record["accuracy_seed_high"] - record["accuracy_seed_low"]) for record in records]
    most = records[spans.index(max(spans))]
    return (
        f"{count} seeds, {len(draws)} draws of rows and splits: this is the first; over all, an accuracy goes "
        f"{sum(spans) / len(spans):.1f} points apart on average, at most {max(spans):.1f} ({most['level']} at "
        f"{most['site']})."
    )


def marked(cell: Record) -> str:
    """A level's accuracy with its interval and the marks it has earned."""
    marks = "~" if cell["p_adjusted"] > ALPHA else ""
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
    return "[" + ", ".join(f"{100 * end:.{0 if abs(end) >= 0.0995 else 1}f}" for end in (low, high)) + "]"


def _aligned(rows: Sequence[Sequence[str]], foot: int = FOOT) -> str:
    """Columns as wide as their widest cell, with rules below the head and above the foot."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    body = len(lines) - foot
    return "\n".join([lines[0], rule, *lines[1:body], *([rule, *lines[body:]] if foot else [])])
