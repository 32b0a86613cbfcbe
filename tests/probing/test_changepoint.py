"""A planted change, none, and brute force."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from probing.bootstrap import LeafBootstrap
from probing.changepoint import best_splits, change_points

SITES = [f"llm.{k}" for k in range(12)]


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=9))
def test_the_best_split_leaves_the_least_squares(curve: list[float]) -> None:
    values = np.array(curve)
    left = [values[:k].var() * k + values[k:].var() * (len(values) - k) for k in range(1, len(values))]
    place, explained = best_splits(values[None])
    assert left[place[0] - 1] <= min(left) + 1e-9
    np.testing.assert_allclose(explained[0], values.var() * len(values) - min(left), atol=1e-9)


def hits(accuracy: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    leaf = np.repeat(np.arange(40), 10)
    return (rng.random((len(accuracy), 400)) < accuracy[:, None]).astype(float)[:, :, None], leaf


def test_a_planted_change_is_found_with_a_tight_interval() -> None:
    found, leaf = hits(np.where(np.arange(12) < 7, 0.8, 0.4))
    record = change_points(found, SITES, ["family"], LeafBootstrap.of(leaf, 1000, 0), 0)[0]
    assert (record["change"], record["change_low"], record["change_high"]) == ("llm.7", "llm.7", "llm.7")
    assert record["jump_low"] < -0.4 < record["jump_high"] < 0
    assert record["p_value"] < 0.01
    assert record["certainty"] > 0.99


def test_where_nothing_changes_the_place_is_unsure_and_the_test_says_so() -> None:
    values = []
    for seed in range(40):
        found, leaf = hits(np.full(12, 0.5), seed)
        record = change_points(found, SITES, ["family"], LeafBootstrap.of(leaf, 200, 0), seed)[0]
        values.append(record["p_value"])
        assert record["certainty"] < 0.9
    assert np.mean(np.array(values) < 0.05) < 0.16
    assert 0.3 < np.mean(values) < 0.7


def test_few_sites_have_no_change_and_nan_units_do_not_count() -> None:
    found, leaf = hits(np.where(np.arange(12) < 7, 0.8, 0.4))
    bootstrap = LeafBootstrap.of(leaf, 200, 0)
    assert change_points(found[:3], SITES[:3], ["family"], bootstrap, 0) == []
    found[:, :100] = np.nan
    assert change_points(found, SITES, ["family"], bootstrap, 0)[0]["n_test"] == 300
