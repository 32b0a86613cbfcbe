"""Leaf means, and how much noise is in them: all that the directions of a tree need of the samples.

Shape suffixes: N sample, L leaf, D feature, B draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.geometry.layout import csr

CHUNK = 1 << 16
"""Numbers of the features that are turned to float64 at a time."""


@dataclass(frozen=True)
class Samples:
    """Features and the leaf of each, in the order of their leaves' counts."""

    x_ND: Tensor
    leaf: np.ndarray
    """int (sample,), 0 .. leaves - 1; each leaf has two samples or more."""
    count_L: np.ndarray
    centre_D: Tensor
    """float64: the mean of all samples, taken off before anything is squared."""

    @classmethod
    def of(cls, x_ND: Tensor, leaf: np.ndarray) -> Samples:
        """No copy of the features is made."""
        rows = max(1, CHUNK // x_ND.shape[1])
        total = torch.zeros(x_ND.shape[1], dtype=torch.float64, device=x_ND.device)
        for part in x_ND.split(rows):
            total += part.sum(0, dtype=torch.float64)
        return cls(x_ND, leaf, np.bincount(leaf), total / len(x_ND))

    @property
    def leaves(self) -> int:
        """How many leaves there are."""
        return len(self.count_L)

    def chunks(self, numbers: int = CHUNK) -> Iterator[tuple[slice, Tensor]]:
        """(rows, their centred features in float64)."""
        step = max(1, numbers // self.x_ND.shape[1])
        for start in range(0, len(self.x_ND), step):
            rows = slice(start, min(start + step, len(self.x_ND)))
            yield rows, self.x_ND[rows].double() - self.centre_D

    def means(self, orders: np.ndarray | None = None) -> Tensor:
        """Centred leaf means (L, B, D), of the samples as they are or as they are dealt anew.

        orders: int (B, N): sample `orders[b, i]` takes the place of sample i.
        """
        if orders is None:
            total_LD = self.centre_D.new_zeros(self.leaves, self.x_ND.shape[1])
            for rows, x in self.chunks():
                part = self._assign(self.leaf[rows], np.arange(len(x)), len(x), torch.float64)
                total_LD += part @ x
            return (total_LD / self._counts(torch.float64)[:, None])[:, None]
        rows = self.leaf * len(orders) + np.arange(len(orders))[:, None]
        dtype = self.x_ND.dtype
        shape = (self.leaves * len(orders), len(self.x_ND))
        deal = csr(rows.ravel(), orders.ravel(), np.ones(rows.size), shape, dtype, self.x_ND.device)
        mean_LBD = (deal @ self.x_ND).view(self.leaves, len(orders), -1)
        mean_LBD /= self._counts(dtype)[:, None, None]
        mean_LBD -= self.centre_D.to(dtype)
        return mean_LBD

    def halves(self, mean_LD: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Leaf means (L, D) of a random half of each leaf's samples, and of the other half."""
        order = np.lexsort((rng.random(len(self.leaf)), self.leaf))
        starts = np.cumsum(self.count_L) - self.count_L
        half_L = (self.count_L + rng.integers(0, 2, self.leaves)) // 2
        within = np.arange(len(order)) - starts[self.leaf[order]]
        chosen = order[within < half_L[self.leaf[order]]]
        part = self._assign(self.leaf[chosen], chosen, len(self.x_ND), self.x_ND.dtype)
        size_L = torch.from_numpy(half_L).to(mean_LD)[:, None]
        first = (part @ self.x_ND).to(mean_LD.dtype) / size_L - self.centre_D.to(mean_LD.dtype)
        whole = self._counts(mean_LD.dtype)[:, None]
        return first, (whole * mean_LD - size_L * first) / (whole - size_L)

    def squares(self, onto: Tensor | None) -> Tensor:
        """float64 (N,): squared norms of the centred samples, after a linear map (D, D') if there is one."""
        found = self.centre_D.new_empty(len(self.x_ND))
        for rows, x in self.chunks():
            found[rows] = (x if onto is None else x @ onto).square().sum(1)
        return found

    def noise(self, mean_LBR: Tensor, squares_N: Tensor, orders: np.ndarray | None = None) -> Tensor:
        """(L, B): the expected squared error of each leaf mean: the variance within the leaf over its count.

        mean_LBR and squares_N after the same linear map.
        """
        dealt = squares_N[None] if orders is None else squares_N[torch.from_numpy(orders).to(squares_N.device)]
        leaf = torch.from_numpy(self.leaf).to(squares_N.device)
        total_BL = dealt.new_zeros(len(dealt), self.leaves).index_add_(1, leaf, dealt)
        count = self._counts(torch.float64)
        spread = total_BL.T / count[:, None] - mean_LBR.square().sum(2)
        return spread.clamp(min=0) / (count[:, None] - 1)

    def _assign(self, leaf: np.ndarray, columns: np.ndarray, width: int, dtype: torch.dtype) -> Tensor:
        return csr(leaf, columns, np.ones(len(leaf)), (self.leaves, width), dtype, self.x_ND.device)

    def _counts(self, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(self.count_L).to(self.x_ND.device, dtype)
