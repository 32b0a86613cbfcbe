"""MLPProbe: scikit-learn's checks, MLPClassifier's Adam as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from probing import LinearProbe, MLPProbe
from tests.probing.test_grid import data


@pytest.mark.slow
@parametrize_with_checks([MLPProbe()])
def test_scikit_learn_s_own_checks(estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize("batch", [64, 512])
def test_trains_as_mlp_classifier_does_from_the_same_start(batch: int) -> None:
    X, labels = data()
    y, epochs = labels["six"], 30
    options = {"hidden": 10, "batch_size": batch, "standardize": False, "shuffle": False, "learning_rate": 1e-2}
    probe = MLPProbe(epochs=epochs, **options).fit(X, y)
    start = MLPProbe(epochs=1, **options | {"learning_rate": 0.0}).fit(X, y)
    oracle = MLPClassifier((10,), alpha=0, shuffle=False, learning_rate_init=1e-2)
    oracle.set_params(batch_size=1).partial_fit(X[:1], y[:1], classes=np.arange(6))
    oracle.coefs_, oracle.intercepts_ = [w.copy() for w in start.coefs_], [b.copy() for b in start.intercepts_]
    oracle._optimizer = None
    oracle.set_params(
        batch_size=min(batch, len(X)), warm_start=True, max_iter=epochs, tol=0, n_iter_no_change=epochs + 1
    )
    with pytest.warns(match="Maximum iterations"):
        oracle.fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), oracle.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(probe.loss_curve_, oracle.loss_curve_[1:], rtol=1e-4)
    assert probe.loss_curve_[-1] < 0.9 * probe.loss_curve_[0]


def test_reads_what_no_linear_probe_can() -> None:
    X = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    assert LinearProbe().fit(X, y).score(X, y) < 0.65
    assert MLPProbe(learning_rate=1e-2).fit(X, y).score(X, y) > 0.95


def test_the_seed_decides_and_global_state_does_not() -> None:
    X, labels = data()
    fits = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        fits.append(MLPProbe(epochs=3, seed=seed).fit(X, labels["six"]).coefs_[0])
    assert (fits[0] == fits[1]).all()
    assert (fits[0] != fits[2]).any()


def test_training_that_diverges_is_said() -> None:
    X, labels = data()
    with pytest.raises(ValueError, match="diverged"):
        MLPProbe(standardize=False, learning_rate=1e30, epochs=3).fit(X.astype(np.float32), labels["six"])


@pytest.mark.parametrize("name", ["hidden", "epochs", "batch_size"])
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} should be 1 or more"):
        MLPProbe(**{name: 0}).fit([[0.0], [1.0]], [0, 1])


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one class"):
        MLPProbe().fit(np.zeros((4, 2)), [1, 1, 1, 1])
