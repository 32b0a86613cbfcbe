"""The test of all accuracies at once, on noise and on one real effect among noise."""

import numpy as np

from probing.nulls import null_draws, p_values


def test_null_draws_centre_on_chance_and_macro_is_a_mean_over_classes() -> None:
    rng = np.random.default_rng(0)
    truth = np.column_stack([rng.choice(2, 200, p=[0.8, 0.2]), rng.integers(0, 5, 200)])
    shuffled = np.stack([np.column_stack([rng.integers(0, 2, 200), rng.integers(0, 5, 200)]) for _ in range(4)])
    draws = null_draws(shuffled, truth, 0)
    assert draws.shape == (1000, 5)
    np.testing.assert_allclose(draws.mean(0), [0.5, 0.2, 0.5, 0.2, 0.1], atol=0.03)


def test_adjusted_values_hold_for_the_table_and_find_what_is_there() -> None:
    rng = np.random.default_rng(1)
    tests, false, found = 40, 0, 0
    for _ in range(200):
        common = rng.normal(size=(500, 1))  # tests depend on one another
        draws = common + rng.normal(size=(500, tests))
        values = rng.normal() + rng.normal(size=tests)
        false += (p_values(values, draws)[1] <= 0.05).any()
        values[7] = 9.0
        alone, adjusted = p_values(values, draws)
        found += adjusted[7] <= 0.05
        assert (adjusted >= alone - 1e-12).all()
        assert adjusted[7] == adjusted.min()
    assert false <= 20
    assert found == 200


def test_step_down_is_as_written_by_hand() -> None:
    rng = np.random.default_rng(2)
    draws, values = rng.normal(size=(99, 4)), np.array([2.0, 0.1, 1.5, -3.0])
    own, null = (values - draws.mean(0)) / draws.std(0), (draws - draws.mean(0)) / draws.std(0)
    left, expected, worst = list(np.argsort(-own)), np.zeros(4), 0.0
    while left:
        p = (1 + sum(max(row[left]) >= own[left[0]] for row in null)) / 100
        worst = max(worst, p)
        expected[left.pop(0)] = worst
    np.testing.assert_allclose(p_values(values, draws)[1], expected)


def test_an_accuracy_that_never_varies_is_as_good_as_itself_only() -> None:
    draws = np.full((100, 1), 0.3)
    assert p_values(np.array([0.1 + 0.2]), draws)[1] == 1
    assert p_values(np.array([0.31]), draws)[1] == 1 / 101
