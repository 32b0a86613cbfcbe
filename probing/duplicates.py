"""Test samples that were trained on under another name: equal files, and nearly equal pictures.

A copy of a training image in test makes memory look like knowledge. Equal files have equal sha256 in the store. Nearly
equal pictures have nearly equal features: cosine similarity at one site, after the mean of the fitted rows is taken off
(activations share a large common part, which would make all of them alike).

The site is the encoder's last. Early layers follow each patch, and a mirrored or brighter copy is further from its
original there than many a different photograph; docs/protocols.md has the measurement that `THRESHOLD` is from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from extract import SiteInfo
from taxonomy.splits import TEST

BLOCK_ROWS = 2048
MOST_PAIRS = 20
THRESHOLD = 0.95
"""Cosine at the encoder's last site from which two photographs count as copies of one."""


@dataclass(frozen=True)
class Duplicates:
    """What each test sample has its like among the fitted samples. Rows are those that were given."""

    exact: np.ndarray
    """bool (row,): test rows whose file was fitted on too."""
    similarity: np.ndarray | None
    """float32 (row,): of test rows, the largest cosine with a fitted row; NaN for others. None where not looked for."""
    nearest: np.ndarray
    """int (row,): that fitted row; -1 where there is none."""
    threshold: float

    @property
    def near(self) -> np.ndarray:
        """bool (row,): test rows that a fitted row is nearly equal to, exact ones included."""
        if self.similarity is None:
            return self.exact
        return self.exact | (np.nan_to_num(self.similarity, nan=-1) >= self.threshold)

    def report(self, ids: Sequence[str], split: np.ndarray, leaf: np.ndarray) -> dict[str, Any]:
        """For the summary: counts, the spread of similarities, and the closest pairs."""
        tested, near = split == TEST, np.flatnonzero(self.near)
        found: dict[str, Any] = {"test": int(tested.sum()), "exact": int(self.exact.sum()), "near": len(near)}
        found["threshold"] = self.threshold
        found["other_leaf"] = int(np.count_nonzero(leaf[near] != leaf[self.nearest[near]]))
        order = near.copy()
        if self.similarity is not None:
            values = self.similarity[tested]
            found["similarity"] = {f"{q:g}": round(float(np.quantile(values, q)), 4) for q in (0.5, 0.9, 0.99, 1.0)}
            order = near[np.argsort(-self.similarity[near], kind="stable")]
        found["pairs"] = [{"test": ids[row], "fitted": ids[self.nearest[row]]} for row in map(int, order[:MOST_PAIRS])]
        return found


def compared_site(sites: Iterable[SiteInfo]) -> str:
    """The name of the site at which pictures are compared: the encoder's last, or the first of all without one."""
    names = [(site.stage, site.name) for site in sites]
    encoder = [name for stage, name in names if stage == "encoder"]
    return encoder[-1] if encoder else names[0][1]


def find_duplicates(
    split: np.ndarray, sha256: np.ndarray, X: np.ndarray | None = None, threshold: float = THRESHOLD
) -> Duplicates:
    """split (row,) of train, validation, test; sha256 (row,) strings, empty = not known; X float (row, feature)."""
    tested, fitted = np.flatnonzero(split == TEST), np.flatnonzero(split != TEST)
    nearest = np.full(len(split), -1)
    exact = np.zeros(len(split), bool)
    first = {}
    for row in fitted.tolist():
        if sha256[row]:
            first.setdefault(sha256[row], row)
    for row in tested.tolist():
        if sha256[row] in first:
            exact[row], nearest[row] = True, first[sha256[row]]
    similarity = None
    if X is not None:
        similarity = np.full(len(split), np.nan, np.float32)
        unit = _directions(X, X[fitted].mean(0, dtype=np.float64))
        for rows in np.split(tested, range(BLOCK_ROWS, len(tested), BLOCK_ROWS)):
            cosine = unit[rows] @ unit[fitted].T
            best = cosine.argmax(1)
            similarity[rows] = cosine[np.arange(len(rows)), best]
            nearest[rows] = np.where(exact[rows], nearest[rows], fitted[best])
    return Duplicates(exact, similarity, nearest, threshold)


def _directions(X: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Rows less the mean, of length 1; a row equal to the mean is 0, and like none."""
    centred = (X - mean).astype(np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(length > 0, length, 1)
