"""What a probe run tells wandb: curves over layers, its tables in long format, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from extract import Store
from extract.tracked import store_files
from probing.compare_config import CompareConfig
from probing.config import ProbeConfig
from probing.results import EXTRA_TABLES, SUMMARY, TABLES, ProbeRun
from tracking import Files, Record, settings
from tracking.record import Place, along, long

BASELINE = "baseline"
SITE = ("site", "stage", "layer")
NULLS = {
    "accuracy": "shuffled",
    "macro": "shuffled_macro",
    "hca": "shuffled",
    **{reading: f"shuffled_{reading}" for reading in ("top_down", "joint", "leaf_lookup")},
    **{"strict": "shuffled", "paper": "shuffled"},
}
"""A measure's null: what probes of shuffled labels reach."""
SHOWN = ("accuracy", "accuracy_low", "accuracy_high", "shuffled_high", "usable_bits")
"""Of each level, along the layers; the tables hold the rest."""
SHOWN_HCA = ("hca", "hca_low", "hca_high", "shuffled_high", "validation_hca")


def record_of(config: ProbeConfig, out: Path, store: Store) -> Record:
    """The record of the probe run written to `out`."""
    run = ProbeRun.open(out)
    curves, summary = along(_places(run))
    others = [Path(path) for path in (config.random_init, config.pixel_shuffled) if path]
    bank = [Files(Path(config.questions).name, "questions", (Path(config.questions),))] if config.questions else []
    return Record(
        job="probe",
        config=settings(config),
        summary=summary | best(run) | {"seconds": run.summary["seconds"], "protocol": config.protocol},
        curves=curves,
        tables={
            "probes": long(run.probes, (*SITE, "level"), NULLS),
            "hca": long(run.hca, SITE, NULLS),
            "penalties": run.extra("penalties"),
            "changepoints": run.extra("changepoints"),
        },
        used=[store_files(store), *(store_files(Store.open(path)) for path in others), *bank],
        made=[probe_files(run)],
    )


def probe_files(run: ProbeRun) -> Files:
    """A probe run's tables and summary as an artifact; whatever else lies beside them is none of it."""
    names = [*(f"{name}.parquet" for name in (*TABLES, *EXTRA_TABLES)), SUMMARY]
    about = {"protocol": run.summary["protocol"], "split": run.summary["split"], "created": run.summary["created"]}
    return Files(run.path.name, "probes", tuple(run.path / name for name in names), about=about)


def best(run: ProbeRun) -> dict[str, Any]:
    """HCA on test at the site that is best on validation, or with the published protocol, which has none, at the last.

    `validation_hca` is what a sweep may choose by: a number picked for being the highest on test would be too high.
    """
    model = [record for record in run.hca if record["stage"] != BASELINE] or run.hca
    by_validation = [record for record in model if np.isfinite(record["validation_hca"])]
    found = max(by_validation, key=lambda record: record["validation_hca"]) if by_validation else model[-1]
    keys = ("site", *SHOWN_HCA, "shuffled_low", "n_test", "leaves_test")
    return {key: found[key] for key in keys if found.get(key) is not None}


def comparison_of(config: CompareConfig, out: Path, store: Store) -> Record:
    """The record of a comparison of the two protocols written to `out`."""
    found = pq.read_table(out / "comparison.parquet").to_pylist()
    steps = pq.read_table(out / "steps.parquet").to_pylist()
    shown = [f"{name}{end}" for name in ("strict", "paper", "difference") for end in ("", "_low", "_high")]
    curves, summary = along(
        Place(row["site"], row["stage"], row["layer"], {f"{row['level']}/{key}": row[key] for key in shown})
        for row in found
    )
    files = tuple(out / name for name in ("comparison.parquet", "steps.parquet", SUMMARY))
    return Record(
        job="compare",
        config=settings(config),
        summary=summary,
        curves=curves,
        tables={"comparison": long(found, (*SITE, "level"), NULLS), "steps": steps},
        used=[store_files(store)],
        made=[Files(out.name, "comparison", files, about=_made(out))],
    )


def _places(run: ProbeRun) -> list[Place]:
    rows = [(record, f"{record['level']}/", SHOWN) for record in run.probes]
    rows += [(record, "", SHOWN_HCA) for record in run.hca]
    return [
        Place(record["site"], record["stage"], record["layer"], _named(record, before, keys))
        for record, before, keys in rows
    ]


def _named(record: Mapping[str, Any], before: str, keys: tuple[str, ...]) -> dict[str, Any]:
    return {f"{before}{key}": record[key] for key in keys if record.get(key) is not None}


def _made(out: Path) -> dict[str, Any]:
    summary = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    return {key: summary[key] for key in ("split", "created")}
