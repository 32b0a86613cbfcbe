"""The study's question files: JSON lines, one object per image with `levelK` and `choices_levelK` for each level.

`{"image": ..., "label": ..., "split": ..., "level1": truth, "choices_level1": [...], "level2": ...}` (arXiv 2505.24840,
`data/annotations`). K counts the taxonomy's levels from 1, its root included. Other keys are kept, and written last.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
import pyarrow as pa

from commandline import InputError
from taxonomy.names import listed, normalise
from taxonomy.questions.question import LETTERS
from taxonomy.questions.table import Subjects, question_table
from taxonomy.tree import Taxonomy

CHOICES = "choices_"
NUMBERED = re.compile(r"level(\d+)")
HEAD = ("image", "label", "split")


def read_official(path: Path, taxonomy: Taxonomy) -> pa.Table:
    """The rows of `table.SCHEMA` of an official file (.jsonl, .jsonl.gz).

    Raises InputError, naming the line, for what is not JSON, a path that is none of the taxonomy's, options that are no
    nodes of their level or mean the same, options without the truth, or an image listed twice.
    """
    reader = _Reader(taxonomy)
    for number, row in _rows(path):
        try:
            reader.add(row)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    if not reader.ids:
        raise InputError(f"{path} holds no questions")
    return reader.table()


def write_official(path: Path, taxonomy: Taxonomy, rows: Iterable[Sequence[Mapping[str, Any]]]) -> None:
    """Write an official file from the rows of each image, beside `path`, and move it there when it is whole."""
    keys = [_key(name, index) for index, name in enumerate(taxonomy.levels)]
    beside = path.with_name(path.name + ".part")
    try:
        with _opened(beside, "w", path.suffix == ".gz") as file:
            for image in rows:
                first = image[0]
                line = {"image": first["id"], "label": first["label"], "split": first["split"]}
                if line["split"] is None:
                    del line["split"]
                for row in image:
                    key = keys[taxonomy.levels.index(row["level"])]
                    line |= {key: row["options"][row["truth"]], CHOICES + key: row["options"]}
                file.write(json.dumps(line | json.loads(first["extra"] or "{}")) + "\n")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class _Reader:
    """Collects the images of a file."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.keys = {_key(name, index): index for index, name in enumerate(taxonomy.levels)}
        self.codes = [_codes(taxonomy.names(level)) for level in taxonomy.levels]
        self.leaves = {tuple(map(normalise, path)): leaf for leaf, path in enumerate(taxonomy.paths)}
        self.ids: dict[str, None] = {}
        self.labels: list[str] = []
        self.splits: list[str | None] = []
        self.extra: list[str | None] = []
        self.leaf: list[int] = []
        self.nodes: list[list[list[int]]] = []
        self.position: list[list[int]] = []
        self.options: list[str] = []

    def add(self, row: dict[str, Any]) -> None:
        image = row.get("image")
        if not isinstance(image, str) or not image:
            raise InputError("there is no `image`")
        if image in self.ids:
            raise InputError(f"the image {image!r} is listed twice")
        levels = [key for key in row if key.startswith("level") and CHOICES + key in row and row[key] is not None]
        unknown = [key for key in levels if key not in self.keys]
        if unknown or not levels:
            raise InputError(
                f"it asks at {listed(unknown)}, and the taxonomy's levels are {', '.join(self.keys)}"
                if unknown
                else "it asks nothing: there is no `level1` with its `choices_level1`"
            )
        if levels != (right := list(self.keys)[: len(levels)]):
            raise InputError(
                f"its levels are {', '.join(levels)}, and should be {', '.join(right)}: a path has no gaps"
            )
        if not all(isinstance(row.get(key, ""), str) for key in ("label", "split")):
            raise InputError("`label` and `split` should be text")
        leaf = self._leaf(tuple(row[key] for key in levels))
        nodes = [[] for _ in self.keys]
        position = [-1 for _ in self.keys]
        shown: list[str] = []
        for index, key in enumerate(levels):
            true = int(self.taxonomy.codes[leaf, index])
            nodes[index], position[index] = self._options(key, row[key], row[CHOICES + key], index, true)
            shown += row[CHOICES + key]
        known = {*HEAD, *levels, *(CHOICES + key for key in levels)}
        extra = {key: value for key, value in row.items() if key not in known}
        self.ids[image] = None
        self.labels.append(str(row.get("label", self.taxonomy.leaves[leaf])))
        self.splits.append(row.get("split"))
        self.extra.append(json.dumps(extra) if extra else None)
        self.leaf.append(leaf)
        self.nodes.append(nodes)
        self.position.append(position)
        self.options += shown

    def table(self) -> pa.Table:
        most = max(len(options) for image in self.nodes for options in image)
        nodes = np.full((len(self.ids), len(self.keys), most), -1, np.int32)
        for image, levels in enumerate(self.nodes):
            for level, options in enumerate(levels):
                nodes[image, level, : len(options)] = options
        ids = list(self.ids)
        subjects = Subjects(ids, ids, self.labels, self.splits, np.array(self.leaf, np.int32), self.extra)
        return question_table(self.taxonomy, subjects, nodes, np.array(self.position), self.options)

    def _leaf(self, path: tuple[Any, ...]) -> int:
        names = [str(name) for name in path]
        found = self.leaves.get(tuple(map(normalise, names)))
        if found is None:
            near = self.taxonomy.labels.nearest(names[-1])
            raise InputError(
                f"the taxonomy has no leaf {' / '.join(names)}" + (f"; nearest: {listed(near)}" if near else "")
            )
        return found

    def _options(self, key: str, truth: str, options: Any, level: int, true: int) -> tuple[list[int], int]:
        """The nodes of the options, and the truth's place."""
        if not isinstance(options, list) or not options or not all(isinstance(name, str) for name in options):
            raise InputError(f"`{CHOICES}{key}` should be a list of names, not {options!r}")
        if len(options) > len(LETTERS):
            raise InputError(f"`{CHOICES}{key}` has {len(options)} options, and there are {len(LETTERS)} letters")
        names = [normalise(name) for name in options]
        if len(set(names)) < len(names):
            twice = next(name for place, name in enumerate(options) if names.index(names[place]) < place)
            raise InputError(f"`{CHOICES}{key}` offers {twice!r} twice, the spelling apart: {listed(options)}")
        right = normalise(truth)
        if right not in names:
            raise InputError(f"`{CHOICES}{key}` does not offer the truth, {truth!r}: {listed(options)}")
        codes = [true if name == right else self.codes[level].get(name, -1) for name in names]
        if -1 in codes:
            raise InputError(
                f"`{CHOICES}{key}` offers {options[codes.index(-1)]!r}, which is no node of the taxonomy's level "
                f"{self.taxonomy.levels[level]!r}"
            )
        return codes, names.index(right)


def _codes(names: tuple[str, ...]) -> dict[str, int]:
    """Normal form -> code, the first of nodes of equal names."""
    return {normalise(name): code for code, name in reversed(list(enumerate(names)))}


def _key(level: str, index: int) -> str:
    """How an official file calls a level: `level2` where it is called that, else by its number."""
    return level if NUMBERED.fullmatch(level) else f"level{index + 1}"


def _opened(path: Path, mode: str, zipped: bool) -> TextIO:
    return cast(TextIO, (gzip.open if zipped else open)(path, f"{mode}t", encoding="utf-8"))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with _opened(path, "r", path.suffix == ".gz") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise InputError(f"{path}, line {number}: not JSON ({error})") from error
                if not isinstance(row, dict):
                    raise InputError(f"{path}, line {number}: expected an object, found {row!r}")
                yield number, row
    except InputError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable question file ({error}); JSON lines or Parquet") from error
