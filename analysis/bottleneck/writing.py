"""The verdict's two files: what is said as JSON, the numbers it rests on as Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.bottleneck.judging import LevelVerdict, Verdict
from analysis.bottleneck.wording import RULE
from commandline import InputError

SCHEMA_VERSION = 1
KIND = "verdict"
JSON, PARQUET = "verdict.json", "verdict.parquet"


def write(found: Verdict, out: Path, probed: str, config: Mapping[str, Any]) -> None:
    """Both files, each whole or not at all; the Parquet table first, so that the JSON is of what is there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        rows = [asdict(number) for level in found.levels for number in level.evidence]
        _whole(out / PARQUET, lambda path: pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path))
        text = json.dumps(as_json(found, probed, config), indent=1, ensure_ascii=False, allow_nan=False)
        _whole(out / JSON, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give another --out") from error


SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("level", "quantity", "place")),
        *((name, pa.float64()) for name in ("value", "low", "high")),
        *((name, pa.int64()) for name in ("n", "leaves")),
        *((name, pa.float64()) for name in ("null", "p_adjusted")),
    ]
)
"""Of verdict.parquet: the fields of `evidence.Number`."""


def as_json(found: Verdict, probed: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict without its evidence, NaN as null. `probed`: when the probes were made, to know an old verdict by."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "levels": [_level(level) for level in found.levels],
        "judged": list(found.judged),
        "missing": list(found.missing),
        "sources": dict(found.sources),
        "probes_created": probed,
        "rule": RULE,
        "config": dict(config),
    }


def _level(level: LevelVerdict) -> dict[str, Any]:
    entry = {name: value for name, value in asdict(level).items() if name not in ("evidence", "interval")}
    entry |= dict(zip(("low", "high"), level.interval, strict=True))
    return _known(entry)


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _whole(path: Path, write: Any) -> None:
    beside = path.with_name(f".{path.name}.new")
    write(beside)
    beside.replace(path)
