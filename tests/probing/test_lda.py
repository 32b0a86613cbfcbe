"""LDAProbe: scikit-learn's checks, LinearDiscriminantAnalysis as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from probing import LDAProbe
from tests.probing.test_grid import data


@parametrize_with_checks([LDAProbe()])
def test_scikit_learn_s_own_checks(estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize("level", ["two", "three", "six"])
@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize("shrinkage", [0.0, 0.2, 1.0])
def test_equals_linear_discriminant_analysis(level: str, solver: str, shrinkage: float) -> None:
    X, labels = data()
    y = np.array(list("uvwxyz"))[labels[level]]
    probe = LDAProbe(shrinkage=shrinkage).fit(X, y)
    Z = StandardScaler().fit_transform(X)
    oracle = LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage).fit(Z, y)  # pyright: ignore
    np.testing.assert_allclose(probe.predict_proba(X), oracle.predict_proba(Z), atol=1e-8)
    assert (probe.predict(X) == oracle.predict(Z)).all()
    assert probe.shrinkage_ == shrinkage


@pytest.mark.parametrize("rows", [None, 15], ids=["n > d", "n < d"])
def test_auto_is_ledoit_and_wolf_s_shrinkage_of_all_residuals(rows: int | None) -> None:
    X, labels = data()
    X, y = X[:rows], labels["three"][:rows]
    if rows:
        X = np.hstack([X, X**2, np.sin(3 * X)])
    probe = LDAProbe(standardize=False).fit(X, y)
    residuals = X - np.stack([X[y == k].mean(0) for k in range(3)])[y]
    estimate = LedoitWolf(assume_centered=True).fit(residuals)
    assert probe.shrinkage_ == pytest.approx(estimate.shrinkage_)
    means = np.stack([X[y == k].mean(0) for k in range(3)])
    expected = (means - X.mean(0)) @ estimate.precision_
    np.testing.assert_allclose(probe.coef_, expected, atol=1e-7)


def test_without_shrinkage_and_fewer_samples_than_features() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 30)), np.arange(12) % 3
    probe = LDAProbe(shrinkage=0.0).fit(X, y)
    assert np.isfinite(probe.coef_).all()
    assert np.abs(probe.coef_).max() < 1e3


def test_float32_features_give_float32_weights() -> None:
    X, labels = data()
    narrow, wide = (LDAProbe().fit(X.astype(dtype), labels["six"]) for dtype in (np.float32, np.float64))
    assert narrow.coef_.dtype == np.float32
    np.testing.assert_allclose(narrow.coef_, wide.coef_, rtol=1e-3, atol=1e-5)


def test_classes_that_do_not_vary_are_refused() -> None:
    with pytest.raises(ValueError, match="do not vary within any class"):
        LDAProbe().fit(np.eye(3), [0, 1, 2])


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1, "automatic"])
def test_a_shrinkage_that_is_none_is_refused(shrinkage) -> None:
    with pytest.raises(ValueError, match="shrinkage should be auto or a number from 0 to 1"):
        LDAProbe(shrinkage=shrinkage).fit([[0.0], [1.0], [2.0]], [0, 0, 1])


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one class"):
        LDAProbe().fit(np.zeros((4, 2)), [1, 1, 1, 1])
