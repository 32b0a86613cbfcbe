"""Inner products, each a linear map after which the Euclidean one applies, and covariances that are fit to be inverted.

* euclidean: none.
* total: whitened by the covariance of all samples.
* within: whitened by the covariance of the samples about their leaves' means.
* causal: that of a language model's unembedding vectors, for activations (Park et al., 2311.03658, 2406.01506).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from analysis.geometry.leaf_means import CHUNK, Samples
from commandline import InputError

InnerProduct = Literal["euclidean", "total", "within", "causal"]
Shrinkage = float | Literal["auto"] | None
ROWS_PER_FEATURE = 2
"""Fewer samples per feature than this, and a covariance is inverted only when it is shrunk."""


@dataclass(frozen=True)
class Covariance:
    """A covariance, its shrinkage (1 - s) S + s trace(S) / d I included, by its eigenvectors."""

    value_D: Tensor
    axes_DD: Tensor
    shrinkage: float
    n: int

    def power(self, exponent: float) -> Tensor:
        """(D, D): the symmetric power; directions without variance are left out of a negative one."""
        kept = self.value_D > len(self.value_D) * torch.finfo(self.value_D.dtype).eps * self.value_D.max()
        return (self.axes_DD * torch.where(kept, self.value_D.clamp(min=1e-300) ** exponent, 0)) @ self.axes_DD.T


class Refused(InputError):
    """A covariance that too few samples determine, and that was not to be shrunk."""


def covariance(samples: Samples, mean_LD: Tensor | None, shrinkage: Shrinkage) -> Covariance:
    """Of all samples, or, given the leaf means (centred), of the samples about them. float64.

    "auto" is Ledoit and Wolf's shrinkage (2004), as sklearn.covariance.ledoit_wolf_shrinkage of the residuals. Raises
    Refused without shrinkage when there are fewer than two samples per feature.
    """
    n, d = samples.x_ND.shape
    if not shrinkage and n < ROWS_PER_FEATURE * d:
        raise Refused(
            f"{n} samples of {d} features do not determine a covariance that can be inverted (n/d = {n / d:.2f}, "
            f"below {ROWS_PER_FEATURE}); shrink it (shrinkage 'auto') or use the Euclidean inner product"
        )
    total_DD, fourth = samples.centre_D.new_zeros(d, d), 0.0
    leaf = torch.from_numpy(samples.leaf).to(samples.x_ND.device)
    for rows, chunk in samples.chunks(max(d * d // 8, CHUNK)):
        x = chunk if mean_LD is None else chunk - mean_LD[leaf[rows]].double()
        total_DD.addmm_(x.T, x)
        fourth += float(x.square().sum(1).square().sum())
    total_DD /= n
    s = ledoit_wolf(total_DD, fourth, n) if shrinkage == "auto" else float(shrinkage or 0)
    if not 0 <= s <= 1:
        raise InputError(f"shrinkage should be auto or a number from 0 to 1, not {shrinkage!r}")
    return _decomposed(total_DD, s, n)


def ledoit_wolf(covariance_DD: Tensor, fourth: float, n: int) -> float:
    """The shrinkage that is best for a covariance of n centred samples, `fourth` the sum of their norms' 4th powers."""
    d = len(covariance_DD)
    squared, trace = float(covariance_DD.square().sum()), float(covariance_DD.trace())
    far = (squared - trace**2 / d) / d
    near = min((fourth / n - squared) / (d * n), far)
    return near / far if near > 0 and far > 0 else 0.0


def causal_map(unembedding: Tensor) -> Tensor:
    """(D, D): what makes the causal inner product of activations Euclidean, S^(1/2), S the covariance of the rows.

    Unembedding vectors (token, D) go through S^(-1/2) (`analysis.geometry.park.unified_space`), and activations, their
    duals, through S^(1/2): their products with unembeddings, the logits, stay what they are.
    """
    return unembedding_covariance(unembedding).power(0.5)


def unembedding_covariance(unembedding: Tensor) -> Covariance:
    """The covariance of the rows (token, D), in float64, not shrunk."""
    rows = unembedding.double()
    rows = rows - rows.mean(0)
    return _decomposed(rows.T @ rows / len(rows), 0.0, len(rows))


def participation(samples: Samples, seed: int, rows: int = 256) -> float:
    """The effective rank of the samples: trace(S)^2 / trace(S^2), S their covariance.

    trace(S^2) is the mean squared product of two samples, over pairs from two disjoint random sets: without bias,
    and without S.
    """
    rng = np.random.default_rng([seed, 11])
    chosen = torch.from_numpy(rng.permutation(len(samples.x_ND))[: 2 * rows]).to(samples.x_ND.device)
    half = (len(chosen) + 1) // 2

    def centred(part: Tensor) -> Tensor:
        return samples.x_ND[part].double() - samples.centre_D

    first, trace, squared = centred(chosen[:half]), 0.0, 0.0
    trace += float(torch.linalg.vector_norm(first) ** 2)
    for part in chosen[half:].split(64):
        second = centred(part)
        trace += float(torch.linalg.vector_norm(second) ** 2)
        squared += float(torch.linalg.vector_norm(first @ second.T) ** 2)
    trace, squared = trace / len(chosen), squared / max(1, half * (len(chosen) - half))
    return trace**2 / squared if squared > 0 else float("nan")


def _decomposed(covariance_DD: Tensor, shrinkage: float, n: int) -> Covariance:
    value_D, axes_DD = torch.linalg.eigh(covariance_DD)
    value_D = (1 - shrinkage) * value_D.clamp(min=0) + shrinkage * value_D.mean()
    return Covariance(value_D, axes_DD, shrinkage, n)
