"""What a comparison of runs tells wandb: each run's shares, their differences, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from analysis.config import CompareConfig
from analysis.report.material import Material
from analysis.report.run import FIGURES
from analysis.tracked import material_files
from tracking import Files, Record, settings

PAGE, TABLES = "compare.html", ("shares", "differences")


def comparison_of(config: CompareConfig, out: Path, materials: Sequence[Material]) -> Record:
    """The record of the comparison written to `out`."""
    shares, differences = (pq.read_table(out / f"{name}.parquet").to_pylist() for name in TABLES)
    figures = sorted((out / FIGURES).glob("*.png")) if config.figures else []
    used = {files.paths: files for material in materials for files in material_files(material)}
    return Record(
        job="compare_runs",
        config=settings(config),
        summary={
            f"{row['place']}/{row['level']}/{row['second']} - {row['first']}{end}": row[key]
            for row in differences
            for end, key in (("", "difference"), ("_low", "low"), ("_high", "high"), ("_p_adjusted", "p_adjusted"))
        },
        tables={"shares": shares, "differences": [{**row, "null": 0.0} for row in differences]},
        pages={"compare": (out / PAGE).read_text(encoding="utf-8")},
        figures={path.stem: path for path in figures},
        used=[*used.values()],
        made=[Files(out.name, "comparison", (out / PAGE, *(out / f"{name}.parquet" for name in TABLES), *figures))],
    )
