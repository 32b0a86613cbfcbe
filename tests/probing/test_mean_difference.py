"""MeanDifferenceProbe: scikit-learn's checks, NearestCentroid as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from probing import MeanDifferenceProbe
from tests.probing.test_grid import data


@parametrize_with_checks([MeanDifferenceProbe()])
def test_scikit_learn_s_own_checks(estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize("level", ["two", "three", "six"])
@pytest.mark.parametrize("standardize", [True, False])
def test_equals_nearest_centroid(level: str, standardize: bool) -> None:
    X, labels = data()
    y = np.array(list("uvwxyz"))[labels[level]]
    probe = MeanDifferenceProbe(standardize=standardize).fit(X, y)
    scaler = StandardScaler(with_mean=standardize, with_std=standardize).fit(X)
    Z = scaler.transform(X)
    oracle = NearestCentroid().fit(Z, y)
    assert (probe.predict(X) == oracle.predict(Z)).all()
    np.testing.assert_allclose(probe.means_, scaler.inverse_transform(oracle.centroids_), atol=1e-12)
    distance = ((Z[:, None] - oracle.centroids_) ** 2).sum(2) / 2
    scores = distance.mean(1, keepdims=True) - distance
    found = probe.decision_function(X)
    if level == "two":
        np.testing.assert_allclose(found, scores[:, 1] - scores[:, 0], atol=1e-9)
    else:
        np.testing.assert_allclose(found - found.mean(1, keepdims=True), scores, atol=1e-9)


def test_probabilities_come_from_means_without_the_sample_itself() -> None:
    """The temperature is the best one for scores computed by leaving samples out one by one; lone samples say none."""
    X, labels = data()
    X, y = X[:50], labels["six"][:50].copy()
    y[0] = 6
    probe = MeanDifferenceProbe(standardize=False).fit(X, y)
    rows = np.arange(1, 50)
    scores = []
    for row in rows:
        means = np.stack([X[(y == k) & (np.arange(50) != row)].mean(0) for k in range(7)])
        scores.append(-((X[row] - means) ** 2).sum(1) / 2)

    def loss(factor: float) -> float:
        z = factor * np.array(scores)
        return (np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1) - z[np.arange(49), y[rows]]).mean()

    best = minimize_scalar(loss, bounds=(0, 10), method="bounded").x  # pyright: ignore[reportAttributeAccessIssue]
    assert probe.temperature_ == pytest.approx(best, rel=1e-3)


def test_every_class_with_one_sample() -> None:
    probe = MeanDifferenceProbe().fit([[0.0, 1.0], [1.0, 0.0], [5.0, 5.0]], ["a", "b", "c"])
    assert probe.predict([[4.0, 4.0]]).tolist() == ["c"]
    assert probe.temperature_ == 1


def test_constant_features_and_float32() -> None:
    X = np.array([[0, 7], [1, 7], [4, 7], [5, 7]], np.float32)
    probe = MeanDifferenceProbe().fit(X, [0, 0, 1, 1])
    assert probe.coef_.dtype == np.float32
    assert np.isfinite(probe.coef_).all()
    assert probe.predict(X).tolist() == [0, 0, 1, 1]


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one class"):
        MeanDifferenceProbe().fit(np.zeros((4, 2)), [1, 1, 1, 1])
