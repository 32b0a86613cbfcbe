"""The folder of results: tables, figures, one page and a summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.geometry.assembling import tables
from analysis.geometry.page import drawings, page
from analysis.geometry.parts import Part, Record
from analysis.geometry.table import table
from probing.results import write_summary, write_table, writing

KIND = "geometry"
PAGE = "orthogonality.html"


def write(
    out: Path,
    found: Sequence[Part],
    random: Sequence[Part],
    held_out: Sequence[Record],
    summary: dict[str, Any],
    published: Sequence[Record] = (),
) -> None:
    """Write everything, whole or not at all, and print the verdicts. published: Park et al.'s criterion, per edge."""
    made = tables(found, random, held_out) | ({"published": list(published)} if published else {})
    keys = ("site", "directions", "inner_product", "parent", "child", "verdict")
    summary |= {"verdicts": [{key: record[key] for key in keys} for record in made["verdicts"]]}
    with writing(out, KIND) as folder:
        for name, records in made.items():
            write_table(folder, name, records)
        _write_cosines(folder / "cosines.parquet", found)
        drawn = drawings(made, found, summary)
        for shown in drawn:
            shown.drawing.write(folder)
        (folder / PAGE).write_text(page(made, drawn, summary), encoding="utf-8")
        write_summary(folder, summary, KIND)
    print(table(made, summary))
    print(f"\n{out}: {PAGE}, {', '.join(f'{name}.parquet' for name in (*made, 'cosines'))}, summary.json, figures")


def _write_cosines(file: Path, parts: Sequence[Part]) -> None:
    """A row per unit and node: its cosines with every node, in the order of the tree."""
    columns: dict[str, list[Any]] = {"site": [], "directions": [], "inner_product": [], "node": [], "cosines": []}
    for part in parts:
        names = [record["node"] for record in part.records["nodes"]]
        for name, row in zip(names, part.cosines, strict=True):
            for key, value in {**part.unit.place, "node": name, "cosines": row}.items():
                columns[key].append(value)
    pq.write_table(pa.table(columns), file)
