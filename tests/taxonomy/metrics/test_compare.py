"""Two runs compared: differences are those of the scores, and their intervals use that the samples are the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from taxonomy.metrics import compare_paths, path_scores
from tests.taxonomy.metrics.test_tree import Case, cases


@pytest.mark.slow
@given(cases())
def test_differences_are_those_of_the_scores(case: Case) -> None:
    tree, predicted, truth, _ = case
    other = np.roll(predicted, 1, axis=0)
    other = np.where(truth >= 0, np.minimum(other, [len(tree.nodes(level)) - 1 for level in tree.levels]), -1)
    a, b = path_scores(predicted, truth, tree), path_scores(other, truth, tree)
    for name, found in compare_paths(predicted, other, truth, tree, resamples=50).items():
        if name in ("hca", "por", "consistency", "h_f1", "h_precision", "severity", "tree_inconsistency"):
            np.testing.assert_allclose([found.first, found.second], [getattr(a, name), getattr(b, name)])
        np.testing.assert_allclose(found.difference, found.second - found.first)
        if np.isfinite(found.difference):
            assert np.isnan(found.interval[0]) or found.interval[0] <= found.interval[1]
    hca = compare_paths(predicted, other, truth, tree, resamples=50)["hca"]
    assert hca.better - hca.worse == round(hca.difference * len(truth))


def runs(n: int, seed: int, leaves: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two runs that fail on the same hard samples, the second right 5 points more often where the first fails."""
    rng = np.random.default_rng(seed)
    leaf = np.repeat(np.arange(leaves), n // leaves)
    ease = rng.beta(3, 2, size=leaves)[leaf]
    first = rng.random(n) < ease
    second = first | (rng.random(n) < 0.125)
    wrong = [(~hits).astype(int)[:, None] for hits in (first, second)]
    return wrong[0], wrong[1], np.zeros((n, 1), int), leaf


def test_pairing_narrows_the_interval() -> None:
    first, second, truth, leaf = runs(5000, 0)
    found = compare_paths(first, second, truth, cluster=leaf)["hca"]
    spans = [path_scores(run, truth, cluster=leaf).intervals["hca"] for run in (first, second)]
    unpaired = np.hypot(*(high - low for low, high in spans))
    assert found.interval[1] - found.interval[0] < unpaired / 4
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.worse == 0 and found.better == round(found.difference * 5000)


@pytest.mark.slow
def test_intervals_of_the_difference_cover() -> None:
    """The second run gains 0.125 of what the first fails at, 0.4 of all on average: 0.05."""
    covered = 0
    for seed in range(150):
        first, second, truth, leaf = runs(1000, seed)
        low, high = compare_paths(first, second, truth, cluster=leaf, confidence=0.9, resamples=400)["hca"].interval
        covered += low <= 0.05 <= high
    assert 120 <= covered <= 147


def test_equal_runs_differ_by_nothing_but_not_for_certain() -> None:
    first, _, truth, leaf = runs(500, 0)
    found = compare_paths(first, first, truth, cluster=leaf)["hca"]
    assert found.difference == 0 and found.interval[1] == pytest.approx(-found.interval[0])
    assert 0.05 < found.interval[1] < 0.1
    assert found.n == 500
