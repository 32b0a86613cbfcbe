"""How much of a level is there, against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.bottleneck.readable import Draws, interval, most_common_child, parents, within_parent

NAMES = ("a", "b", "a / x", "a / y", "a / z", "b / u", "b / v")
ABOVE = parents(NAMES)
X, Y, Z, U, V = 2, 3, 4, 5, 6


def share(truth, predicted, above=ABOVE):
    truth, predicted = np.array(truth), np.array(predicted)
    draws = Draws.of(np.arange(len(truth)), 2, 0)
    return draws.ratio(*within_parent(truth, predicted, above))[0]


def test_the_parent_of_a_node_is_the_nearest_above_it():
    assert ABOVE.tolist() == [-1, -1, 0, 0, 0, 1, 1]
    assert parents(["kind", "kind / deep / node", "other / node"]).tolist() == [-1, 0, -1]


def test_a_slash_in_a_label_does_not_move_a_node():
    assert parents(["a / b", "a / b / leaf", "c / leaf"]).tolist() == [-1, 0, -1]


def test_all_right_is_1_and_the_most_common_child_every_time_is_0():
    truth = [X, Y, Z, U, U, U, V]
    assert share(truth, truth) == 1
    assert share(truth, [X, X, X, U, U, U, U]) == pytest.approx(0)


def test_what_the_parent_gives_away_does_not_count():
    """Genus right, and one of its three species at random: a third right, and nothing of the species."""
    rng = np.random.default_rng(0)
    truth = np.repeat([X, Y, Z], 500)
    assert share(truth, rng.choice([X, Y, Z], 1500)) == pytest.approx(0, abs=0.06)


def test_samples_whose_parent_was_missed_say_nothing_of_the_level():
    assert share([X, Y, Z, U, V], [X, Y, Z, X, Y]) == 1
    assert share([X, Y, U, V], [U, V, X, X]) == 0  # none left


def test_an_only_child_and_a_level_that_is_not_there_say_nothing():
    only = parents(["a", "b", "a / x", "b / u", "b / v"])
    assert share([2, 3, 4], [2, 3, 3], only) == share([3, 4], [3, 3], only)
    assert share([X, Y, -1], [X, Y, Y]) == share([X, Y], [X, Y])


def test_the_floor_is_the_most_common_child_of_the_parent():
    np.testing.assert_allclose(most_common_child(np.array([X, X, Y, U, -1]), ABOVE), [2 / 3] * 3 + [1, np.nan])


@given(st.lists(st.sampled_from([X, Y, Z, U, V]), min_size=2, max_size=30), st.integers(0, 2**31))
def test_new_numbers_for_the_nodes_change_nothing(truth, seed):
    rng = np.random.default_rng(seed)
    predicted = rng.choice([X, Y, Z, U, V], len(truth))
    order = rng.permutation(len(NAMES))
    renamed = parents([NAMES[code] for code in np.argsort(order)])
    assert share(order[truth], order[predicted], renamed) == pytest.approx(share(truth, predicted))


def test_a_ratio_is_drawn_leaf_by_leaf_with_numerator_and_denominator_together():
    leaf = np.repeat(np.arange(40), 25)
    right = (leaf % 2 == 0).astype(float)
    draws = Draws.of(leaf, 4000, 0)
    values = draws.ratio(right, np.ones(1000))
    assert values[0] == 0.5
    assert values[1:].std() == pytest.approx(0.5 / np.sqrt(40), rel=0.05)
    whole = draws.ratio(right, right)
    assert np.ptp(whole) == 0
    low, high = interval(values)
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.079, 0.5 + 1.96 * 0.079), abs=0.02)


def test_where_all_leaves_agree_a_share_keeps_the_doubt_of_as_many_trials():
    same = np.ones(1001)
    assert interval(same) == (1, 1)
    assert interval(same, 36)[0] == pytest.approx(36 / (36 + 1.96**2), abs=1e-3)


def test_an_estimate_beside_the_middle_of_its_draws_is_corrected_for():
    rng = np.random.default_rng(0)
    drawn = rng.normal(0.6, 0.1, 20_000)  # half a spread too high, as the estimate itself then is
    low, high = interval(np.concatenate([[0.55], drawn]))
    assert (low, high) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=0.02)
