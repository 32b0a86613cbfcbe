"""The verdicts as text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from analysis.geometry.parts import Record

GIVEN = "{child} given {parent}"


def table(made: Mapping[str, Sequence[Record]], summary: Mapping[str, Any]) -> str:
    """A block per kind of direction and inner product, a row per site, a column per pair of levels."""
    lines = textwrap.wrap(str(summary["rule"]), 110)
    verdicts = made["verdicts"]
    for way, product in dict.fromkeys((record["directions"], record["inner_product"]) for record in verdicts):
        mine = [one for one in verdicts if (one["directions"], one["inner_product"]) == (way, product)]
        pairs = list(dict.fromkeys((one["parent"], one["child"]) for one in mine))
        rows = [["site", *(GIVEN.format(parent=parent, child=child) for parent, child in pairs)]]
        for site, group in groupby(mine, lambda record: record["site"]):
            cells = {(record["parent"], record["child"]): record for record in group}
            rows.append([site, *(cell(cells[pair]) for pair in pairs)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += ["", f"{way} directions, {product} inner product (|cos| of child - parent with parent [95 %])"]
        lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for record in made["generalisation"]:
        lines += ["", generalised(record)] if record is made["generalisation"][0] else [generalised(record)]
    if not made["generalisation"] and summary["store"]["name"]:
        lines += ["", "no probes of unseen leaves to compare with: `python -m probing STORE --split leaf` makes them"]
    return "\n".join(lines)


def cell(record: Record) -> str:
    """`orthogonal 0.050 [0.010, 0.090]`."""
    if record["alignment"] != record["alignment"]:
        return str(record["verdict"])
    return f"{record['verdict']} {span(record['alignment'], record['low'], record['high'])}"


def span(value: float, low: float, high: float) -> str:
    """A number and its interval."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def generalised(record: Record) -> str:
    """One sentence on whether orthogonality goes with probes of unseen leaves."""
    pair = GIVEN.format(**record)
    text = (
        f"{pair} ({record['directions']}, {record['inner_product']}): over {record['n']} sites, the rank correlation "
    )
    text += f"of |cos| with the accuracy of {record['parent']} probes on unseen leaves is "
    return text + f"{span(record['value'], record['low'], record['high'])}, p = {record['p_value']:.2g}"
