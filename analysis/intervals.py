"""Differences between sites, paired: the same test samples, the same draws of leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from probing.bootstrap import LeafBootstrap

HCA = "HCA"


@dataclass(frozen=True)
class Hits:
    """Which sample is right at which site and level."""

    sites: tuple[str, ...]
    levels: tuple[str, ...]
    leaf: np.ndarray
    """int32 (sample,)."""
    right: np.ndarray
    """float32 (site, sample, level): 1 right, 0 wrong, NaN where the sample does not have the level."""

    @classmethod
    def of(cls, predictions: pa.Table, sites: Sequence[str], levels: Sequence[str]) -> Hits:
        """From the predictions of a run; `sites` and `levels` in the order they should have."""
        ids, sample = np.unique(predictions["id"].to_numpy(), return_inverse=True)
        site, level = (positions(predictions[name], names) for name, names in (("site", sites), ("level", levels)))
        right = np.full((len(sites), len(ids), len(levels)), np.nan, np.float32)
        right[site, sample, level] = predictions["true"].to_numpy() == predictions["predicted"].to_numpy()
        leaf = np.zeros(len(ids), np.int32)
        leaf[sample] = predictions["leaf"].to_numpy()
        return cls(tuple(sites), tuple(levels), leaf, right)

    def scores(self, site: str) -> dict[str, np.ndarray]:
        """Per level and for HCA, float (sample,): 1 right, 0 wrong, NaN where the sample does not count."""
        right = self.right[self.sites.index(site)]
        path = np.where(np.isnan(right), 1, right).min(1)
        path[np.isnan(right).all(1)] = np.nan
        return {level: right[:, column] for column, level in enumerate(self.levels)} | {HCA: path}


@dataclass(frozen=True)
class Change:
    """How much more one site gets right than another, as a difference of shares."""

    before: str
    after: str
    of: str
    """A level, or HCA."""
    difference: float
    low: float
    high: float
    n: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def changes(hits: Hits, pairs: Sequence[tuple[str, str]], draws: int, seed: int) -> list[Change]:
    """The change of every level and of HCA from the first to the second site of each pair, with 95 % intervals.

    Whole leaves are drawn, the same ones on both sides. The intervals are not adjusted for how many there are.
    """
    bootstrap = LeafBootstrap.of(hits.leaf, draws, seed)
    found = []
    for before, after in pairs:
        first, second = hits.scores(before), hits.scores(after)
        for name in first:
            difference = second[name] - first[name]
            low, high = bootstrap.interval(difference, share=False)
            n = int(np.isfinite(difference).sum())
            found.append(Change(before, after, name, float(np.nanmean(difference)), low, high, n))
    return found


def positions(column: pa.ChunkedArray, names: Sequence[str]) -> np.ndarray:
    """Where each value of a text column stands in `names`."""
    place = {name: index for index, name in enumerate(names)}
    whole = column.combine_chunks().dictionary_encode() if not pa.types.is_dictionary(column.type) else column
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.unify_dictionaries().combine_chunks()
    table = np.array([place[name] for name in whole.dictionary.to_pylist()])
    return table[whole.indices.to_numpy(zero_copy_only=False)]
