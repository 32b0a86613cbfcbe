"""What the probes that are scikit-learn classifiers share: checked input, standardised features, probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from probing.grid import log_softmax

FLOATS = [np.float64, np.float32]
COLDEST, HOTTEST = 1e-4, 1e4
"""The temperatures that are looked at, times the spread of the scores."""


def training_data(probe: BaseEstimator, X: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (sample, feature), float32 or float64; the classes; and int64 codes (sample,) of the labels in them.

    Sets `n_features_in_` of the probe. Raises ValueError for what cannot be fitted, one class too.
    """
    X, y = validate_data(probe, X, y, dtype=FLOATS)  # pyright: ignore[reportArgumentType]
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"the labels hold one class, {classes[0]!r}; a probe needs two or more to tell apart")
    return np.asarray(X), classes, codes.astype(np.int64)


def known_features(probe: BaseEstimator, X: ArrayLike) -> np.ndarray:
    """Features (sample, feature) for a fitted probe. Raises ValueError, or NotFittedError."""
    check_is_fitted(probe)
    return np.asarray(validate_data(probe, X, dtype=FLOATS, reset=False))  # pyright: ignore[reportArgumentType]


def decisions(scores: np.ndarray) -> np.ndarray:
    """What `decision_function` returns for scores (sample, class): of two classes, the second's against the first's."""
    return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores


@dataclass(frozen=True)
class Standardised:
    """Features (z_NF = (x - shift_F) / scale_F), float64, and the way back to the user's."""

    z_NF: Tensor
    shift_F: Tensor
    scale_F: Tensor

    def outward(self, w_KF: Tensor, b_K: Tensor, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Weights (class, feature) and intercepts (class,) for the user's features; two classes become one row."""
        if len(w_KF) == 2:
            w_KF, b_K = w_KF[1:] - w_KF[:1], b_K[1:] - b_K[:1]
        coef_KF = w_KF / self.scale_F
        intercept_K = b_K - coef_KF @ self.shift_F
        return coef_KF.cpu().numpy().astype(dtype), intercept_K.cpu().numpy().astype(dtype)


def standardised(features_NF: Tensor, *, scale: bool = True, centre: bool = True) -> Standardised:
    """Centre and scale features (sample, feature) by their population's moments; a constant one is not scaled."""
    x_NF = features_NF.double()
    mean_F = x_NF.mean(0)
    std_F = (x_NF - mean_F).square_().mean(0).sqrt_()
    scale_F = torch.where(std_F > 1e-10 * mean_F.abs(), std_F, 1.0) if scale else torch.ones_like(std_F)
    shift_F = mean_F if centre else torch.zeros_like(mean_F)
    return Standardised((x_NF - shift_F).div_(scale_F), shift_F, scale_F)


def temperature(scores: np.ndarray, codes: np.ndarray) -> float:
    """The factor on scores (sample, class) at which their softmax has the least log-loss (Guo et al. 2017).

    The scores are of samples that were left out of the fit: on its own training samples a probe is surer than it should
    be. The loss is convex in the factor. 1 where there are no scores, or all are equal.
    """
    spread = float(np.std(scores)) if len(scores) else 0.0
    if spread == 0:
        return 1.0
    rows = np.arange(len(scores))

    def loss(exponent: float) -> float:
        return float(-log_softmax(np.exp(exponent) / spread * scores)[rows, codes].mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x) / spread)  # pyright: ignore[reportAttributeAccessIssue]
