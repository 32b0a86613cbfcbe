"""The linear probe as a scikit-learn classifier."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin

from probing.basis import spectral_basis
from probing.classifier import known_features, training_data
from probing.grid import (
    Target,
    as_features,
    check_penalties,
    linear_logits,
    log_softmax,
    resolve_device,
    solve_at,
)


class LinearProbe(ClassifierMixin, BaseEstimator):
    """Softmax regression solved to a recorded gradient norm.

    Minimises  mean cross-entropy + penalty / 2 * ||W||_F^2,  the intercept free, on features standardised on the
    training rows (unless `standardize` is False). Two classes have one weight row, as in scikit-learn; the solution
    equals that of LogisticRegression(C=1 / (n * penalty)) on the same features.

    penalty: above 0. tol: the Euclidean norm of the gradient to reach. device: auto (the first GPU, else the CPU), cpu,
    cuda, cuda:1. dtype: float32 or float64, by default that of X.

    Fitted attributes, in the user's feature scale: `coef_` (class, feature), `intercept_` (class,), `classes_`,
    `n_iter_`, `grad_norm_`, `objective_` (the last two on the standardised features) and `converged_`.
    """

    def __init__(
        self,
        penalty: float = 1e-3,
        tol: float = 1e-4,
        max_iter: int = 1000,
        standardize: bool = True,
        fit_intercept: bool = True,
        device: str = "auto",
        dtype: str | None = None,
    ) -> None:
        self.penalty = penalty
        self.tol = tol
        self.max_iter = max_iter
        self.standardize = standardize
        self.fit_intercept = fit_intercept
        self.device = device
        self.dtype = dtype

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit on features (sample, feature) and labels (sample,). Raises ValueError, for one class too."""
        X, self.classes_, codes = training_data(self, X, y)
        penalty = check_penalties([self.penalty])
        x_NF = as_features(X, self.dtype, resolve_device(self.device))
        basis = spectral_basis(x_NF, standardize=self.standardize, intercept=self.fit_intercept)
        target = Target("y", codes, self.classes_)
        fit = solve_at(basis, [target], penalty, self.tol, self.max_iter)[0]
        self.coef_, self.intercept_ = fit.coef, fit.intercept
        self.n_iter_, self.grad_norm_, self.objective_ = fit.n_iter, fit.grad_norm, fit.objective
        self.converged_ = fit.converged
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """(sample, class), or (sample,) for two classes: above 0 is the second."""
        logits = self._logits(X)
        return logits[:, 1] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """(sample, class)."""
        return np.exp(log_softmax(self._logits(X)))

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """(sample, class)."""
        return log_softmax(self._logits(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """(sample,), labels as they were given."""
        best = self._logits(X).argmax(1)
        return self.classes_[best]

    def _logits(self, X: ArrayLike) -> np.ndarray:
        return linear_logits(known_features(self, X), self.coef_, self.intercept_)
