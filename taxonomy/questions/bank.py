"""A question bank: who is asked what, read from Parquet or from the study's JSON lines."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from commandline import InputError
from taxonomy.questions.question import Question
from taxonomy.tree import Taxonomy

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 8192
"""Rows that are turned into questions at a time."""


@dataclass(frozen=True, eq=False)
class Bank:
    """Questions about images, one per image and level, image-major, coarse to fine. Made by `Bank.open`."""

    dataset: str
    taxonomy: Taxonomy
    settings: Mapping[str, Any]
    """How it was made (`distractors`, `seed`, `per`, ...); empty for an official file."""
    sha256: str
    """Of the file (hex)."""
    table: pa.Table
    """The rows; columns as in `taxonomy.questions.table.SCHEMA`."""

    @classmethod
    def open(cls, path: str | os.PathLike[str], taxonomy: Taxonomy | None = None, dataset: str | None = None) -> Bank:
        """Read a bank.

        path: Parquet as `python -m taxonomy questions` writes it, or an official file (.jsonl, .jsonl.gz).
        taxonomy: the one an official file was made from, root included; a Parquet file has its own.
        dataset: a name for an official file's data set; by default the file's.

        Raises InputError for a file that is no bank, does not fit the taxonomy, or lacks one.
        """
        from taxonomy.questions.table import About, read_parquet

        file = Path(path)
        if not file.is_file():
            raise InputError(f"there is no question bank {file}")
        if file.suffix == ".parquet":
            about, table = read_parquet(file)
            if taxonomy is not None and taxonomy.to_dict() != about.taxonomy.to_dict():
                raise InputError(f"{file} was made from another taxonomy; leave yours out, the bank holds its own")
        else:
            from taxonomy.questions.official import read_official

            if taxonomy is None:
                raise InputError(f"{file} is an official file, which does not hold its taxonomy: give one (--taxonomy)")
            table = read_official(file, taxonomy)
            about = About(dataset or file.name.split(".")[0], taxonomy, {})
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(about.dataset, about.taxonomy, about.settings, digest, table)

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def levels(self) -> tuple[str, ...]:
        return self.taxonomy.levels

    @property
    def text_only(self) -> bool:
        """Whether it asks about leaves by name rather than about images."""
        return self.settings.get("per") == "leaf"

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 (image + 1,): the row of each image's first question, and the number of rows."""
        ids = self.table["id"].combine_chunks()
        changes = np.flatnonzero(_codes(ids)[1:] != _codes(ids)[:-1]) + 1
        return np.concatenate([[0], changes, [len(self)]]).astype(np.int64) if len(self) else np.zeros(1, np.int64)

    def questions(self, start: int = 0, stop: int | None = None) -> Iterator[Question]:
        """The questions in rows `start` to `stop`, in order."""
        for row in self.rows(start, stop):
            path = self.taxonomy.paths[row["leaf"]]
            level = self.taxonomy.levels.index(row["level"])
            yield Question(
                id=f"{row['id']}#{row['level']}",
                dataset=self.dataset,
                image=row["id"],
                path=row["path"],
                leaf=" / ".join(path),
                level=row["level"],
                options=tuple(row["options"]),
                nodes=tuple(row["nodes"]),
                answer=row["truth"],
                scored=row["scored"],
                distractor_depth=tuple(row["distractor_depth"]),
                parent_offered=tuple(row["parent_offered"]),
                name=row["label"],
                finest=level == len(path) - 1,
            )

    def images(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[Question, ...]]:
        """The questions of images `start` to `stop`, image by image."""
        bounds = self.starts[start : None if stop is None else stop + 1]
        if len(bounds) > 1:
            questions = self.questions(int(bounds[0]), int(bounds[-1]))
            yield from (tuple(group) for _, group in itertools.groupby(questions, key=lambda asked: asked.image))

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries, a batch in memory at a time."""
        end = len(self) if stop is None else min(stop, len(self))
        for first in range(start, end, BATCH):
            yield from self.table.slice(first, min(BATCH, end - first)).to_pylist()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the bank as Parquet or, by the name's end, as an official file (.jsonl, .jsonl.gz).

        Raises InputError for a bank of leaves in that form, which has no place for it.
        """
        from taxonomy.questions.official import write_official
        from taxonomy.questions.table import SCHEMA, About, write_parquet

        file = Path(path)
        if file.suffix == ".parquet":
            parts = (self.table.slice(first, BATCH).cast(SCHEMA) for first in range(0, len(self), BATCH))
            write_parquet(file, About(self.dataset, self.taxonomy, self.settings), parts)
        elif self.text_only:
            raise InputError(f"{file}: the study's form asks at every level of a path; a bank of leaves is .parquet")
        else:
            groups = itertools.groupby(self.rows(), key=lambda row: row["id"])
            write_official(file, self.taxonomy, (list(rows) for _, rows in groups))


def _codes(ids: pa.Array) -> np.ndarray:
    """int: equal where neighbouring values are equal."""
    import pyarrow as pa

    encoded = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False)
