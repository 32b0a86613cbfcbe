"""What erasures tell wandb: how complete, selective and reliable each is, its tables, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from analysis.erasure.config import EraseConfig
from evaluation.tracked import bank_files
from extract import Store
from extract.tracked import store_files
from probing.results import SUMMARY
from tracking import Files, Record, settings
from tracking.record import Place, along, long

MEASURES = ("completeness", "selectivity", "reliability")
NULLS = {measure: f"random_{measure}" for measure in MEASURES}
"""A measure's null: the mean over random subspaces of the same rank."""
RANDOM = "random"
PLACE = ("site", "stage", "layer", "level", "method", "draw", "rank", "measured")
TABLES = ("erasure", "reliability")


def erasure_of(config: EraseConfig, out: Path, store: Store, bank: Mapping[str, Any] | None) -> Record:
    """The record of the erasures written to `out`. bank: of the questions, where the model was asked; its replies,
    which lie in a folder of their own, stay here."""
    changes, totals = (_rows(out / f"{name}.parquet", store) for name in TABLES)
    totals = [row | (_by_chance(row, totals) if row["method"] != RANDOM else {}) for row in totals]
    shown = [f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high")]
    curves, alone = along(
        Place(
            row["site"],
            row["stage"],
            row["layer"],
            {f"{_what(row)}/{key}": row[key] for key in (*shown, *NULLS.values())},
        )
        for row in totals
        if row["method"] != RANDOM
    )
    files = tuple(out / name for name in (*(f"{name}.parquet" for name in TABLES), SUMMARY))
    summary = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    return Record(
        job="erase",
        config=settings(config),
        summary={**alone, "seconds": summary["seconds"]},
        curves=curves,
        tables={"erasure": changes, "reliability": long(totals, PLACE, NULLS, n="n")},
        used=[store_files(store), *([bank_files(bank)] if bank else [])],
        made=[Files(out.name, "erasure", files, about={"split": summary["split"], "asked": summary["asked"]})],
    )


def _what(row: Mapping[str, Any]) -> str:
    """`genus/leace/probe`: the level, the method, and who was measured."""
    return "/".join((row["level"], row["method"], row["measured"]))


def _by_chance(row: Mapping[str, Any], totals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The null of each measure; NaN where the random subspaces had nothing to take."""
    keys = ("site", "level", "measured")
    beside = [one for one in totals if one["method"] == RANDOM and all(one[key] == row[key] for key in keys)]
    return {null: fmean(one[measure] for one in beside) for measure, null in NULLS.items()} if beside else {}


def _rows(file: Path, store: Store) -> list[dict[str, Any]]:
    return [
        {**row, "stage": store.sites[row["site"]].stage, "layer": store.sites[row["site"]].layer}
        for row in pq.read_table(file).to_pylist()
    ]
