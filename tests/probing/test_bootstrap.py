"""Intervals over leaves, against a bootstrap that draws leaves and concatenates their samples."""

import numpy as np
import pytest

from probing.bootstrap import LeafBootstrap, macro_interval
from taxonomy.metrics import wilson


def sample(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Shares that agree within leaves: float (sample,), and the leaf of each sample."""
    rng = np.random.default_rng(seed)
    leaf = rng.integers(0, 25, 400) * 3
    return (rng.random(400) < rng.beta(1, 1, 75)[leaf]).astype(float), leaf


def test_means_are_those_of_the_drawn_samples() -> None:
    values, leaf = sample()
    bootstrap = LeafBootstrap.of(leaf, 50, 0)
    names = np.unique(leaf)
    for weights, mean in zip(bootstrap.weights, bootstrap.means(values[:, None])[:, 0], strict=True):
        drawn = np.repeat(names, weights.astype(int))
        assert mean == pytest.approx(np.concatenate([values[leaf == name] for name in drawn]).mean(), rel=1e-6)


def test_interval_is_wider_than_one_over_samples_and_has_the_clustered_width() -> None:
    values, leaf = sample()
    low, high = LeafBootstrap.of(leaf, 4000, 0).interval(values)
    alone = LeafBootstrap.of(np.arange(400), 4000, 0).interval(values)
    assert low < values.mean() < high
    assert high - low > 1.5 * (alone[1] - alone[0])
    residual = np.bincount(leaf // 3, weights=values - values.mean())
    expected = 2 * 1.96 * np.sqrt((residual**2).sum()) / 400
    assert high - low == pytest.approx(expected, rel=0.1)


def test_nan_samples_do_not_count() -> None:
    values, leaf = sample()
    some = values.copy()
    some[leaf < 30] = np.nan
    kept = leaf >= 30
    low, high = LeafBootstrap.of(leaf, 4000, 0).interval(some)
    expected = LeafBootstrap.of(leaf[kept], 4000, 0).interval(values[kept])
    assert (low, high) == pytest.approx(expected, abs=0.03)
    assert np.isnan(LeafBootstrap.of(leaf, 100, 0).interval(np.full(400, np.nan))).all()


def test_where_all_leaves_agree_wilson_speaks_for_a_share_and_nobody_for_a_difference() -> None:
    leaf = np.repeat(np.arange(10), 5)
    bootstrap = LeafBootstrap.of(leaf, 100, 0)
    assert bootstrap.interval(np.ones(50)) == wilson(1, 10)
    assert bootstrap.interval(np.zeros(50), share=False) == (0, 0)


def test_the_same_seed_gives_the_same_draws() -> None:
    values, leaf = sample()
    assert LeafBootstrap.of(leaf, 200, 3).interval(values) == LeafBootstrap.of(leaf, 200, 3).interval(values)
    assert LeafBootstrap.of(leaf, 200, 3).interval(values) != LeafBootstrap.of(leaf, 200, 4).interval(values)


def test_macro_interval_covers_the_truth_of_unbalanced_classes() -> None:
    rng = np.random.default_rng(0)
    leaf = np.repeat(np.arange(60), 20)
    classes = np.where(leaf < 50, 0, leaf - 49)  # one class of 50 leaves, ten of one
    covered = 0
    for seed in range(60):
        hard = rng.beta(4, 2, 60)
        right = rng.random(1200) < hard[leaf]
        low, high = macro_interval(right, classes, leaf, 500, seed)
        shares = [right[classes == c].mean() for c in range(11)]
        assert low < np.mean(shares) < high
        covered += low <= 4 / 6 <= high
    assert covered >= 50


def test_macro_interval_sees_the_leaves_within_two_classes_that_happen_to_agree() -> None:
    leaf = np.repeat(np.arange(8), 10)
    right = (leaf % 4 < 2).astype(float)  # both classes have a share of 1/2, from leaves that are all right or wrong
    low, high = macro_interval(right, leaf // 4, leaf, 1000, 0)
    assert low < 0.3
    assert high > 0.7


def test_macro_interval_with_one_leaf_per_class_is_that_over_leaves() -> None:
    values, leaf = sample()
    shares = np.array([values[leaf == name].mean() for name in np.unique(leaf)])
    low, high = macro_interval(values, leaf, leaf, 4000, 0)
    assert (high - low) == pytest.approx(2 * 1.96 * shares.std() / np.sqrt(len(shares)), rel=0.1)
