"""`orthogonality.html`: one page that needs nothing beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.figures import DARK, variables
from analysis.geometry import figures
from analysis.geometry.assembling import RANDOM_INIT
from analysis.geometry.figures import Shown
from analysis.geometry.parts import Part, Record
from analysis.geometry.table import GIVEN, generalised, span

Tables = Mapping[str, Sequence[Record]]
SHOWN = ("mean |cos|", "mean |cos| in sample", "RMS cos", "subspace overlap", "RMS deviation from the simplex")
"""Statistics whose nulls the page shows; the Parquet file has them all."""


def drawings(made: Tables, found: Sequence[Part], summary: Mapping[str, Any]) -> list[Shown]:
    """Every figure. Of the first kind of direction and inner product; heatmaps at the last site of each stage."""
    first = found[0].unit
    mine = [one for one in made["verdicts"] if _same(one, first.directions, first.inner_product)]
    way = f"{first.directions} directions, {first.inner_product} inner product"
    drawn = []
    if any(record["alignment"] == record["alignment"] for record in mine):
        caption = (
            "Marks: what the rule reads, the root mean square cosine of child - parent with parent, less noise, and "
            "its 95 % interval. Line: the mean |cos|, which finite samples and few dimensions keep above 0; bands: "
            "what it is when leaves are hung elsewhere in the tree, and when images are dealt among the leaves."
        )
        draw = partial(figures.layers, mine, summary["config"]["margin"])
        drawn.append(Shown.of("layers", f"Orthogonality site by site ({way})", caption, draw))
    *earlier, final = ends(summary["sites"])
    for site in (final, *reversed(earlier)):
        part = next(part for part in found if part.unit.site == site and _same(part.unit.place, *_way(first)))
        if not part.records["nodes"]:
            continue
        caption = (
            "In sample, depth first: a node stands below its parent. Red: alike. Lines part the nodes of the top level."
        )
        draw = partial(figures.heatmap, part.cosines, part.records["nodes"], site)
        title = f"Cosines between the directions of nodes at {site}"
        drawn.append(Shown.of(f"cosines-{site}", title, caption, draw, folded=site != final))
    last = next((part for part in reversed(found) if _same(part.unit.place, *_way(first))), found[-1])
    if last.records["siblings"]:
        caption = (
            "Offsets of siblings from their parent, noise taken off. Any k directions that sum to 0 and are alike in "
            "length and angle make a regular simplex; noise does too, so look at the spread, and at its null below."
        )
        draw = partial(figures.simplex, last.records["siblings"], last.unit.site)
        drawn.append(Shown.of("simplex", f"Siblings at {last.unit.site}", caption, draw))
    return drawn


def page(made: Tables, drawn: Sequence[Shown], summary: Mapping[str, Any]) -> str:
    """The page as HTML; every text is escaped, figures are inline."""
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("orthogonality.html.j2").render(
        title=f"{_name(summary['store']['model'])} on {_name(summary['store']['dataset'])}",
        summary=summary,
        headlines=headlines(made["verdicts"]),
        figures=drawn,
        palette=(variables(), variables(DARK)),
        verdicts=verdict_tables(made["verdicts"]),
        nulls=null_tables(made["geometry"]),
        explained=explained_table(made["geometry"]),
        levels=level_tests(made["levels"]),
        conditioning=conditioning(made["verdicts"]),
        reasons=reasons(made["verdicts"]),
        generalisation=[generalised(record) for record in made["generalisation"]],
        published=published(made.get("published", ())),
        store=summary["store"]["name"] is not None,
        provenance=provenance(summary),
    )


def ends(sites: Sequence[Record]) -> list[str]:
    """The last site of every stage."""
    return [[site["site"] for site in group][-1] for _, group in groupby(sites, lambda site: site["stage"])]


def headlines(verdicts: Sequence[Record]) -> list[str]:
    """A sentence per pair of levels, of the first kind of direction and inner product."""
    first = verdicts[0]
    mine = [one for one in verdicts if _same(one, first["directions"], first["inner_product"])]
    said = []
    for parent, child in dict.fromkeys((record["parent"], record["child"]) for record in mine):
        these = [record for record in mine if (record["parent"], record["child"]) == (parent, child)]
        counts = Counter(record["verdict"] for record in these)
        parts = [f"{verdict} at {_sites(these, verdict)}" for verdict, _ in counts.most_common()]
        said.append(f"{GIVEN.format(parent=parent, child=child)}: {', '.join(parts)}.")
    return said


def verdict_tables(verdicts: Sequence[Record]) -> list[dict[str, Any]]:
    """Per kind of direction and inner product: sites down, pairs of levels across."""
    made = []
    for way, product in dict.fromkeys((record["directions"], record["inner_product"]) for record in verdicts):
        mine = [record for record in verdicts if _same(record, way, product)]
        pairs = list(dict.fromkeys((record["parent"], record["child"]) for record in mine))
        rows = []
        for site, group in groupby(mine, lambda record: record["site"]):
            cells = {(record["parent"], record["child"]): record for record in group}
            rows.append({"site": site, "cells": [_verdict_cell(cells[pair]) for pair in pairs]})
        columns = [GIVEN.format(parent=parent, child=child) for parent, child in pairs]
        made.append({"title": f"{way} directions, {product} inner product", "columns": columns, "rows": rows})
    return made


def null_tables(statistics: Sequence[Record]) -> list[dict[str, Any]]:
    """Per statistic, of the first kind of direction and inner product: the value beside each null."""
    first = statistics[0] if statistics else {}
    made = []
    for statistic in SHOWN:
        mine = [one for one in statistics if one["statistic"] == statistic and _same(one, *_way(first))]
        rows = []
        for record in mine:
            if record["null"] is None:
                continue
            null = {"leaves": "leaves re-hung", "rows": "rows permuted", RANDOM_INIT: "untrained model"}
            rows.append(
                [
                    record["site"],
                    GIVEN.format(**record) if record.get("parent") else str(record["child"]),
                    _span(record["value"], record["low"], record["high"]),
                    null.get(record["null"], record["null"]),
                    _span(record["null_mean"], record["null_low"], record["null_high"]),
                    _number(record["p_value"], ".3f"),
                    _number(record["effect"], "+.1f"),
                    f"{record['n']:,}",
                ]
            )
        if rows:
            made.append({"title": statistic, "rows": rows})
    return made


def explained_table(statistics: Sequence[Record]) -> list[list[str]]:
    """How much of the leaf means' variance each level explains, beside re-hung trees."""
    first = statistics[0] if statistics else {}
    return [
        [
            record["site"],
            record["child"],
            _number(record["value"], ".2f"),
            _span(record["null_mean"], record["null_low"], record["null_high"]),
            _number(record["p_value"], ".3f"),
        ]
        for record in statistics
        if record["statistic"] == "explained" and record["null"] == "leaves" and _same(record, *_way(first))
    ]


def level_tests(levels: Sequence[Record]) -> list[list[str]]:
    """Whether the children of a level's nodes share a direction, site by site."""
    first = levels[0] if levels else {}
    return [
        [
            record["site"],
            record["level"],
            record["dealt"] if record["tested"] else "cannot be tested",
            _number(record.get("arrangements"), ",.0f"),
            _number(record.get("effect"), "+.1f"),
            _number(record.get("p_value"), ".3f"),
        ]
        for record in levels
        if _same(record, *_way(first))
    ]


def conditioning(verdicts: Sequence[Record]) -> list[list[str]]:
    """A row per site, kind of direction and inner product."""
    rows = {}
    for record in verdicts:
        key = record["site"], record["directions"], record["inner_product"]
        rows[key] = [
            *key,
            f"{record['n']:,}",
            f"{record['d']:,}",
            _number(record["n_per_d"], ".1f"),
            _number(record["effective_rank"], ".1f"),
            _number(record["effective_rank_of_means"], ".1f"),
            _number(record["shrinkage"], ".3f"),
            record["refused"] or "",
        ]
    return list(rows.values())


def published(records: Sequence[Record]) -> list[list[str]]:
    """Park et al.'s criterion: per estimator the mean over edges beside its controls."""
    names = {"cos": "true parent", "rows_permuted": "true parent, rows permuted", "random_parent": "random parent"}
    names["cos_with_parent_offset"] = "parent's offset"
    rows = []
    for estimator in dict.fromkeys(record["estimator"] for record in records):
        for key, name in names.items():
            values = [one[key] for one in records if one["estimator"] == estimator and one[key] == one[key]]
            mean = sum(values) / len(values) if values else float("nan")
            size = sum(map(abs, values)) / len(values) if values else float("nan")
            rows.append([estimator, name, _number(mean, "+.3f"), _number(size, ".3f"), f"{len(values):,}"])
    return rows


def reasons(verdicts: Sequence[Record]) -> list[list[str]]:
    """Why, in words."""
    return [
        [
            record["site"],
            f"{record['directions']}, {record['inner_product']}",
            GIVEN.format(**record),
            record["verdict"],
            record["reason"],
        ]
        for record in verdicts
    ]


def provenance(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a reader needs to repeat the run."""
    store, model = summary["store"], summary["store"]["model"] or {}
    rows = [
        ("model", ", ".join(f"{key} {model[key]}" for key in ("id", "revision", "class", "dtype") if model.get(key))),
        ("data set", _name(store["dataset"])),
        ("pooling", store.get("pool") or ""),
        ("store", f"{store['name']}, attributes sha256 {store['attributes_sha256']}" if store["name"] else ""),
        ("rows", f"{summary['rows']:,} ({summary['config']['split'] or 'all'})"),
        ("words", ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in summary.get("words", {}).items())),
        ("untrained model", summary["random_init"]["name"] if summary["random_init"] else "none given"),
        ("settings", ", ".join(f"{key} {value}" for key, value in summary["config"].items() if value is not None)),
        ("time", f"{summary['seconds']:g} s"),
    ]
    return [(name, value) for name, value in rows if value]


def _sites(records: Sequence[Record], verdict: str) -> str:
    names = [record["site"] for record in records if record["verdict"] == verdict]
    if len(names) == len(records) > 1:
        return f"all {len(names)} sites"
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} of {len(records)} sites"


def _verdict_cell(record: Record) -> dict[str, str]:
    kind = str(record["verdict"]).replace(" ", "-")
    value = (
        "" if record["alignment"] != record["alignment"] else span(*(record[k] for k in ("alignment", "low", "high")))
    )
    return {"verdict": record["verdict"], "value": value, "kind": kind, "reason": record["reason"]}


def _way(of: Any) -> tuple[str, str]:
    if isinstance(of, Mapping):
        return of.get("directions", ""), of.get("inner_product", "")
    return of.directions, of.inner_product


def _same(record: Mapping[str, Any], directions: str, inner_product: str) -> bool:
    return record["directions"] == directions and record["inner_product"] == inner_product


def _number(value: Any, form: str) -> str:
    return "\u2013" if value is None or value != value else format(value, form)


def _span(value: Any, low: Any, high: Any) -> str:
    if low is None or low != low:
        return _number(value, ".3f")
    return f"{_number(value, '.3f')} [{_number(low, '.3f')}, {_number(high, '.3f')}]"


def _name(values: Mapping[str, Any] | None) -> str:
    known = values or {}
    return str(known.get("name") or known.get("id") or "unnamed")
