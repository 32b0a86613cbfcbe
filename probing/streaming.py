"""Features that do not fit in memory: read again in chunks of rows for every product, with the same solution.

The chunks are raw; only the (class, feature) side of each product is turned into the eigenbasis, which costs nothing
beside the rows. What lies in memory at one time is one chunk, the (feature, feature) turn, and the batch of problems.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from commandline import InputError

if TYPE_CHECKING:
    from extract import Store


COPIES = 8
"""Features are held in memory where that many copies of them fit the budget: a basis takes half as many for a while."""


def fits(shape: tuple[int, int], itemsize: int, budget: int) -> bool:
    """Whether features (sample, feature) are held in memory, by a budget in bytes."""
    return COPIES * shape[0] * shape[1] * itemsize <= budget


@runtime_checkable
class RowChunks(Protocol):
    """A matrix (sample, feature) that is read in pieces, the same ones each time."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype: ...
    def chunks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """(rows, their features), in order, each row once."""
        ...


@dataclass(frozen=True)
class ArrayChunks:
    """Chunks of an array, such as one mapped from a file."""

    array: np.ndarray
    rows: int = 1024

    @property
    def shape(self) -> tuple[int, int]:
        samples, features = self.array.shape
        return samples, features

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float64 if self.array.dtype.itemsize > 4 else np.float32)

    def chunks(self) -> Iterator[tuple[slice, np.ndarray]]:
        for start in range(0, len(self.array), self.rows):
            rows = slice(start, min(start + self.rows, len(self.array)))
            yield rows, np.asarray(self.array[rows], self.dtype)


@dataclass(frozen=True)
class SiteChunks:
    """Rows of a site of a store, a chunk of the store at a time: float32, nothing kept between chunks.

    Some of its rows, as of an array, are `chunks[rows]`: a mask, or ascending indices.
    """

    store: Store
    site: str
    rows: np.ndarray
    """Indices of samples, ascending."""

    def __post_init__(self) -> None:
        if (np.diff(self.rows) <= 0).any():
            raise InputError("rows to stream should be ascending indices, each once")

    def __getitem__(self, rows: np.ndarray) -> SiteChunks:
        return SiteChunks(self.store, self.site, self.rows[rows])

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.store.site(self.site).width

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def chunks(self) -> Iterator[tuple[slice, np.ndarray]]:
        units = self.rows // self.store.chunk_rows
        edges = np.flatnonzero(np.diff(units, prepend=-1, append=-1))
        for start, stop in pairwise(edges):
            yield slice(int(start), int(stop)), self.store.matrix(self.site, self.rows[start:stop])


def checked(source: RowChunks) -> Iterator[tuple[slice, np.ndarray]]:
    """The chunks of a source. Raises InputError for NaN and infinity."""
    for rows, matrix in source.chunks():
        finite = np.isfinite(matrix).all(1)
        if not finite.all():
            raise InputError(
                f"{(~finite).sum()} of rows {rows.start} to {rows.stop - 1} hold NaN or infinite features, the first "
                f"is row {rows.start + int(np.argmin(finite))}; leave such rows out"
            )
        yield rows, matrix


@dataclass(frozen=True)
class StreamedFeatures:
    """The columns of `probing.basis.SpectralBasis` without keeping them: X = (raw - shift) / scale @ turn, [1].

    F feature of the source's, D = F (+ 1 for the intercept).
    """

    source: RowChunks
    shift_F: Tensor
    scale_F: Tensor
    turn_FD: Tensor
    intercept: bool
    chunk_rows: int
    """Rows of the largest chunk."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape[0], self.turn_FD.shape[1] + self.intercept

    @property
    def dtype(self) -> torch.dtype:
        return self.turn_FD.dtype

    @property
    def device(self) -> torch.device:
        return self.turn_FD.device

    @property
    def resident_bytes(self) -> int:
        """What stays in memory: the turn, and one chunk raw, decoded and standardised."""
        width, chunk = self.source.shape[1], 3 * self.chunk_rows * self.source.shape[1]
        return self.turn_FD.element_size() * (width * width + chunk)

    def standardised(self) -> Iterator[tuple[slice, Tensor]]:
        """(rows, centred and scaled features), chunk by chunk."""
        for rows, matrix in self.source.chunks():
            chunk_nF = torch.from_numpy(np.require(matrix, requirements=["C", "W", "O"])).to(self.turn_FD)
            yield rows, chunk_nF.sub_(self.shift_F).div_(self.scale_F)

    def logits(self, w_CD: Tensor) -> Tensor:
        inner = w_CD.shape[1] - self.intercept
        w_CF = w_CD[:, :inner] @ self.turn_FD.T
        out_CN = w_CD.new_empty(len(w_CD), self.shape[0])
        for rows, chunk_nF in self.standardised():
            torch.matmul(w_CF, chunk_nF.T, out=out_CN[:, rows])
        return out_CN.add_(w_CD[:, inner:]) if self.intercept else out_CN

    def gradient(self, residual_CN: Tensor) -> Tensor:
        total_CF = residual_CN.new_zeros(len(residual_CN), self.source.shape[1])
        for rows, chunk_nF in self.standardised():
            total_CF.addmm_(residual_CN[:, rows], chunk_nF)
        turned_CD = total_CF @ self.turn_FD
        return torch.cat([turned_CD, residual_CN.sum(1, keepdim=True)], 1) if self.intercept else turned_CD
