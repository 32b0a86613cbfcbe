"""Bits and ranks, against scikit-learn and entropies known in closed form."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, top_k_accuracy_score

from probing.information import losses, prior_losses, top_k


def answers(seed: int = 0, samples: int = 200, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, samples)
    return np.log(rng.dirichlet(np.ones(classes), samples) + 1e-9), truth


def test_losses_are_scikit_learn_s() -> None:
    values, truth = answers()
    probabilities = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    found = losses(np.log(probabilities), np.arange(7), truth)
    assert found.mean() == pytest.approx(log_loss(truth, probabilities))


def test_classes_are_found_by_code_and_untrained_or_absent_ones_do_not_count() -> None:
    values = np.log(np.array([[0.25, 0.75], [0.5, 0.5], [0.1, 0.9], [np.nan, np.nan]]))
    found = losses(values, np.array([3, 9]), np.array([9, 3, 4, -1]))
    np.testing.assert_allclose(found, [-np.log(0.75), -np.log(0.5), np.nan, np.nan])


def test_the_prior_s_loss_is_the_entropy_of_what_was_fitted_where_test_is_alike() -> None:
    codes = np.repeat([2, 5, 6], [5, 3, 2])
    found = prior_losses(np.append(codes, [-1, -1]), np.array([2, 5, 6]), codes)
    p = np.array([0.5, 0.3, 0.2])
    assert found.mean() == pytest.approx(-(p * np.log(p)).sum())


def test_top_k_is_scikit_learn_s() -> None:
    values, truth = answers(1)
    for k in (1, 3, 5):
        expected = top_k_accuracy_score(truth, values, k=k, labels=np.arange(7))
        assert top_k(values, np.arange(7), truth, k).mean() == pytest.approx(expected)
    assert not top_k(values, np.arange(7), np.full(200, 11), 5).any()
