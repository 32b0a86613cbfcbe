"""What every probe said of every test sample, as arrays: for what is counted sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from analysis.bottleneck.readable import NOWHERE, parents


@dataclass(frozen=True, eq=False)
class Readings:
    """Nodes have one numbering over all levels."""

    sites: tuple[str, ...]
    levels: tuple[str, ...]
    """Coarse to fine."""
    ids: tuple[str, ...]
    leaf: np.ndarray
    """int (sample,)."""
    nodes: tuple[str, ...]
    """Paths, joined by ` / `."""
    truth: np.ndarray
    """int32 (sample, level), -1 where a sample lacks the level."""
    predicted: np.ndarray
    """int32 (site, sample, level)."""

    @classmethod
    def of(cls, predictions: pa.Table, sites: Sequence[str], levels: Sequence[str]) -> Readings:
        """From the predictions of a run; `sites` and `levels` in the order they should have."""
        ids, sample = _coded(predictions["id"])
        site, level = (_placed(predictions[name], known) for name, known in (("site", sites), ("level", levels)))
        true_names, true = _coded(predictions["true_name"])
        predicted_names, predicted = _coded(predictions["predicted_name"])
        nodes = list(dict.fromkeys([*true_names, *predicted_names]))
        place = {name: code for code, name in enumerate(nodes)}
        truth = np.full((len(ids), len(levels)), NOWHERE, np.int32)
        said = np.full((len(sites), *truth.shape), NOWHERE, np.int32)
        truth[sample, level] = np.array([place[name] for name in true_names], np.int32)[true]
        said[site, sample, level] = np.array([place[name] for name in predicted_names], np.int32)[predicted]
        leaf = np.zeros(len(ids), np.int64)
        leaf[sample] = predictions["leaf"].to_numpy()
        return cls(tuple(sites), tuple(levels), tuple(ids), leaf, tuple(nodes), truth, said)

    @cached_property
    def parent_of(self) -> np.ndarray:
        """int (node,): the nearest node above each, -1 at the top."""
        return parents(self.nodes)

    @cached_property
    def deepest(self) -> np.ndarray:
        """int (sample,): the last level that a sample has."""
        last = len(self.levels) - 1
        return last - np.argmax(self.truth[:, ::-1] != NOWHERE, axis=1)

    def at(self, site: str) -> np.ndarray:
        """int32 (sample, level): the predictions of a site."""
        return self.predicted[self.sites.index(site)]

    def right(self, site: str) -> np.ndarray:
        """float (sample, level): 1 right, 0 wrong, NaN where the sample lacks the level."""
        return np.where(self.truth != NOWHERE, self.at(site) == self.truth, np.nan)

    def name(self, node: int) -> str:
        """The last part of a node's path."""
        path, above = self.nodes[node], self.parent_of[node]
        return path[len(self.nodes[above]) + 3 :] if above != NOWHERE else path.rsplit(" / ", 1)[-1]


def _coded(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The values of a text column, and which of them each row holds."""
    whole = column.cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.unify_dictionaries().combine_chunks()
    return whole.dictionary.to_pylist(), whole.indices.to_numpy(zero_copy_only=False)


def _placed(column: pa.ChunkedArray, known: Sequence[str]) -> np.ndarray:
    values, codes = _coded(column)
    place = {name: index for index, name in enumerate(known)}
    return np.array([place[value] for value in values], np.int64)[codes]
