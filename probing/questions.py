"""A bank of multiple-choice questions, as far as probes need it: what each sample was offered at each level.

Two forms, as JSON lines (also .gz) or Parquet:

* long: `id`, `level`, `options` (names of nodes of the level), and `answer` where a model has answered (a name);
* wide, the study's: `image`, and per level `levelK` (the right name) and `choices_levelK`; K counts the taxonomy's
  levels from 1, its root included.

An id is the store's, or a path that ends like it. Names are compared in `taxonomy.names.normalise`'s form.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from commandline import InputError
from taxonomy import Taxonomy
from taxonomy.names import listed, normalise

NONE, UNKNOWN = -1, -2
"""No option or answer; an answer that names no node of the level."""
CHOICES = re.compile(r"choices_(.+)")
NUMBERED = re.compile(r"level(\d+)")


@dataclass(frozen=True)
class Questions:
    """What some samples were offered and what a model said, codes of the nodes of each level."""

    options: np.ndarray
    """int32 (sample, level, option), -1 beyond the options there are."""
    answers: np.ndarray | None
    """int32 (sample, level): -1 not answered, -2 no node of the level; None where the bank holds no answers."""

    @property
    def asked(self) -> np.ndarray:
        """bool (sample, level)."""
        return np.any(self.options >= 0, axis=2)


@dataclass(frozen=True)
class _Asked:
    id: str
    level: str
    options: Sequence[str]
    truth: str | None
    answer: str | None


def read_questions(
    path: str | Path, ids: Sequence[str], taxonomy: Taxonomy, levels: Sequence[str], truth: np.ndarray
) -> Questions:
    """The questions about some samples at some levels; those about others are passed over.

    ids: of the samples; truth: int (sample, level), -1 = the sample has no such level. Raises InputError for a file
    that cannot be read, names that are no nodes, options without the right one, a question put twice, or no questions
    about any of the samples.
    """
    names = [_by_name(taxonomy.names(level)) for level in levels]
    place, found, answered = _Places(ids), {}, {}
    for asked in _questions(Path(path), taxonomy):
        sample = place.find(asked.id)
        if sample is None or asked.level not in levels:
            continue
        level = levels.index(asked.level)
        true = int(truth[sample, level])
        if true < 0:
            continue
        where = f"{path}: the question about {asked.id!r} at {asked.level}"
        if (sample, level) in found:
            raise InputError(f"{where} is there twice; a sample is asked once per level")
        name = taxonomy.nodes(asked.level)[true][-1]
        if asked.truth is not None and normalise(asked.truth) != normalise(name):
            raise InputError(
                f"{where} takes it for {asked.truth!r}, the store for {name!r}; is it another image set's?"
            )
        codes = [_code(option, names[level], true, name) for option in asked.options]
        if UNKNOWN in codes:
            raise InputError(f"{where} offers {asked.options[codes.index(UNKNOWN)]!r}, which is no {asked.level}")
        if true not in codes:
            raise InputError(f"{where} does not offer the right answer, {name!r}: {listed(list(asked.options))}")
        found[sample, level] = codes
        if asked.answer is not None:
            answered[sample, level] = _code(asked.answer, names[level], true, name)
    if not found:
        raise InputError(f"{path}: no question is about any of the {len(ids):,} test samples (the first: {ids[0]!r})")
    options = np.full((*truth.shape, max(map(len, found.values()))), NONE, np.int32)
    answers = np.full(truth.shape, NONE, np.int32)
    for (sample, level), codes in found.items():
        options[sample, level, : len(codes)] = codes
        answers[sample, level] = answered.get((sample, level), NONE)
    return Questions(options, answers if answered else None)


class _Places:
    """Finds samples by id, or by a path one of which ends in the other (where that fits one sample only)."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._whole = {name: index for index, name in enumerate(ids)}
        self._ends: dict[str, int | None] = {}
        for index, name in enumerate(ids):
            for end in _ends(name):
                self._ends[end] = None if end in self._ends else index

    def find(self, name: str) -> int | None:
        if name in self._whole:
            return self._whole[name]
        for end in [name, *_ends(name)]:
            if end in self._whole:
                return self._whole[end]
        return self._ends.get(name)


def _ends(path: str) -> Iterator[str]:
    """What is left of a path without its first folder, its first two, and so on."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(1, len(parts)))


def _by_name(names: Iterable[str]) -> dict[str, int]:
    """Normal form -> code, the first of nodes of equal names."""
    known: dict[str, int] = {}
    for code, name in enumerate(names):
        known.setdefault(normalise(name), code)
    return known


def _code(name: str, known: dict[str, int], true: int, true_name: str) -> int:
    """The code of a node by name; of nodes of equal names, the true one where it is among them."""
    return true if normalise(name) == normalise(true_name) else known.get(normalise(name), UNKNOWN)


def _questions(path: Path, taxonomy: Taxonomy) -> Iterator[_Asked]:
    for number, row in enumerate(_rows(path), start=1):
        if "options" in row:
            if not {"id", "level"} <= set(row):
                raise InputError(f"{path}, row {number}: a question needs `id` and `level` beside its `options`")
            yield _Asked(row["id"], _level(row["level"], taxonomy, path), row["options"], None, row.get("answer"))
            continue
        choices = [found[1] for key in row if (found := CHOICES.fullmatch(key))]
        if not choices or "image" not in row:
            raise InputError(
                f"{path}, row {number}: neither `id`, `level` and `options` nor `image` and `choices_level1`, ..."
            )
        for key in choices:
            if row[f"choices_{key}"]:
                options = row[f"choices_{key}"]
                yield _Asked(row["image"], _level(key, taxonomy, path), options, row.get(key), None)


def _level(name: str, taxonomy: Taxonomy, path: Path) -> str:
    if name in taxonomy.levels:
        return name
    number = NUMBERED.fullmatch(name)
    if number and 1 <= int(number[1]) <= len(taxonomy.levels):
        return taxonomy.levels[int(number[1]) - 1]
    raise InputError(f"{path} asks at a level {name!r}; the taxonomy's are {', '.join(taxonomy.levels)}")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            yield from pq.read_table(path).to_pylist()
            return
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable question bank ({error}); JSON lines or Parquet") from error
