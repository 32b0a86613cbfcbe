"""HCA and what surrounds it: relations that hold whatever the probes say, and numbers counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from probing.shares import class_shares, frechet_bounds, independent_product
from taxonomy.metrics import path_scores


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong, and present or not, bool (sample, level); every sample has a level."""
    shape = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    right = draw(arrays.arrays(bool, shape))
    present = draw(arrays.arrays(bool, shape))
    present[~present.any(1), 0] = True
    return right & present, present


def hca(right: np.ndarray, present: np.ndarray) -> float:
    return float((right | ~present).all(1).mean())


@given(answers())
def test_hca_lies_within_its_frechet_bounds(given: tuple[np.ndarray, np.ndarray]) -> None:
    low, high = frechet_bounds(*given)
    assert low - 1e-9 <= hca(*given) <= high + 1e-9


@given(answers())
def test_with_every_level_present_hca_and_the_product_are_at_most_the_least_accuracy(given) -> None:
    right, present = given[0], np.ones_like(given[0])
    accuracy = right.mean(0)
    assert hca(right, present) <= accuracy.min() + 1e-9
    assert independent_product(right, present) == pytest.approx(accuracy.prod())
    assert frechet_bounds(right, present) == pytest.approx((max(0, accuracy.sum() - len(accuracy) + 1), accuracy.min()))


@given(answers())
def test_hca_is_that_of_path_scores(given: tuple[np.ndarray, np.ndarray]) -> None:
    right, present = given
    truth = np.where(present, 3, -1)
    assert path_scores(np.where(right, 3, 5), truth).hca == pytest.approx(hca(right, present))


def test_bounds_are_reached() -> None:
    present = np.ones((4, 2), bool)
    apart = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], bool)
    together = np.array([[1, 1], [1, 1], [0, 0], [0, 0]], bool)
    assert frechet_bounds(apart, present) == (0, 0.5) == frechet_bounds(together, present)
    assert (hca(apart, present), hca(together, present)) == (0, 0.5)


def test_the_product_of_a_ragged_path_is_over_the_levels_it_has() -> None:
    present = np.array([[1, 1], [1, 1], [1, 0]], bool)
    right = np.array([[1, 1], [0, 0], [1, 0]], bool)  # accuracies 2/3 and 1/2
    assert independent_product(right, present) == pytest.approx((1 / 3 + 1 / 3 + 2 / 3) / 3)


def test_class_shares_are_counted_per_class() -> None:
    truth = np.array([4, 4, 4, 1, -1, 1, 0])
    right = np.array([1, 0, 0, 1, 1, 1, 0], bool)
    assert class_shares(right, truth) == pytest.approx([0, 1, 1 / 3])
