"""LinearProbe as a scikit-learn classifier."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from probing import LinearProbe
from tests.probing.test_grid import assert_close, data, oracle


@parametrize_with_checks([LinearProbe()])
def test_scikit_learn_s_own_checks(estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize("level", ["two", "three", "six"])
def test_equals_logistic_regression(level: str) -> None:
    X, labels = data()
    y = np.array(list("uvwxyz"))[labels[level]]
    probe = LinearProbe(penalty=1e-2, tol=1e-10).fit(X, y)
    coef, intercept = oracle(X, labels[level], 1e-2)
    assert_close(probe.coef_, coef)
    assert_close(probe.intercept_, intercept)
    Z = StandardScaler().fit_transform(X)
    model = LogisticRegression(C=1 / (len(y) * 1e-2), tol=1e-11, max_iter=100_000).fit(Z, y)
    np.testing.assert_allclose(probe.predict_proba(X), model.predict_proba(Z), atol=1e-6)
    np.testing.assert_allclose(probe.decision_function(X), model.decision_function(Z), atol=1e-4)
    assert (probe.predict(X) == model.predict(Z)).all()
    assert probe.score(X, y) == model.score(Z, y)
    assert probe.converged_
    assert probe.grad_norm_ <= 1e-10


def test_dtype_follows_the_features_unless_told() -> None:
    X, labels = data()
    assert LinearProbe().fit(X.astype(np.float32), labels["six"]).coef_.dtype == np.float32
    assert LinearProbe(dtype="float64").fit(X.astype(np.float32), labels["six"]).coef_.dtype == np.float64


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one class"):
        LinearProbe().fit(np.zeros((4, 2)), [1, 1, 1, 1])
