"""The coordinates in which probes are solved: standardised, centred, and turned into the covariance's eigenbasis.

The turn is orthogonal, so the penalty ||W||_F^2 and the solution are what they were; but the features are uncorrelated,
which is what the solver's preconditioner needs. With fewer samples than features only the span of the samples is kept:
the solution lies in it, and the problem shrinks from `feature` to `sample` dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probing.features import DenseFeatures, Features
from probing.precision import full_precision
from probing.streaming import RowChunks, StreamedFeatures, checked

CHUNK_ROWS = 256


@dataclass(frozen=True)
class SpectralBasis:
    """Features turned and ready, and the way back to the user's coordinates.

    N sample, F feature of the user's, D = min(N, F) directions (+ 1 for the intercept), C weight row.
    """

    features: Features
    """(N, D). The last column is the constant 1 when there is an intercept."""
    spectrum_D: Tensor
    """Mean square of each column."""
    turn_FD: Tensor
    """Orthonormal columns (without the intercept's)."""
    shift_F: Tensor
    scale_F: Tensor
    intercept: bool

    @full_precision()
    def outward(self, w_CD: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (C, F) and intercepts (C,) for the user's own features."""
        if not self.intercept:
            return (w_CD @ self.turn_FD.T) / self.scale_F, w_CD.new_zeros(len(w_CD))
        coef_CF = (w_CD[:, :-1] @ self.turn_FD.T) / self.scale_F
        return coef_CF, w_CD[:, -1] - coef_CF @ self.shift_F

    @full_precision()
    def inward(self, coef_CF: Tensor, intercept_C: Tensor) -> Tensor:
        """The inverse of `outward`, up to what lies outside the span of the samples: (C, D)."""
        turned = (coef_CF * self.scale_F) @ self.turn_FD
        if not self.intercept:
            return turned
        return torch.cat([turned, (intercept_C + coef_CF @ self.shift_F)[:, None]], 1)


@full_precision()
def spectral_basis(x_NF: Tensor, *, standardize: bool, intercept: bool) -> SpectralBasis:
    """Standardise (`standardize`) and turn features (sample, feature), floating; `x_NF` is left as it is.

    With an intercept the features are centred too (it takes the shift up), without one they are only scaled. A constant
    feature is not scaled. Statistics are the population's (divided by n) and summed in float64.
    """
    mean_F, std_F = _moments(x_NF)
    shift_F, scale_F = _standard(mean_F, std_F, x_NF.dtype, standardize=standardize, intercept=intercept)
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
    return SpectralBasis(DenseFeatures(x_ND.contiguous()), spectrum_D, turn_FD, shift_F, scale_F, intercept)


@full_precision()
def streamed_basis(
    source: RowChunks, *, standardize: bool, intercept: bool, dtype: torch.dtype, device: torch.device
) -> SpectralBasis:
    """The same for features that stay where they are, in two passes over them; every direction is kept.

    Raises InputError for NaN and infinity.
    """
    samples, features = source.shape
    total_F = torch.zeros(features, dtype=torch.float64, device=device)
    largest = 0
    for _, matrix in checked(source):
        largest = max(largest, len(matrix))
        total_F += torch.from_numpy(matrix).to(device).sum(0, dtype=torch.float64)
    mean_F = total_F / samples
    shift_F = (mean_F if intercept else torch.zeros_like(mean_F)).to(dtype)
    squares_F = torch.zeros_like(mean_F)
    gram_FF = torch.zeros(features, features, dtype=dtype, device=device)
    for _, matrix in source.chunks():
        for chunk_nF in torch.from_numpy(matrix).to(device).split(CHUNK_ROWS):
            squares_F += (chunk_nF.double() - mean_F).square_().sum(0)
            moved_nF = chunk_nF.to(dtype) - shift_F
            gram_FF.addmm_(moved_nF.T, moved_nF)
    std_F = (squares_F / samples).sqrt()
    _, scale_F = _standard(mean_F, std_F, dtype, standardize=standardize, intercept=intercept)
    gram_FF.div_(scale_F[:, None]).div_(scale_F * samples)
    spectrum_D, turn_FD = torch.linalg.eigh(gram_FF)
    spectrum_D = spectrum_D.clamp(min=0)
    if intercept:
        spectrum_D = torch.cat([spectrum_D, spectrum_D.new_ones(1)])
    streamed = StreamedFeatures(source, shift_F, scale_F, turn_FD, intercept, largest)
    return SpectralBasis(streamed, spectrum_D, turn_FD, shift_F, scale_F, intercept)


def _standard(
    mean_F: Tensor, std_F: Tensor, dtype: torch.dtype, *, standardize: bool, intercept: bool
) -> tuple[Tensor, Tensor]:
    """Shift and scale of each feature; what varies by rounding only is not scaled."""
    constant_F = (std_F <= 1e-10 * mean_F.abs()) | (std_F == 0)
    scale_F = torch.where(constant_F, 1, std_F) if standardize else torch.ones_like(std_F)
    shift_F = mean_F if intercept else torch.zeros_like(mean_F)
    return shift_F.to(dtype), scale_F.to(dtype)


def _moments(x_NF: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature, float64 (feature,), in two passes of bounded memory."""
    total_F = sum(chunk.double().sum(0) for chunk in x_NF.split(CHUNK_ROWS))
    mean_F = torch.as_tensor(total_F) / len(x_NF)
    squares_F = sum((chunk.double() - mean_F).square().sum(0) for chunk in x_NF.split(CHUNK_ROWS))
    return mean_F, (torch.as_tensor(squares_F) / len(x_NF)).sqrt()
