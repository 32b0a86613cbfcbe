"""RidgeProbe: scikit-learn's checks, RidgeClassifier as the oracle, leave-one-out by leaving out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from probing import RidgeProbe
from tests.probing.test_grid import data


@parametrize_with_checks([RidgeProbe()])
def test_scikit_learn_s_own_checks(estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize("level", ["two", "three", "six"])
@pytest.mark.parametrize("rows", [None, 15], ids=["n > d", "n < d"])
@pytest.mark.parametrize("intercept", [True, False])
def test_equals_ridge_classifier(level: str, rows: int | None, intercept: bool) -> None:
    X, labels = data()
    fitted, y = X[:rows], np.array(list("uvwxyz"))[labels[level][:rows]]
    if rows:
        fitted = np.hstack([fitted, fitted**2, np.sin(3 * fitted)])
        assert fitted.shape[1] > rows
    probe = RidgeProbe(penalty=0.03, fit_intercept=intercept).fit(fitted, y)
    scaler = StandardScaler(with_mean=intercept).fit(fitted)
    oracle = RidgeClassifier(alpha=len(y) * 0.03, fit_intercept=intercept, solver="svd").fit(
        scaler.transform(fitted), y
    )
    np.testing.assert_allclose(
        probe.decision_function(fitted), oracle.decision_function(scaler.transform(fitted)), atol=1e-9
    )
    np.testing.assert_allclose(probe.coef_ * scaler.scale_, np.atleast_2d(oracle.coef_), atol=1e-9)
    assert (probe.predict(fitted) == oracle.predict(scaler.transform(fitted))).all()


@pytest.mark.parametrize("level", ["two", "six"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("intercept", [True, False])
def test_leave_one_out_is_what_fits_without_a_sample_say(level: str, wide: bool, intercept: bool) -> None:
    X, labels = data()
    X, y = X[:40], labels[level][:40]
    if wide:
        X = np.hstack([X, X**2, np.sin(5 * X), np.cos(3 * X)])
        assert X.shape[1] > len(X)
    probe = RidgeProbe(penalty=0.1, standardize=False, fit_intercept=intercept).fit(X, y)
    for row in (0, 7, 39):
        rest = np.delete(np.arange(40), row)
        oracle = RidgeClassifier(alpha=40 * 0.1, fit_intercept=intercept, solver="svd").fit(X[rest], y[rest])
        expected = np.atleast_2d(oracle.decision_function(X[[row]]))
        found = probe.leave_one_out_[row]
        np.testing.assert_allclose(found[1] if level == "two" else found, expected[0], rtol=1e-6, atol=1e-8)


def test_probabilities_are_as_sure_as_held_out_samples_allow() -> None:
    """On noise the scores of training samples look sure; the probabilities must not."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 150)), rng.integers(0, 4, 200)
    held_out, truth = rng.normal(size=(2000, 150)), rng.integers(0, 4, 2000)
    probe = RidgeProbe(penalty=1e-3).fit(X, y)
    loss = -np.log(probe.predict_proba(held_out)[np.arange(2000), truth]).mean()
    assert probe.score(X, y) > 0.9
    assert loss < np.log(4) + 0.01


def test_float32_features_give_float32_weights() -> None:
    X, labels = data()
    narrow, wide = (RidgeProbe().fit(X.astype(dtype), labels["six"]) for dtype in (np.float32, np.float64))
    assert narrow.coef_.dtype == np.float32
    np.testing.assert_allclose(narrow.coef_, wide.coef_, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("penalty", [0, -1, np.nan, np.inf])
def test_a_penalty_that_is_none_is_refused(penalty: float) -> None:
    with pytest.raises(ValueError, match="penalties"):
        RidgeProbe(penalty=penalty).fit([[0.0], [1.0]], [0, 1])


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one class"):
        RidgeProbe().fit(np.zeros((4, 2)), [1, 1, 1, 1])
