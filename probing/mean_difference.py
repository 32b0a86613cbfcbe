"""The mean-difference probe: the class with the nearest mean."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor

from probing.classifier import decisions, known_features, standardised, temperature, training_data
from probing.grid import linear_logits, log_softmax, resolve_device


class MeanDifferenceProbe(ClassifierMixin, BaseEstimator):
    """Nearest class mean, on features standardised on the training rows (unless `standardize` is False).

    Nothing is fitted but the means, so nothing can be overfitted; of two classes, the direction is the difference of
    their means. It is NearestCentroid on those features. Written as a linear probe its weights are the means and its
    intercepts -||mean||^2 / 2; classes count alike, however many samples they have.

    `predict_proba` is a softmax of those scores at the scale that has the least log-loss on the training samples, each
    against its own class's mean without it (samples that are alone in their class are left out of that).

    device: auto (the first GPU, else the CPU), cpu, cuda, cuda:1.

    Fitted attributes, in the user's feature scale and the dtype of X: `means_` (class, feature), `coef_` (class,
    feature), `intercept_` (class,), of two classes one row; `classes_`, `temperature_`.
    """

    def __init__(self, standardize: bool = True, device: str = "auto") -> None:
        self.standardize = standardize
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit on features (sample, feature) and labels (sample,). Raises ValueError, for one class too."""
        X, self.classes_, codes = training_data(self, X, y)
        at = standardised(torch.tensor(X, device=resolve_device(self.device)), scale=self.standardize)
        code_N = torch.from_numpy(codes).to(at.z_NF.device)
        count_K = torch.bincount(code_N).double()
        mean_KF = class_means(at.z_NF, code_N, count_K)
        self.means_ = (mean_KF * at.scale_F + at.shift_F).cpu().numpy().astype(X.dtype)
        self.coef_, self.intercept_ = at.outward(mean_KF, -mean_KF.square().sum(1) / 2, X.dtype)
        left_out_NK = _left_out(at.z_NF, code_N, count_K, mean_KF).cpu().numpy()
        counts = (count_K[code_N] > 1).cpu().numpy()
        self.temperature_ = temperature(left_out_NK[counts], codes[counts])
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """(sample, class), or (sample,) for two classes: above 0 is the second."""
        return decisions(self._scores(X))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """(sample, class)."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """(sample, class)."""
        scores = self._scores(X).astype(np.float64)
        return log_softmax(self.temperature_ * scores)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """(sample,), labels as they were given."""
        best = self._scores(X).argmax(1)
        return self.classes_[best]

    def _scores(self, X: ArrayLike) -> np.ndarray:
        features = known_features(self, X)
        return linear_logits(features, self.coef_, self.intercept_)


def class_means(z_NF: Tensor, code_N: Tensor, count_K: Tensor) -> Tensor:
    """(class, feature)."""
    total_KF = z_NF.new_zeros(len(count_K), z_NF.shape[1]).index_add_(0, code_N, z_NF)
    return total_KF / count_K[:, None]


def _left_out(z_NF: Tensor, code_N: Tensor, count_K: Tensor, mean_KF: Tensor) -> Tensor:
    """(sample, class): the scores of each training sample where its class's mean is that of the others.

    Without sample z of n, a mean m lies n / (n - 1) times as far from it. Meaningless where n = 1.
    """
    scores_NK = z_NF @ mean_KF.T - mean_KF.square().sum(1) / 2
    count_N = count_K[code_N]
    farther_N = (count_N / (count_N - 1).clamp(min=1)).square()
    distance_N = (z_NF - mean_KF[code_N]).square().sum(1)
    own_N = (z_NF.square().sum(1) - farther_N * distance_N) / 2
    return scores_NK.scatter_(1, code_N[:, None], own_N[:, None])
