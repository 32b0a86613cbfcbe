"""The output directory: three Parquet tables and a JSON summary, written beside and moved in, and read back."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from commandline import InputError

SCHEMA_VERSION = 4
KIND = "probe"
COMPARISON = "probe comparison"
MAKERS = {KIND: "python -m probing STORE", COMPARISON: "python -m probing compare STORE"}
"""What a directory's summary says it is of, and the command that makes one."""
SUMMARY = "summary.json"
TABLES = ("probes", "hca", "predictions")
EXTRA_TABLES = ("changepoints", "conditional", "description", "penalties")
"""Tables that hold no rows where they were not asked for or cannot be."""


@dataclass(frozen=True)
class ProbeRun:
    """What `python -m probing` wrote.

    probes: one record per (site, level). hca: one per site. summary: where it all comes from. Predictions, one per
    (site, sample, level), are read when asked for.
    """

    path: Path
    probes: list[dict[str, Any]]
    hca: list[dict[str, Any]]
    summary: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> ProbeRun:
        """Read a run from its directory, or from its store's path. Raises InputError when there is none."""
        given = Path(path)
        folder = given if (given / SUMMARY).is_file() else default_out(given, "image")
        if not (folder / SUMMARY).is_file():
            raise InputError(f"{given}: no probe results here; `python -m probing STORE` makes them")
        if (kind := _kind(folder)) not in (KIND, None):
            what = f"holds what `{MAKERS[kind]}` wrote, not" if kind in MAKERS else f"its {SUMMARY} is not that of"
            raise InputError(f"{folder}: {what} a probe run; `{MAKERS[KIND]}` makes one")
        try:
            summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
            probes, hca = (pq.read_table(folder / f"{name}.parquet").to_pylist() for name in TABLES[:2])
        except (OSError, ValueError, pa.ArrowException) as error:
            raise InputError(f"{folder}: damaged probe results ({error}); run `python -m probing` again") from error
        if summary.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{folder}: results of version {summary.get('schema_version')!r}, this taxoprobe reads "
                f"{SCHEMA_VERSION}; run `python -m probing` again"
            )
        return cls(folder, probes, hca, summary)

    def extra(self, name: str) -> list[dict[str, Any]]:
        """The records of one of `EXTRA_TABLES`."""
        return pq.read_table(self.path / f"{name}.parquet").to_pylist()

    def predictions(self) -> pa.Table:
        """site, id, leaf, level, true and predicted code, true_name, predicted_name."""
        return pq.read_table(self.path / "predictions.parquet")


def default_out(store: str | Path, split: str, protocol: str = "strict") -> Path:
    """Where the results of a store go: beside it."""
    path = Path(store)
    parts = ["probe", *(["paper"] if protocol == "paper" else []), *([split] if split != "image" else [])]
    return path.with_name(f"{path.name.removesuffix('.zarr')}.{'-'.join(parts)}")


def check_out(out: Path, kind: str = KIND) -> None:
    """Raise InputError, before any work, where `out` is there and is not an earlier run's directory."""
    if (out.exists() or out.is_symlink()) and _kind(out) != kind:
        raise InputError(f"{out} exists and holds no {kind} results; give another --out or remove it")
    if out.exists() and not os.access(out, os.W_OK):
        raise InputError(f"cannot write {out}: no permission; give another --out")


@contextmanager
def writing(out: Path, kind: str = KIND) -> Iterator[Path]:
    """A directory to write into; its files move to `out` when the block ends without an error.

    An earlier run's files are replaced one by one, the summary last, and whatever else lies beside them stays. Raises
    InputError, before the block, for an `out` that is something else or cannot be written.
    """
    check_out(out, kind)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give another --out") from error
    with beside as folder:
        building = Path(folder) / out.name  # the folder around it is for its owner's eyes alone, this one is not
        building.mkdir()
        yield building
        if not out.exists():
            building.rename(out)
            return
        for path in sorted(building.iterdir(), key=lambda path: path.name == SUMMARY):
            path.replace(out / path.name)


class PredictionWriter:
    """Writes predictions.parquet site by site, so that no more than one site's is held."""

    SCHEMA = pa.schema(
        [
            ("site", pa.dictionary(pa.int32(), pa.string())),
            ("id", pa.string()),
            ("leaf", pa.int32()),
            ("level", pa.dictionary(pa.int32(), pa.string())),
            ("true", pa.int32()),
            ("predicted", pa.int32()),
            ("true_name", pa.dictionary(pa.int32(), pa.string())),
            ("predicted_name", pa.dictionary(pa.int32(), pa.string())),
        ]
    )

    def __init__(self, folder: Path) -> None:
        self._writer = pq.ParquetWriter(folder / "predictions.parquet", self.SCHEMA)

    def write(self, columns: dict[str, Any]) -> None:
        """One batch of rows; columns by the names of `SCHEMA`."""
        self._writer.write_table(pa.table({name: columns[name] for name in self.SCHEMA.names}, schema=self.SCHEMA))

    def close(self) -> None:
        self._writer.close()


def write_table(folder: Path, name: str, records: Sequence[dict[str, Any]]) -> None:
    """A Parquet table of records, also of none; a key that a record lacks is null there."""
    keys = dict.fromkeys(key for record in records for key in record)
    pq.write_table(
        pa.Table.from_pylist([{key: r.get(key) for key in keys} for r in records]), folder / f"{name}.parquet"
    )


def write_summary(folder: Path, summary: dict[str, Any], kind: str = KIND) -> None:
    """The JSON summary."""
    text = json.dumps(
        {"schema_version": SCHEMA_VERSION, "kind": kind} | summary, indent=1, ensure_ascii=False, allow_nan=False
    )
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")


def _kind(folder: Path) -> str | None:
    """What the summary in a folder says it is of; None where there is none to be read."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return summary.get("kind") if isinstance(summary, dict) else None
