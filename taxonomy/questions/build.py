"""Making a question bank: for every image and level, the truth among nodes of its level."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from commandline import InputError
from taxonomy.images import ImageSet
from taxonomy.questions import draws
from taxonomy.questions.distractors import Rule, draw_questions
from taxonomy.questions.official import write_official
from taxonomy.questions.table import About, Subjects, question_table, write_parquet
from taxonomy.tree import Taxonomy

IMAGES = 8192
"""Images whose rows are written at a time: a row group."""


@dataclass(frozen=True)
class Asked:
    """A bank before it is written: who is asked about, and what stands at each letter."""

    about: About
    subjects: Subjects
    nodes: np.ndarray
    """int32 (image, level, option), -1 beyond a question's options."""
    position: np.ndarray
    """int8 (image, level): the truth's place, -1 without a question."""

    def __len__(self) -> int:
        return int((self.position >= 0).sum())


def of_images(images: ImageSet) -> Subjects:
    """What is asked about where every image is."""
    files = getattr(images.reader, "files", None)
    return Subjects(
        ids=images.ids,
        paths=[None if files is None else files[row] for row in images.rows],
        labels=[images.taxonomy.leaves[leaf] for leaf in images.leaf],
        splits=images.split.tolist(),
        leaf=images.leaf,
        extra=[None] * len(images),
    )


def of_leaves(taxonomy: Taxonomy) -> Subjects:
    """What is asked about where every leaf is, once and by name."""
    nothing = [None] * len(taxonomy)
    leaf = np.arange(len(taxonomy), dtype=np.int32)
    return Subjects(taxonomy.leaves, nothing, taxonomy.leaves, nothing, leaf, nothing)


def ask(
    about: About,
    subjects: Subjects,
    rule: Rule,
    seed: int,
    finest: bool = True,
    advance: Callable[[int], object] = lambda asked: None,
) -> Asked:
    """Draw the questions. finest: ask at the leaf's own level too, which a text-only question gives away."""
    taxonomy = about.taxonomy
    random = [draws.words(about.dataset, subjects.ids, level, seed) for level in taxonomy.levels]
    nodes, position = draw_questions(taxonomy, subjects.leaf, random, rule, advance)
    if not finest:
        rows, last = np.arange(len(subjects.ids)), taxonomy.depths[subjects.leaf] - 1
        nodes[rows, last], position[rows, last] = -1, -1
    if not (position >= 0).any():
        raise InputError("there is nothing to ask: no leaf has a level above its own")
    return Asked(about, subjects, nodes, position)


def write(asked: Asked, path: Path, lower: bool = False) -> None:
    """Write a bank as Parquet or, by the name's end, in the study's form (.jsonl, .jsonl.gz); part by part.

    lower: show names in lower case, as the study does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = _tables(asked, lower)
    if path.suffix == ".parquet":
        write_parquet(path, asked.about, tables)
    else:
        write_official(path, asked.about.taxonomy, _by_image(tables))


def _tables(asked: Asked, lower: bool) -> Iterator[pa.Table]:
    taxonomy, subjects = asked.about.taxonomy, asked.subjects
    names = [name for level in taxonomy.levels for name in taxonomy.names(level)]
    shown = pa.array([name.lower() for name in names] if lower else names, pa.string())
    first = np.cumsum([0, *(len(taxonomy.nodes(level)) for level in taxonomy.levels)])[:-1]
    for start in range(0, len(subjects.ids), IMAGES):
        part = slice(start, start + IMAGES)
        nodes, position = asked.nodes[part], asked.position[part]
        known = (nodes + first[:, None])[nodes >= 0]
        some = Subjects(*(getattr(subjects, name)[part] for name in Subjects.__dataclass_fields__))
        yield question_table(taxonomy, some, nodes, position, shown.take(pa.array(known)))


def _by_image(tables: Iterator[pa.Table]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows image by image; no table divides an image."""
    for table in tables:
        for _, rows in itertools.groupby(table.to_pylist(), key=lambda row: row["id"]):
            yield list(rows)
