"""The coordinates in which probes are solved: standardised, centred, and turned into the covariance's eigenbasis.

The turn is orthogonal, so the penalty ||W||_F^2 and the solution are what they were; but the features are uncorrelated,
which is what the solver's preconditioner needs. With fewer samples than features only the span of the samples is kept:
the solution lies in it, and the problem shrinks from `feature` to `sample` dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK_ROWS = 4096


@dataclass(frozen=True)
class SpectralBasis:
    """Features turned and ready, and the way back to the user's coordinates.

    N sample, F feature of the user's, D = min(N, F) directions (+ 1 for the intercept), C weight row.
    """

    x_ND: Tensor
    """The last column is the constant 1 when there is an intercept."""
    spectrum_D: Tensor
    """Mean square of each column."""
    turn_FD: Tensor
    """Orthonormal columns (without the intercept's)."""
    shift_F: Tensor
    scale_F: Tensor
    intercept: bool

    def outward(self, w_CD: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (C, F) and intercepts (C,) for the user's own features."""
        if not self.intercept:
            return (w_CD @ self.turn_FD.T) / self.scale_F, w_CD.new_zeros(len(w_CD))
        coef_CF = (w_CD[:, :-1] @ self.turn_FD.T) / self.scale_F
        return coef_CF, w_CD[:, -1] - coef_CF @ self.shift_F

    def inward(self, coef_CF: Tensor, intercept_C: Tensor) -> Tensor:
        """The inverse of `outward`, up to what lies outside the span of the samples: (C, D)."""
        turned = (coef_CF * self.scale_F) @ self.turn_FD
        if not self.intercept:
            return turned
        return torch.cat([turned, (intercept_C + coef_CF @ self.shift_F)[:, None]], 1)


def spectral_basis(x_NF: Tensor, *, standardize: bool, intercept: bool) -> SpectralBasis:
    """Standardise (`standardize`) and turn features (sample, feature), floating; `x_NF` is left as it is.

    With an intercept the features are centred too (it takes the shift up), without one they are only scaled. A constant
    feature is not scaled. Statistics are the population's (divided by n) and summed in float64.
    """
    mean_F, std_F = _moments(x_NF)
    constant_F = std_F <= 1e-10 * mean_F.abs()
    scale_F = torch.where(constant_F | (std_F == 0), 1, std_F) if standardize else torch.ones_like(std_F)
    shift_F = mean_F if intercept else torch.zeros_like(mean_F)
    shift_F, scale_F = shift_F.to(x_NF.dtype), scale_F.to(x_NF.dtype)
    standard_NF = (x_NF - shift_F) / scale_F
    samples, features = standard_NF.shape
    if samples < features:
        span_FD = torch.linalg.qr(standard_NF.T).Q
        standard_NF = standard_NF @ span_FD
    else:
        span_FD = None
    turn_DD = torch.linalg.eigh(standard_NF.T @ standard_NF / samples).eigenvectors
    x_ND = standard_NF @ turn_DD
    turn_FD = turn_DD if span_FD is None else span_FD @ turn_DD
    if intercept:
        x_ND = torch.cat([x_ND, x_ND.new_ones(samples, 1)], 1)
    spectrum_D = torch.linalg.vector_norm(x_ND, dim=0).square() / samples
    return SpectralBasis(x_ND.contiguous(), spectrum_D, turn_FD, shift_F, scale_F, intercept)


def _moments(x_NF: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature, float64 (feature,), in two passes of bounded memory."""
    total_F = sum(chunk.double().sum(0) for chunk in x_NF.split(CHUNK_ROWS))
    mean_F = torch.as_tensor(total_F) / len(x_NF)
    squares_F = sum((chunk.double() - mean_F).square().sum(0) for chunk in x_NF.split(CHUNK_ROWS))
    return mean_F, (torch.as_tensor(squares_F) / len(x_NF)).sqrt()
