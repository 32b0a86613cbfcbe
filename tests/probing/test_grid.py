"""Batched probes against scikit-learn's LogisticRegression in float64, and every way of asking wrongly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from commandline import InputError
from probing import fit_grid

PENALTIES = (1e-1, 1e-3, 1e-5)


def data(n: int = 150, d: int = 12, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features of very different scales and means, correlated, with labels of 2, 3 and 6 classes that follow them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.exp(rng.normal(size=d)) + 3 * rng.normal(size=d)
    scores = StandardScaler().fit_transform(X) @ rng.normal(size=(d, 6)) + 2 * rng.normal(size=(n, 6))
    finest = scores.argmax(1)
    return X, {"two": (finest > 2).astype(int), "three": finest // 2, "six": finest}


def oracle(
    X: np.ndarray, y: np.ndarray, penalty: float, standardize: bool = True, intercept: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and intercepts of scikit-learn's solution, taken back to the features' own scale."""
    scaler = StandardScaler(with_mean=intercept, with_std=standardize).fit(X)
    has = y >= 0
    model = LogisticRegression(C=1 / (has.sum() * penalty), tol=1e-11, max_iter=100_000, fit_intercept=intercept)
    model.fit(np.asarray(scaler.transform(X))[has], y[has])
    coef = model.coef_ / (scaler.scale_ if standardize else 1)
    return coef, np.asarray(model.intercept_ - (coef @ scaler.mean_ if intercept else 0))


def assert_close(found: np.ndarray, expected: np.ndarray, least: float = 0) -> None:
    """least: what the numbers are differences of, where that may be more than they are."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * max(np.abs(expected).max(), least)


@pytest.mark.parametrize(("n", "d"), [(150, 12), (40, 90)])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_equals_scikit_learn_in_float64(n: int, d: int, penalty: float) -> None:
    X, labels = data(n, d)
    fitted = fit_grid(X, labels, PENALTIES, tol=1e-10)
    for level, y in labels.items():
        coef, intercept = oracle(X, y, penalty)
        assert_close(fitted.coef(level, penalty), coef)
        assert_close(fitted.intercept(level, penalty), intercept)
        assert fitted.converged(level, penalty)
        assert fitted.grad_norm(level, penalty) <= 1e-10


@pytest.mark.parametrize(("standardize", "intercept"), [(False, True), (True, False), (False, False)])
def test_options_equal_scikit_learn(standardize: bool, intercept: bool) -> None:
    X, labels = data()
    fitted = fit_grid(X, labels, [1e-2], tol=1e-10, standardize=standardize, fit_intercept=intercept)
    for level, y in labels.items():
        coef, constant = oracle(X, y, 1e-2, standardize, intercept)
        assert_close(fitted.coef(level, 1e-2), coef)
        if intercept:
            assert_close(fitted.intercept(level, 1e-2), constant)
        else:
            assert not fitted.intercept(level, 1e-2).any()


def test_samples_without_a_level_are_no_part_of_its_problem() -> None:
    X, labels = data()
    ragged = labels["six"].copy()
    ragged[::3] = -1
    fitted = fit_grid(X, {"whole": labels["six"], "ragged": ragged}, [1e-2], tol=1e-10)
    for level, y in (("whole", labels["six"]), ("ragged", ragged)):
        coef, intercept = oracle(X, y, 1e-2)
        assert_close(fitted.coef(level, 1e-2), coef)
        assert_close(fitted.intercept(level, 1e-2), intercept)


def test_recorded_objective_and_gradient_are_those_of_the_returned_weights() -> None:
    X, labels = data()
    y = labels["six"]
    for tol in (1e-1, 1e-6):
        fit = fit_grid(X, {"six": y}, [1e-2], tol=tol).fit("six", 1e-2)
        scaler = StandardScaler().fit(X)
        Z, W = np.asarray(scaler.transform(X)), fit.coef * scaler.scale_
        b = fit.intercept + fit.coef @ scaler.mean_
        logits = Z @ W.T + b
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        value = -np.log(p[np.arange(len(y)), y]).mean() + 1e-2 / 2 * (W**2).sum()
        residual = (p - np.eye(6)[y]) / len(y)
        norm = np.sqrt(((residual.T @ Z + 1e-2 * W) ** 2).sum() + (residual.sum(0) ** 2).sum())
        assert fit.objective == pytest.approx(value, rel=1e-8)
        assert norm <= fit.grad_norm * (1 + 1e-6) <= tol * (1 + 1e-6)
        assert np.abs(fit.coef.sum(0)).max() < 1e-9


def test_float32_is_no_worse_than_scikit_learn_at_the_same_tolerance() -> None:
    X, labels = data(400, 30)
    X = X.astype(np.float32)
    Z = StandardScaler().fit_transform(X.astype(float))
    fitted = fit_grid(X, labels, [1e-3], tol=1e-4)
    for level in ("three", "six"):
        y = labels[level]
        model = LogisticRegression(C=1 / (len(y) * 1e-3), tol=1e-4, max_iter=1000).fit(Z, y)
        loss = -model.predict_log_proba(Z)[np.arange(len(y)), y].mean() + 1e-3 / 2 * (model.coef_**2).sum()
        assert fitted.coef(level, 1e-3).dtype == np.float32
        assert fitted.converged(level, 1e-3)
        assert fitted.objective(level, 1e-3) <= loss * (1 + 1e-6)


def test_levels_solved_in_turns_are_the_same() -> None:
    X, labels = data()
    together = fit_grid(X, labels, PENALTIES, tol=1e-9)
    alone = fit_grid(X, labels, PENALTIES, tol=1e-9, memory_budget=1)
    for level in labels:
        assert_close(alone.coef(level, 1e-3), together.coef(level, 1e-3))


def test_constant_and_repeated_features_do_no_harm() -> None:
    X, labels = data()
    odd = np.hstack([X, np.full((len(X), 1), 1e6), X[:, :1]])
    fitted = fit_grid(odd, labels, [1e-2], tol=1e-9)
    coef = fitted.coef("six", 1e-2)
    assert np.abs(coef[:, -2]).max() < 1e-12
    assert_close(coef[:, -1], coef[:, 0])


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(6, 60),
    d=st.integers(1, 40),
    classes=st.integers(2, 6),
    constant=st.integers(0, 3),
    imbalance=st.floats(0, 4),
    once=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_any_shape_reaches_scikit_learns_solution(
    n: int, d: int, classes: int, constant: int, imbalance: float, once: bool, seed: int
) -> None:
    """Fewer samples than features, constant features, rare classes, classes of one sample: one solution."""
    rng = np.random.default_rng(seed)
    X = np.hstack([rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3, np.full((n, constant), 7.0)])
    share = np.exp(-imbalance * np.arange(classes))
    y = rng.choice(classes, size=n, p=share / share.sum())
    if once:
        y[y > 0] = 0
    y[rng.permutation(n)[:classes]] = np.arange(classes)
    fit = fit_grid(X, {"y": 3 * y + 1}, [1e-1, 1e-3], tol=1e-9).fit("y", 1e-3)
    coef, intercept = oracle(X, y, 1e-3)
    assert fit.converged
    assert fit.grad_norm <= 1e-9
    assert not fit.coef[:, d:].any()
    assert_close(fit.coef, coef)
    moved = (np.abs(coef) @ np.abs(X.mean(0))).max()  # the intercept is what is left of this, sometimes next to nothing
    centred = intercept - intercept.mean() * (classes > 2)
    assert_close(fit.intercept - fit.intercept.mean() * (classes > 2), centred, moved)


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_one_sample_per_class(shift: float) -> None:
    X = np.random.default_rng(0).normal(size=(5, 20)) + shift
    fitted = fit_grid(X, {"leaf": np.arange(5)}, [1e-2], tol=1e-9)
    coef, _ = oracle(X, np.arange(5), 1e-2)
    assert_close(fitted.coef("leaf", 1e-2), coef)
    assert (fitted.predict(X, "leaf", 1e-2) == np.arange(5)).all()


def test_features_that_are_all_constant_leave_the_class_shares() -> None:
    y = np.array([0] * 6 + [1] * 3 + [2])
    fitted = fit_grid(np.full((10, 4), 2.5), {"y": y}, [1e-2], tol=1e-10)
    assert not fitted.coef("y", 1e-2).any()
    np.testing.assert_allclose(fitted.predict_proba(np.zeros((1, 4)), "y", 1e-2), [[0.6, 0.3, 0.1]], rtol=1e-6)


def test_an_unfinished_fit_says_so() -> None:
    X, labels = data()
    fitted = fit_grid(X, labels, [1e-5], tol=1e-12, max_iter=3)
    assert not fitted.converged("six", 1e-5)
    assert fitted.n_iter("six", 1e-5) == 3
    assert fitted.grad_norm("six", 1e-5) > 1e-12


def test_predictions_use_the_labels_as_given() -> None:
    X, labels = data()
    y = np.array([40, 7, 300])[labels["three"]]
    fitted = fit_grid(X, {"level": y}, [1e-3, 1e-2])
    assert set(fitted.predict(X, "level", 1e-3)) <= {7, 40, 300}
    assert (fitted.predict(X, "level", 1e-3) == y).mean() > 0.6
    proba = fitted.predict_proba(X, "level", 1e-3)
    assert np.allclose(proba.sum(1), 1)
    assert (fitted.classes["level"][proba.argmax(1)] == fitted.predict(X, "level", 1e-3)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.array([[1.0, np.nan]] * 150)}, "150 of 150 rows hold NaN"),
        ({"X": np.zeros((1, 2)), "labels": {"y": np.zeros(1, int)}}, "'y' has 1 class in 1 samples"),
        ({"X": np.zeros((0, 2)), "labels": {"y": np.zeros(0, int)}}, "'y' has 0 class in 0 samples"),
        ({"X": np.zeros(150)}, r"\(sample, feature\)"),
        ({"labels": {"one": np.zeros(150, int)}}, "'one' has 1 class in 150 samples"),
        ({"labels": {"none": np.full(150, -1)}}, "'none' has 0 class"),
        ({"labels": {"short": np.zeros(9, int)}}, "'short' has labels of shape"),
        ({"labels": {"words": np.array(["a"] * 150)}}, "'words' has labels of type"),
        ({"labels": {}}, "no levels"),
        ({"penalties": []}, "penalties should be"),
        ({"penalties": [0.0]}, "penalties should be"),
        ({"device": "cuda:99"}, "device 'cuda:99'"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"dtype": "float16"}, "float16"),
    ],
)
def test_bad_input(change: dict, message: str) -> None:
    X, labels = data()
    with pytest.raises(InputError, match=message):
        fit_grid(**({"X": X, "labels": labels, "penalties": [1e-2]} | change))


def test_unknown_level_or_penalty() -> None:
    X, labels = data()
    fitted = fit_grid(X, labels, [1e-2])
    with pytest.raises(InputError, match=r"no level 'genus' in this grid; it has two, three, six"):
        fitted.coef("genus", 1e-2)
    with pytest.raises(InputError, match=r"no penalty 0\.02"):
        fitted.coef("six", 2e-2)
