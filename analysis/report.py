"""`python -m analysis report`: a probe run as one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis import figures
from analysis.config import ReportConfig
from analysis.intervals import HCA, Change, Hits, changes
from analysis.sections import sections
from analysis.tracked import report_of
from commandline import InputError
from probing import table
from probing.results import ProbeRun
from probing.scores import Record
from tracking import track


def run(config: ReportConfig) -> None:
    """Write the report and say where. Raises InputError."""
    probes = ProbeRun.open(config.run)
    out = Path(config.out) if config.out else probes.path / "report.html"
    text = render(probes)
    beside = out.with_name(out.name + ".new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give another --out") from error
    print(f"{out}: {len(text.encode()) / 1e3:,.0f} kB, one file")
    track(config.wandb, lambda: report_of(config, probes, out))


def render(probes: ProbeRun) -> str:
    """The report as HTML."""
    summary, hca = probes.summary, probes.hca
    levels = [entry["level"] for entry in summary["levels"] if not entry["unscored"]]
    sites = [record["site"] for record in hca]
    hits = Hits.of(probes.predictions(), sites, levels)
    model = [record for record in hca if record["stage"] != figures.BASELINE]
    pairs = stage_ends(model)
    settings = summary["config"]
    found = changes(hits, pairs, settings["bootstrap"], settings["seed"])
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=f"{_name(summary['store'].get('model'))} on {_name(summary['store'].get('dataset'))}",
        summary=summary,
        headline=headline(model, found)
        if summary["protocol"] != "paper"
        else published_headline(model, summary["config"]["epochs"]),
        curves=Markup(figures.accuracy_curves(probes.probes, sites, levels)),
        bits_curves=Markup(figures.bits_curves(probes.probes, sites, levels)),
        baselines=[record["site"] for record in hca if record["stage"] == figures.BASELINE],
        hca_curves=Markup(figures.hca_curves(model)),
        sections=sections(probes, levels),
        heatmap=Markup(figures.heatmap(probes.probes, hca, levels)),
        changes=_change_rows(found, [*levels, HCA]),
        change_columns=[*levels, HCA],
        accuracy=table.accuracy_rows(probes.probes, hca, summary),
        macro=table.macro_rows(probes.probes, hca, summary),
        captions=(table.ACCURACY, table.MACRO),
        marks=table.MARKS,
        foot=table.FOOT,
        notes=table.notes(probes.probes, summary),
        certificate=summary["certificate"],
        provenance=provenance(summary),
    )


def stage_ends(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Where a stage begins and ends, as pairs of neighbours: through it, then on to the next."""
    ends: list[str] = []
    for _, group in groupby(records, lambda record: record["stage"]):
        members = [record["site"] for record in group]
        ends += dict.fromkeys([members[0], members[-1]])
    return list(pairwise(ends))


def headline(hca: Sequence[Record], found: Sequence[Change]) -> str:
    """One sentence: where HCA is highest, where it ends, and the largest loss on the way.

    Both places are picked on validation, and what is said of them is from test: a number picked for being the highest
    on test would be too high, and its interval would not cover.
    """
    best, last = max(hca, key=lambda record: record["validation_hca"]), hca[-1]
    text = "Linear probes read the whole path "
    text += f"right most often, by validation, at {best['site']}: HCA {_share(best)} on test"
    if last is not best:
        text += f", and at the last site, {last['site']}, {_share(last)}"
    text += f" (n = {last['n_test']:,} test samples of {last['leaves_test']:,} leaves"
    text += (
        f"; probes of shuffled labels reach {table.percent(max(record['shuffled_high'] for record in hca))} % at most)"
    )
    steps = [change for change in found if change.of == HCA]
    if steps:
        text += f"; {_largest_drop(hca, steps)}"
    return text + "."


def published_headline(hca: Sequence[Record], epochs: int) -> str:
    """What can be said of the published protocol: it has no validation to pick a site by."""
    last = hca[-1]
    text = (
        "Published protocol (arXiv 2505.24840), reproduced with its defects: good to explain a published number, and "
        f"for nothing else. At the last site, {last['site']}, it reports HCA {_share(last)}, each level at the epoch "
        f"that is best on test (n = {last['n_test']:,} test samples of {last['leaves_test']:,} leaves)."
    )
    return " ".join([text, *table.shortened(epochs)])


def _largest_drop(hca: Sequence[Record], steps: Sequence[Change]) -> str:
    """Where validation HCA drops most between stage ends, and by how much test HCA does there."""
    validation = {record["site"]: record["validation_hca"] for record in hca}
    worst = min(steps, key=lambda change: validation[change.after] - validation[change.before])
    if validation[worst.after] >= validation[worst.before]:
        return "between stage ends validation HCA drops nowhere"
    text = f"the largest drop between stage ends, by validation, is from {worst.before} to {worst.after}: "
    return f"{text}{_points(worst)} points on test" + ("" if worst.high < 0 else ", which is not clear of 0")


def provenance(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What a reader needs to repeat the run, as (name, value)."""
    store, versions = summary["store"], summary["versions"]
    model, dataset = store.get("model") or {}, store.get("dataset") or {}
    rows = [
        ("model", _items(model, ("id", "revision", "class", "dtype", "random_init", "config_hash"))),
        ("dataset", _items(dataset, ("name", "fingerprint", "split_source"))),
        ("prompt", f"{store.get('prompt')!r}" + (f", system {store['system']!r}" if store.get("system") else "")),
        ("pooling", str(store.get("pool"))),
        (
            "store",
            f"{store['name']}, attributes sha256 {store['attributes_sha256']}, rows {_items(store['rows'])}",
        ),
        ("split", f"{summary['split']['source']}; rows {_items(summary['split']['rows'])}"),
        ("protocol", summary["protocol"]),
        ("settings", _items(summary["config"])),
        ("device", summary["device"]),
        ("versions", _items(versions)),
        ("made", f"{summary['created']}, in {summary['seconds']:g} s"),
    ]
    return [(name, value) for name, value in rows if value and value != "None"]


def _change_rows(found: Sequence[Change], columns: Sequence[str]) -> list[dict[str, Any]]:
    cells = {(change.before, change.after, change.of): change for change in found}
    pairs = dict.fromkeys((change.before, change.after) for change in found)
    return [
        {
            "before": before,
            "after": after,
            "n": cells[before, after, HCA].n,
            "cells": [
                {"text": _points(cells[before, after, column]), "bold": cells[before, after, column].clear}
                for column in columns
            ],
        }
        for before, after in pairs
    ]


def _share(record: Record) -> str:
    return f"{table.percent(record['hca'])} % [{table.percent(record['hca_low'])}, {table.percent(record['hca_high'])}]"


def _points(change: Change) -> str:
    return f"{100 * change.difference:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def _items(values: dict[str, Any], keys: Sequence[str] | None = None) -> str:
    chosen = {key: values.get(key) for key in (keys or values)}
    return ", ".join(f"{key} {value}" for key, value in chosen.items() if value not in (None, "", False))


def _name(values: dict[str, Any] | None) -> str:
    known = values or {}
    return str(known.get("name") or known.get("id") or "unnamed")
