"""The MLP probe: one hidden layer, as the published code offers beside its linear probe."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin

from probing.adam import Heads, train
from probing.classifier import decisions, known_features, standardised, training_data
from probing.grid import log_softmax, resolve_device


class MLPProbe(ClassifierMixin, BaseEstimator):
    """Linear(d, hidden), ReLU, Linear(hidden, class), trained by Adam on the mean cross-entropy.

    What it reads beyond a linear probe is not linearly there; how much of that is its own doing is for a control
    task to say (Hewitt and Liang 2019). Features are standardised on the training rows (unless `standardize` is False),
    batches shuffled (unless `shuffle` is False). The published code (arXiv 2505.24840) trains
    MLPProbe(hidden=d, learning_rate=1e-4, epochs=500, standardize=False, shuffle=False).

    hidden: units; None is as many as features. weight_decay: Adam's, on every weight. seed: of the start and the
    batches. device: auto (the first GPU, else the CPU), cpu, cuda, cuda:1. Trains in the dtype of X.

    Fitted attributes: `classes_`, `coefs_` [(feature, hidden), (hidden, class)] and `intercepts_`, as MLPClassifier has
    them, on features less `mean_` over `scale_`; `loss_curve_` (epoch,), the mean loss of an epoch's batches.
    """

    def __init__(
        self,
        hidden: int | None = 256,
        learning_rate: float = 1e-3,
        epochs: int = 200,
        batch_size: int = 512,
        weight_decay: float = 0.0,
        standardize: bool = True,
        shuffle: bool = True,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.standardize = standardize
        self.shuffle = shuffle
        self.seed = seed
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit on features (sample, feature) and labels (sample,). Raises ValueError, for one class too."""
        X, self.classes_, codes = training_data(self, X, y)
        hidden = X.shape[1] if self.hidden is None else self.hidden
        for name, value in (("hidden", hidden), ("epochs", self.epochs), ("batch_size", self.batch_size)):
            if value < 1:
                raise ValueError(f"{name} should be 1 or more, not {value}")
        device = resolve_device(self.device)
        at = standardised(torch.tensor(X, device=device), scale=self.standardize, centre=self.standardize)
        self.mean_, self.scale_ = at.shift_F.cpu().numpy().astype(X.dtype), at.scale_F.cpu().numpy().astype(X.dtype)
        x_ND = at.z_NF.to(torch.float32 if X.dtype == np.float32 else torch.float64)
        rng = torch.Generator().manual_seed(self.seed)
        heads = Heads(X.shape[1], [len(self.classes_)], hidden, x_ND, [rng])
        losses = train(
            heads,
            x_ND,
            torch.from_numpy(codes).to(device)[None],
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
            shuffle=rng if self.shuffle else None,
        )
        self.loss_curve_ = torch.cat(list(losses)).tolist()
        if not np.isfinite(self.loss_curve_[-1]):
            raise ValueError(
                f"training diverged: the loss of its last epoch is {self.loss_curve_[-1]}; give a smaller learning_rate"
            )
        weights = [values.cpu().numpy() for values in heads.head(0)]
        self.coefs_, self.intercepts_ = [weights[0].T, weights[2].T], [weights[1], weights[3]]
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """(sample, class), or (sample,) for two classes: above 0 is the second."""
        return decisions(self._scores(X))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """(sample, class)."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """(sample, class)."""
        return log_softmax(self._scores(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """(sample,), labels as they were given."""
        best = self._scores(X).argmax(1)
        return self.classes_[best]

    def _scores(self, X: ArrayLike) -> np.ndarray:
        features = (known_features(self, X) - self.mean_) / self.scale_
        hidden = np.maximum(features @ self.coefs_[0] + self.intercepts_[0], 0)
        return hidden @ self.coefs_[1] + self.intercepts_[1]
