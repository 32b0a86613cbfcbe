"""A question bank as a table: one row per question, image-major, coarse to fine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from commandline import InputError
from taxonomy.ancestry import depths_and_parents
from taxonomy.tree import Taxonomy

VERSION = 1
KEY = b"taxoprobe.questions"
"""The entry of a Parquet file's metadata that says what the bank is."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # the image's id
        ("path", pa.string()),
        ("label", pa.string()),  # the leaf, as the list of images spells it
        ("split", pa.string()),
        ("leaf", pa.int32()),  # index into the taxonomy's leaves
        ("level", pa.string()),
        ("options", pa.list_(pa.string())),
        ("nodes", pa.list_(pa.int32())),
        ("truth", pa.int8()),  # place among the options
        ("scored", pa.bool_()),
        ("distractor_depth", pa.list_(pa.int16())),
        ("parent_offered", pa.list_(pa.bool_())),
        ("extra", pa.string()),  # JSON object: what else an official file says of the image
    ]
)

DICTIONARY = ["id", "path", "label", "split", "level", "extra"]
"""Columns kept in memory as dictionaries: their values repeat."""


@dataclass(frozen=True)
class About:
    """What a bank is about."""

    dataset: str
    taxonomy: Taxonomy
    settings: Mapping[str, Any]
    """How it was made; empty for an official file."""


@dataclass(frozen=True)
class Subjects:
    """What is asked about, image by image: sequences of one length; None where there is nothing to say."""

    ids: Sequence[str]
    paths: Sequence[str | None]
    labels: Sequence[str]
    splits: Sequence[str | None]
    leaf: np.ndarray
    """int32 (image,)."""
    extra: Sequence[str | None]


def question_table(
    taxonomy: Taxonomy, subjects: Subjects, nodes: np.ndarray, position: np.ndarray, options: Iterable[str] | pa.Array
) -> pa.Table:
    """Rows of `SCHEMA` for the questions of some images.

    nodes: int32 (image, level, option), position: int (image, level); see `ancestry.depths_and_parents`.
    options: the names shown, of every option there is, in the order of `nodes`.
    """
    depth, offered = depths_and_parents(taxonomy, nodes, position)
    image, level = np.nonzero(position >= 0)
    there = nodes[image, level] >= 0
    counts = there.sum(axis=1)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())

    def lists(values: Any, kind: pa.DataType) -> pa.Array:
        items = values if isinstance(values, pa.Array) else pa.array(values, kind)
        return pa.ListArray.from_arrays(offsets, items)

    def of_image(values: Sequence[str | None]) -> pa.Array:
        return pa.array(values, pa.string()).take(pa.array(image))

    columns = [
        of_image(subjects.ids),
        of_image(subjects.paths),
        of_image(subjects.labels),
        of_image(subjects.splits),
        pa.array(subjects.leaf[image], pa.int32()),
        pa.array(taxonomy.levels, pa.string()).take(pa.array(level)),
        lists(options, pa.string()),
        lists(nodes[image, level][there], pa.int32()),
        pa.array(position[image, level], pa.int8()),
        pa.array(counts > 1),
        lists(depth[image, level][there], pa.int16()),
        lists(offered[image, level][there], pa.bool_()),
        of_image(subjects.extra),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def write_parquet(path: Path, about: About, parts: Iterable[pa.Table]) -> None:
    """Write a bank part by part, beside `path`, and move it there when it is whole."""
    head = {
        "version": VERSION,
        "dataset": about.dataset,
        "settings": dict(about.settings),
        "taxonomy": about.taxonomy.to_dict(),
    }
    schema = SCHEMA.with_metadata({KEY: json.dumps(head, ensure_ascii=False).encode()})
    beside = path.with_name(path.name + ".part")
    try:
        with pq.ParquetWriter(beside, schema, compression="zstd") as writer:
            for part in parts:
                writer.write_table(part)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_parquet(path: Path) -> tuple[About, pa.Table]:
    """A bank and its rows. Raises InputError for a file that is none, or is of another version."""
    try:
        head = json.loads((pq.read_schema(path).metadata or {}).get(KEY, b"{}"))
        if head.get("version") == VERSION:
            table = pq.read_table(path, read_dictionary=DICTIONARY)
            return About(head["dataset"], Taxonomy.from_dict(head["taxonomy"]), head["settings"]), table
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is not a readable question bank: {error}") from error
    found = f"version {head['version']}" if head else "no bank's metadata"
    raise InputError(
        f"{path} has {found}, and this taxoprobe reads banks of version {VERSION}; make it with "
        "`python -m taxonomy questions`"
    )
