"""The answers to one prompt as arrays, read by a parser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from commandline import InputError
from evaluation.asking import YES_NO
from evaluation.parsers import Parsed, parser_named
from evaluation.results import AskRun
from taxonomy import Taxonomy
from taxonomy.questions.question import LETTERS

NONE, NOT_ASKED = -1, -2
"""No option could be read; the question was not put in that rotation."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Questions put with one prompt, and what was read of the replies. Options count in the bank's order."""

    prompt: str
    reads: str
    taxonomy: Taxonomy
    images: np.ndarray
    """str (sample,)."""
    leaf: np.ndarray
    """int (sample,): index into the taxonomy's leaves."""
    sample: np.ndarray
    """int (question,)."""
    level: np.ndarray
    """int (question,): index into the taxonomy's levels."""
    count: np.ndarray
    """int (question,): its options."""
    nodes: np.ndarray
    """int32 (question, option): codes of their nodes, -1 beyond `count`."""
    answer: np.ndarray
    """int (question,): the right option."""
    options: pa.ListArray
    """(question,): their names."""
    said: np.ndarray
    """int8 (question, rotation): the option read from the reply, `NONE`, or `NOT_ASKED`; for a yes/no prompt the second
    axis is the option asked about, 0 yes, 1 no."""
    how: np.ndarray
    """object (question, rotation): how it was read (`parsers.Parsed.how`); None where not asked."""
    logits: np.ndarray
    """float32 (question, rotation, shown place): NaN where there are none; a yes/no prompt's places are yes and no."""
    unfinished: int
    """Images left out because not all of their asks have been answered yet."""

    @property
    def levels(self) -> tuple[tuple[int, str], ...]:
        """The levels that were asked about, coarse to fine: index in the taxonomy, and name."""
        return tuple((index, self.taxonomy.levels[index]) for index in np.unique(self.level).tolist())

    @property
    def offered(self) -> np.ndarray:
        """int32 (sample, level, option): the nodes that each sample was offered, -1 beyond them."""
        found = np.full((len(self.images), len(self.taxonomy.levels), self.nodes.shape[1]), -1, np.int32)
        found[self.sample, self.level] = self.nodes
        return found

    @property
    def turned(self) -> np.ndarray:
        """bool (question,): put in every rotation."""
        return (self.said != NOT_ASKED).sum(1) == self.count

    @property
    def truth(self) -> np.ndarray:
        """int32 (sample, level): the right node, -1 where the sample was not asked."""
        return self.codes(self.answer)

    def codes(self, chosen: np.ndarray) -> np.ndarray:
        """int32 (sample, level): the nodes of the chosen options (question,), -1 where none was chosen or asked."""
        codes = np.full((len(self.images), len(self.taxonomy.levels)), -1, np.int32)
        picked = self.nodes[np.arange(len(chosen)), np.maximum(chosen, 0)]
        codes[self.sample, self.level] = np.where(chosen < 0, -1, picked)
        return codes


def read(run: AskRun, table: pa.Table, prompt: str, parser: str) -> Reading:
    """The replies to a prompt, of the images that have all their answers; `table` as `AskRun.answers` gives it."""
    place = table["image"].combine_chunks().dictionary_encode().indices.to_numpy()
    answered = np.bincount(place, minlength=1)
    whole = answered[place] >= table["asks"].to_numpy()
    unfinished = len(np.unique(place[~whole]))
    mine = pc.call_function("equal", [table["prompt"].cast(pa.string()), pa.scalar(prompt)]).to_numpy()
    table = table.filter(pa.array(mine & whole))
    if not table.num_rows:
        raise InputError(f"{run.path}: no image has all of its answers yet; run `python -m evaluation` again")
    return _arrays(run.taxonomy, table, prompt, run.settings["prompts"][prompt]["reads"], parser, unfinished)


def _arrays(tree: Taxonomy, table: pa.Table, prompt: str, reads: str, parser: str, unfinished: int) -> Reading:
    questions = table["question"].combine_chunks().dictionary_encode()
    row = questions.indices.to_numpy()
    first = np.unique(row, return_index=True)[1]
    heads = table.take(pa.array(first))
    images = heads["image"].combine_chunks().dictionary_encode()
    sample = images.indices.to_numpy()
    paths = {" / ".join(path): leaf for leaf, path in enumerate(tree.paths)}
    leaf = np.zeros(len(images.dictionary), np.int64)
    leaf[sample] = [paths[name] for name in heads["leaf"].cast(pa.string()).to_pylist()]
    levels = {name: index for index, name in enumerate(tree.levels)}
    count = _lengths(heads["options"])
    rotation = table["rotation"].to_numpy()
    said, how = _said(table, row, rotation, int(count.max(initial=1)), parser, reads)
    return Reading(
        prompt=prompt,
        reads=reads,
        taxonomy=tree,
        images=np.array(images.dictionary.to_pylist(), dtype=object),
        leaf=leaf,
        sample=sample,
        level=np.array([levels[name] for name in heads["level"].cast(pa.string()).to_pylist()], np.int64),
        count=count,
        nodes=_padded(heads["nodes"], int(count.max(initial=1))).astype(np.int32),
        answer=heads["answer"].to_numpy().astype(np.int64),
        options=heads["options"].combine_chunks(),
        said=said,
        how=how,
        logits=_logits(table, row, rotation, said.shape[1], 2 if reads == "yes_no" else said.shape[1]),
        unfinished=unfinished,
    )


def _said(
    table: pa.Table, row: np.ndarray, rotation: np.ndarray, places: int, parser: str, reads: str
) -> tuple[np.ndarray, np.ndarray]:
    parse = lru_cache(maxsize=1 << 16)(parser_named(parser, reads))
    said = np.full((int(row.max(initial=-1)) + 1, places), NOT_ASKED, np.int8)
    how = np.full(said.shape, None, dtype=object)
    columns = [table[name].to_pylist() for name in ("text", "order", "options", "status")]
    for at, turn, text, order, options, status in zip(row, rotation, *columns, strict=True):
        found = _parsed(parse, text, order, options, status, reads)
        chosen = found.option
        said[at, turn] = NONE if chosen is None else chosen if reads == "yes_no" else order[chosen]
        how[at, turn] = found.how
    return said, how


def _parsed(parse: Any, text: str, order: Sequence[int], options: Sequence[str], status: str, reads: str) -> Parsed:
    if status != "ok":
        return Parsed(None, "error")
    if reads == "yes_no":
        return parse(text, YES_NO, ())
    return parse(text, tuple(LETTERS[: len(order)]), tuple(options[index] for index in order))


def _logits(table: pa.Table, row: np.ndarray, rotation: np.ndarray, places: int, shown: int) -> np.ndarray:
    values = _padded(table["letter_logits"], shown, np.nan)
    logits = np.full((int(row.max(initial=-1)) + 1, places, shown), np.nan, np.float32)
    logits[row, rotation] = values
    return logits


def _padded(lists: pa.ChunkedArray, width: int, fill: float = -1) -> np.ndarray:
    """float64 (row, width) from lists of numbers, `fill` beyond their ends and for null."""
    lengths = _lengths(lists)
    found = np.full((len(lengths), width), fill)
    flat = pc.call_function("list_flatten", [lists.combine_chunks()]).to_numpy(zero_copy_only=False)
    found[np.arange(width) < lengths[:, None]] = flat
    return found


def _lengths(lists: pa.ChunkedArray) -> np.ndarray:
    lengths = pc.fill_null(pc.call_function("list_value_length", [lists]), 0)
    return lengths.to_numpy().astype(np.int64)
