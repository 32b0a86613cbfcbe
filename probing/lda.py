"""The linear discriminant probe, its within-class covariance shrunk."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

from probing.classifier import decisions, known_features, standardised, training_data
from probing.grid import linear_logits, log_softmax, resolve_device
from probing.mean_difference import class_means


class LDAProbe(ClassifierMixin, BaseEstimator):
    """Linear discriminant analysis: Gaussian classes with one covariance, the class with the highest posterior wins.

    The covariance is that of the samples about their class means, S, shrunk to (1 - s) S + s * trace(S) / d * I, on
    features standardised on the training rows (unless `standardize` is False). With a number for `shrinkage` it is
    LinearDiscriminantAnalysis(solver="lsqr", shrinkage=s) on those features. "auto" is Ledoit and Wolf's s (2004) for
    all residuals together; scikit-learn's own "auto" takes an s for each class from that class's samples alone, of
    which there are few. Solved in float64; without shrinkage, directions in which the classes do not vary are left out.

    device: auto (the first GPU, else the CPU), cpu, cuda, cuda:1.

    Fitted attributes, in the user's feature scale and the dtype of X: `coef_` (class, feature), `intercept_` (class,),
    of two classes one row; `means_` (class, feature), `priors_` (class,), the classes' shares of the training rows;
    `shrinkage_`, `classes_`.
    """

    def __init__(
        self, shrinkage: float | Literal["auto"] = "auto", standardize: bool = True, device: str = "auto"
    ) -> None:
        self.shrinkage = shrinkage
        self.standardize = standardize
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit on features (sample, feature) and labels (sample,). Raises ValueError, for one class too."""
        X, self.classes_, codes = training_data(self, X, y)
        if self.shrinkage != "auto" and not (isinstance(self.shrinkage, int | float) and 0 <= self.shrinkage <= 1):
            raise ValueError(f"shrinkage should be auto or a number from 0 to 1, not {self.shrinkage!r}")
        at = standardised(torch.tensor(X, device=resolve_device(self.device)), scale=self.standardize)
        code_N = torch.from_numpy(codes).to(at.z_NF.device)
        count_K = torch.bincount(code_N).double()
        prior_K = count_K / len(code_N)
        mean_KF = class_means(at.z_NF, code_N, count_K)
        residual_NF = at.z_NF - mean_KF[code_N]
        if not bool(residual_NF.any()):
            raise ValueError(
                f"the {len(codes)} samples of {len(count_K)} classes do not vary within any class, so their covariance "
                "is unknown; give more samples per class, or use MeanDifferenceProbe"
            )
        self.shrinkage_ = (
            float(ledoit_wolf_shrinkage(residual_NF.cpu().numpy(), assume_centered=True))
            if self.shrinkage == "auto"
            else float(self.shrinkage)
        )
        w_KF = _unmix(residual_NF, mean_KF, self.shrinkage_)
        b_K = prior_K.log() - torch.linalg.vecdot(w_KF, mean_KF) / 2
        self.means_ = (mean_KF * at.scale_F + at.shift_F).cpu().numpy().astype(X.dtype)
        self.priors_ = prior_K.cpu().numpy()
        self.coef_, self.intercept_ = at.outward(w_KF, b_K, X.dtype)
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """(sample, class), or (sample,) for two classes: above 0 is the second."""
        return decisions(self._scores(X))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """(sample, class)."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """(sample, class)."""
        return log_softmax(self._scores(X).astype(np.float64))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """(sample,), labels as they were given."""
        best = self._scores(X).argmax(1)
        return self.classes_[best]

    def _scores(self, X: ArrayLike) -> np.ndarray:
        features = known_features(self, X)
        return linear_logits(features, self.coef_, self.intercept_)


def _unmix(residual_NF: Tensor, mean_KF: Tensor, shrinkage: float) -> Tensor:
    """The class means times the inverse of the shrunk covariance of the residuals: (class, feature)."""
    samples, features = residual_NF.shape
    variance_F, axes_FF = torch.linalg.eigh(residual_NF.T @ residual_NF / samples)
    shrunk_F = (1 - shrinkage) * variance_F.clamp(min=0) + shrinkage * variance_F.mean()
    varies_F = shrunk_F > features * torch.finfo(shrunk_F.dtype).eps * shrunk_F.max()
    return (mean_KF @ axes_FF * torch.where(varies_F, 1 / shrunk_F, 0)) @ axes_FF.T
