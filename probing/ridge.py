"""The ridge probe: least squares on class indicators, in closed form."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor

from probing.classifier import decisions, known_features, standardised, temperature, training_data
from probing.grid import check_penalties, linear_logits, log_softmax, resolve_device


class RidgeProbe(ClassifierMixin, BaseEstimator):
    """Ridge regression on class indicators of +1 and -1, one of them per class; the highest answer wins.

    Minimises  mean squared error / 2 + penalty / 2 * ||w||^2  for each class, the intercept free, on features
    standardised on the training rows (unless `standardize` is False): that is RidgeClassifier(alpha=n * penalty) on
    those features. Solved in float64, by samples or by features, whichever are fewer.

    `predict_proba` is a softmax of the scores. Least squares says nothing of its scale, so that is fitted: it has the
    least log-loss on leave-one-out scores, which ridge regression gives in closed form (the features' standardisation
    stays that of all rows).

    penalty: above 0. device: auto (the first GPU, else the CPU), cpu, cuda, cuda:1.

    Fitted attributes, in the user's feature scale and the dtype of X: `coef_` (class, feature), `intercept_` (class,),
    of two classes one row; `classes_`, `temperature_`, and `leave_one_out_` (sample, class), the scores of each
    training sample by the probe fitted without it.
    """

    def __init__(
        self, penalty: float = 1e-2, standardize: bool = True, fit_intercept: bool = True, device: str = "auto"
    ) -> None:
        self.penalty = penalty
        self.standardize = standardize
        self.fit_intercept = fit_intercept
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit on features (sample, feature) and labels (sample,). Raises ValueError, for one class too."""
        X, self.classes_, codes = training_data(self, X, y)
        (penalty,) = check_penalties([self.penalty])
        at = standardised(
            torch.tensor(X, device=resolve_device(self.device)), scale=self.standardize, centre=self.fit_intercept
        )
        target_NK = _indicators(torch.from_numpy(codes).to(at.z_NF.device), len(self.classes_))
        mean_K = target_NK.mean(0) if self.fit_intercept else torch.zeros_like(target_NK[0])
        w_KF, leverage_N = _ridge(at.z_NF, target_NK - mean_K, penalty)
        if self.fit_intercept:
            leverage_N += 1 / len(leverage_N)
        scores_NK = at.z_NF @ w_KF.T + mean_K
        free_N = (1 - leverage_N).clamp(min=torch.finfo(leverage_N.dtype).eps)
        left_out_NK = target_NK + (scores_NK - target_NK) / free_N[:, None]
        # two classes answer w and -w; their one row is w, and not the 2 w between them
        halved = 2 if len(self.classes_) == 2 else 1
        self.coef_, self.intercept_ = at.outward(w_KF / halved, mean_K / halved, X.dtype)
        self.leave_one_out_ = left_out_NK.cpu().numpy()
        self.temperature_ = temperature(self.leave_one_out_ / halved, codes)
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


def _indicators(code_N: Tensor, classes: int) -> Tensor:
    """(sample, class) float64: 1 at a sample's class, -1 at the others."""
    return 2 * torch.nn.functional.one_hot(code_N, classes).double() - 1


def _ridge(z_NF: Tensor, target_NK: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights (class, feature), and how much each sample's own target weighs in its answer, (sample,)."""
    samples, features = z_NF.shape
    if samples < features:
        gram_NN = z_NF @ z_NF.T
        factor_NN = torch.linalg.cholesky(_add_diagonal(gram_NN, samples * penalty))
        dual_NK = torch.cholesky_solve(target_NK, factor_NN)
        inverse_N = torch.cholesky_inverse(factor_NN).diagonal()
        return dual_NK.T @ z_NF, 1 - samples * penalty * inverse_N
    factor_FF = torch.linalg.cholesky(_add_diagonal(z_NF.T @ z_NF, samples * penalty))
    w_FK = torch.cholesky_solve(z_NF.T @ target_NK, factor_FF)
    white_FN = torch.linalg.solve_triangular(factor_FF, z_NF.T, upper=False)
    return w_FK.T, white_FN.square().sum(0)


def _add_diagonal(matrix: Tensor, value: float) -> Tensor:
    matrix.diagonal().add_(value)
    return matrix
