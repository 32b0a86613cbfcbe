"""Manifests as tables: JSON, JSONL, CSV, TSV and Parquet files read into named columns."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from commandline import InputError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
"""The kinds of manifest; the text kinds may be gzipped (`.csv.gz`)."""

Table = dict[str, list[Any]]
"""Columns of equal length by name; a cell without a value is None."""


def kind(path: Path) -> str | None:
    """The manifest suffix of `path` without `.gz`, or None when it is no manifest."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def read_table(path: Path) -> Table:
    """Read a manifest. Raises InputError, naming the row (from 1), when it cannot be read or its rows do not fit."""
    suffix = kind(path)
    try:
        if suffix == ".parquet":
            return _parquet(path)
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix.lower() == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the manifest {path}: {error}") from error
    if suffix in (".csv", ".tsv"):
        return _csv(path, text, "\t" if suffix == ".tsv" else ",")
    return _columns(path, _json_rows(path, text) if suffix == ".json" else _json_lines(path, text))


def text_column(table: Table, name: str, what: str, required: bool = True) -> tuple[str, ...]:
    """A column as text: numbers are written out, blanks trimmed.

    Raises InputError naming the row of a cell that is empty (where `required`) or neither text nor a whole number.
    """
    if name not in table:
        raise InputError(f"there is no column {name!r} (asked for as the {what}); the columns are {', '.join(table)}")
    column: list[str] = []
    for row, value in enumerate(table[name], start=1):
        if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
            text = "" if value is None else str(value).strip()
            if required and not text:
                raise InputError(f"row {row}: the column {name!r} (the {what}) is empty")
            column.append(text)
        else:
            raise InputError(f"row {row}: the column {name!r} (the {what}) should hold a name, not {value!r}")
    return tuple(column)


def _csv(path: Path, text: str, delimiter: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise InputError(f"the manifest {path} is not a table: {error} (line {reader.line_num})") from error
    if len(set(header)) < len(header):
        raise InputError(f"the manifest {path} has two columns of one name: {', '.join(header)}")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise InputError(f"the manifest {path}, row {number}: {len(row)} cells for {len(header)} columns")
    return {name: [row[index] or None for row in rows] for index, name in enumerate(header)}


def _json_rows(path: Path, text: str) -> Iterator[Any]:
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"the manifest {path} is not valid JSON: {error}") from error
    if isinstance(data, list):
        return iter(data)
    if isinstance(data, Mapping) and all(isinstance(value, list) and value for value in data.values()):
        raise InputError(f"{path} looks like a taxonomy, not a list of images; give it as the taxonomy (--taxonomy)")
    raise InputError(f"the manifest {path} should be a JSON array with one object per image")


def _json_lines(path: Path, text: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise InputError(f"the manifest {path}, line {number}: not valid JSON: {error}") from error


def _columns(path: Path, rows: Iterator[Any]) -> Table:
    table: Table = {}
    count = 0
    for count, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InputError(f"the manifest {path}, row {count}: expected an object, found {row!r}")
        for name, value in row.items():
            column = table.setdefault(name, [])
            column.extend([None] * (count - 1 - len(column)))
            column.append(value)
    for column in table.values():
        column.extend([None] * (count - len(column)))
    return table


def _parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        return parquet.read_table(path).to_pydict()
    except pyarrow.ArrowException as error:
        raise InputError(f"the manifest {path} is not a Parquet file: {error}") from error


def embeds_images(path: Path, column: str | None, aliases: Sequence[str]) -> bool:
    """Whether a Parquet file holds the images themselves (binary cells) rather than their paths."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        schema = parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"the manifest {path} is not a Parquet file: {error}") from error
    types = pyarrow.types

    def holds_images(name: str, kind: Any) -> bool:
        if types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0
        return (types.is_binary(kind) or types.is_large_binary(kind)) and (name == column or name.lower() in aliases)

    return any(holds_images(field.name, field.type) for field in schema if column in (None, field.name))
