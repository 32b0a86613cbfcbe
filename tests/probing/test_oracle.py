"""The two bars against scikit-learn: the same coefficients in float64, no worse an objective in float32.

Both stop where the gradient g has norm tol or less, and there f - f* is g^T H^-1 g / 2, H the Hessian: at most
tol^2 / (2 mu), mu its least eigenvalue. By so much two solutions may differ, whichever is the better, and no solver can
promise more. mu is the penalty, or less where the free intercepts are flatter than that; it is computed here, with a
fifth for H not being the same all the way. Beyond that only rounding of the sums in float32 is left.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from probing import LinearProbe, fit_grid

EPS = float(np.finfo(np.float32).eps)

shapes = {
    "n": st.integers(8, 120),
    "d": st.integers(1, 60),
    "classes": st.integers(2, 8),
    "constant": st.integers(0, 3),
    "imbalance": st.floats(0, 2),
    "signal": st.floats(0, 3),
    "log_penalty": st.floats(-4, 1),
    "seed": st.integers(0, 2**20),
}


def problem(
    n: int, d: int, classes: int, constant: int, imbalance: float, signal: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features of uneven scale, some constant, and labels of uneven classes that follow them or not."""
    rng = np.random.default_rng(seed)
    classes = min(classes, n)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.exp(rng.normal(size=d)) + rng.normal(size=d)
    scores = signal * X / X.std(0) @ rng.normal(size=(d, classes)) / np.sqrt(d) + rng.gumbel(size=(n, classes))
    y = (scores - imbalance * np.arange(classes)).argmax(1)
    y[rng.permutation(n)[:classes]] = np.arange(classes)
    return np.hstack([X, np.full((n, constant), -3.0)]), y


def scikit_learn(Z: np.ndarray, y: np.ndarray, penalty: float, tol: float) -> tuple[np.ndarray, np.ndarray]:
    """Its weights and intercepts in float64; the least iterations that bring the gradient's norm to `tol`.

    Its own tolerance is the largest entry of the gradient, so it is tightened until the norm is there.
    """
    inner = tol
    while True:
        model = LogisticRegression(C=1 / (len(y) * penalty), tol=inner, max_iter=100_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a line search at the end of what float64 can tell
            model.fit(Z, y)
        W, b = np.asarray(model.coef_), np.asarray(model.intercept_)
        if measured(Z, y, W, b, penalty)[1] <= tol or inner < 1e-14:
            return W, b
        inner /= 4


def probabilities(Z: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(sample, class)."""
    logits = Z @ W.T + b
    if len(W) == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def measured(Z: np.ndarray, y: np.ndarray, W: np.ndarray, b: np.ndarray, penalty: float) -> tuple[float, float]:
    """Objective and the norm of its gradient, in float64 by hand."""
    p, rows = probabilities(Z, W, b), np.arange(len(y))
    value = -np.log(p[rows, y]).mean() + penalty / 2 * (W**2).sum()
    p[rows, y] -= 1
    residual = p[:, 1:] if len(W) == 1 else p
    gradient = np.hstack([residual.T @ Z / len(y) + penalty * W, residual.mean(0)[:, None]])
    return float(value), float(np.linalg.norm(gradient))


def least_curvature(Z: np.ndarray, W: np.ndarray, b: np.ndarray, penalty: float) -> float:
    """The least eigenvalue of the Hessian in weights and intercepts, less that all intercepts may move together."""
    p = probabilities(Z, W, b)
    p = p[:, 1:] if len(W) == 1 else p
    X = np.hstack([Z, np.ones((len(Z), 1))])
    inner = np.einsum("nk,kl->nkl", p, np.eye(p.shape[1])) - np.einsum("nk,nl->nkl", p, p)
    H = np.einsum("nkl,ni,nj->kilj", inner, X, X, optimize=True) / len(Z)
    width = X.shape[1]
    H = H.reshape(p.shape[1] * width, -1)
    weights = np.tile([True] * (width - 1) + [False], p.shape[1])
    H += np.diag(np.where(weights, penalty, 0.0))
    if len(W) > 1:
        H += np.outer(~weights, ~weights)
    return float(np.linalg.eigvalsh(H)[0])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(**shapes)
def test_coefficients_are_scikit_learn_s_in_float64(log_penalty: float, **shape) -> None:
    """To 1e-4 of the largest, over any shape: 2 to 8 classes, fewer samples than features, rare classes."""
    X, y = problem(**shape)
    penalty = 10**log_penalty
    scaler = StandardScaler().fit(X)
    W, b = scikit_learn(np.asarray(scaler.transform(X)), y, penalty, 1e-10)
    probe = LinearProbe(penalty, tol=1e-10, max_iter=5000).fit(X, y)
    assert probe.converged_
    scale, mean = np.asarray(scaler.scale_), np.asarray(scaler.mean_)
    intercept = b - W / scale @ mean
    shift = (intercept - probe.intercept_).mean() if len(intercept) > 1 else 0  # all intercepts alike: no difference
    assert np.abs(probe.coef_ * scale - W).max() <= 1e-4 * max(np.abs(W).max(), 1e-6)
    assert np.abs(probe.intercept_ + shift - intercept).max() <= 1e-4 * max(np.abs(intercept).max(), 1)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(tol=st.sampled_from([1e-2, 1e-3, 1e-4]), **shapes)
def test_the_objective_in_float32_is_no_worse_than_scikit_learn_s(tol: float, log_penalty: float, **shape) -> None:
    X, y = problem(**shape)
    X = X.astype(np.float32)
    penalty = 10**log_penalty
    scaler = StandardScaler().fit(X.astype(np.float64))
    Z = np.asarray(scaler.transform(X.astype(np.float64)))
    W, b = scikit_learn(Z, y, penalty, tol)
    theirs = measured(Z, y, W, b, penalty)
    assert theirs[1] <= tol
    fit = fit_grid(X, {"y": y}, [penalty], tol=tol).fit("y", penalty)
    assert fit.coef.dtype == np.float32
    assert fit.converged
    coef = fit.coef.astype(np.float64)
    ours = measured(Z, y, coef * np.asarray(scaler.scale_), fit.intercept + coef @ np.asarray(scaler.mean_), penalty)
    rounding = EPS * max(1, np.abs(Z).max()) * (1 + theirs[0]) * 8
    assert ours[1] <= 1.01 * tol + rounding
    assert ours[0] <= theirs[0] + 1.2 * tol**2 / (2 * least_curvature(Z, W, b, penalty)) + rounding
