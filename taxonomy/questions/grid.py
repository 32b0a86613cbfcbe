"""A bank as arrays: what every image was offered at every level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from taxonomy.questions.bank import Bank


@dataclass(frozen=True)
class Grid:
    """Arrays (image, level), or (image, level, option); -1 where there is no question, or no further option."""

    leaf: np.ndarray
    """int32 (image,): index into the taxonomy's leaves."""
    nodes: np.ndarray
    """int32 (image, level, option): codes, in the bank's order."""
    position: np.ndarray
    """int8 (image, level): the truth's place."""
    scored: np.ndarray
    """bool (image, level)."""
    depth: np.ndarray
    """int16 (image, level, option): levels shared with the truth."""
    parent_offered: np.ndarray
    """bool (image, level, option)."""

    @property
    def options(self) -> np.ndarray:
        """int (image, level): how many options there are; 0 without a question."""
        return (self.nodes >= 0).sum(axis=2)

    @property
    def truth(self) -> np.ndarray:
        """int32 (image, level): the truth's code where the question is scored, else -1. What `path_scores` takes."""
        codes = np.take_along_axis(self.nodes, np.maximum(self.position, 0)[..., None], axis=2)[..., 0]
        return np.where(self.scored, codes, -1)

    @property
    def wrong(self) -> np.ndarray:
        """bool (image, level, option): it is an option, and not the right one."""
        places = np.arange(self.nodes.shape[2])
        return (self.nodes >= 0) & (places != self.position[..., None])


def grid(bank: Bank) -> Grid:
    """The questions of a bank as arrays."""
    table = bank.table
    image = np.repeat(np.arange(len(bank.starts) - 1), np.diff(bank.starts))
    names = table["level"].combine_chunks()
    index = {name: place for place, name in enumerate(bank.levels)}
    if hasattr(names, "dictionary"):
        lookup = np.array([index[name] for name in names.dictionary.to_pylist()])
        level = lookup[names.indices.to_numpy(zero_copy_only=False)]
    else:
        level = np.array([index[name] for name in names.to_pylist()])
    counts = table["nodes"].combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(table)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (len(bank.starts) - 1, len(bank.levels))

    def per_option(name: str, empty: int | bool, kind: type) -> np.ndarray:
        found = np.full((*shape, int(counts.max())), empty, kind)
        found[image[row], level[row], place] = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return found

    def per_question(name: str, empty: int | bool, kind: type) -> np.ndarray:
        found = np.full(shape, empty, kind)
        found[image, level] = table[name].to_numpy()
        return found

    return Grid(
        leaf=table["leaf"].to_numpy()[bank.starts[:-1]],
        nodes=per_option("nodes", -1, np.int32),
        position=per_question("truth", -1, np.int8),
        scored=per_question("scored", False, np.bool_),
        depth=per_option("distractor_depth", 0, np.int16),
        parent_offered=per_option("parent_offered", False, np.bool_),
    )
