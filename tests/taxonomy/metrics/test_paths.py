"""Path scores against the study's own numbers, against definitions written out plainly, and against known coverage."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from commandline import InputError
from taxonomy.metrics import path_scores

ABSENT = -1


@st.composite
def codes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """(predicted, true) codes of ragged paths; levels may be absent anywhere, and answers may name no node."""
    levels = draw(st.integers(1, 6))
    rows = draw(st.integers(1, 12))
    truth = [
        draw(st.lists(st.integers(-1, 2), min_size=levels, max_size=levels).filter(lambda row: max(row) >= 0))
        for _ in range(rows)
    ]
    predicted = [draw(st.lists(st.integers(-1, 2), min_size=levels, max_size=levels)) for _ in range(rows)]
    return np.array(predicted), np.array(truth)


def by_definition(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The formulas of the papers, sample by sample, in plain Python."""
    scores: dict[str, list[float]] = {"hca": [], "leaf": [], "por": [], "prefix": [], "run": [], "tor": []}
    for guess, true in zip(predicted.tolist(), truth.tolist(), strict=True):
        hits = [g == t for g, t in zip(guess, true, strict=True) if t != ABSENT]
        length = len(hits)
        scores["hca"].append(all(hits))
        scores["leaf"].append(hits[-1])
        scores["por"].append(sum(hits) / length)
        scores["prefix"].append(next((k for k, hit in enumerate(hits) if not hit), length) / length)
        runs = "".join("x" if hit else " " for hit in hits).split()
        scores["run"].append(max((len(run) for run in runs), default=0) / length)
        if length > 1:
            scores["tor"].append(sum(a and b for a, b in pairwise(hits)) / (length - 1))
    return {name: float(np.mean(values)) if values else float("nan") for name, values in scores.items()}


@given(codes())
def test_scores_are_what_the_papers_define(case: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, truth = case
    scores = path_scores(predicted, truth)
    got = [scores.hca, scores.leaf_accuracy, scores.por, scores.spor_prefix, scores.spor_run, scores.tor]
    np.testing.assert_allclose(got, list(by_definition(predicted, truth).values()), atol=1e-12)
    for level in range(truth.shape[1]):
        has = truth[:, level] >= 0
        assert scores.level_n[level] == has.sum()
        expected = (predicted[has, level] == truth[has, level]).mean() if has.any() else np.nan
        np.testing.assert_allclose(scores.level_accuracy[level], expected)


@given(codes())
def test_scores_are_ordered_as_they_must_be(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores = path_scores(*case).per_sample
    assert (scores["hca"] <= scores["spor_prefix"]).all()
    assert (scores["spor_prefix"] <= scores["spor_run"]).all()
    assert (scores["spor_run"] <= scores["por"] + 1e-12).all()
    assert (scores["hca"] <= scores["leaf_accuracy"]).all()
    long = np.isfinite(scores["tor"])
    assert (scores["hca"][long] <= scores["tor"][long]).all()
    assert (scores["tor"][long] <= scores["por"][long] + 1e-12).all()


@given(codes(), st.booleans())
def test_intervals_hold_their_scores(case: tuple[np.ndarray, np.ndarray], clustered: bool) -> None:
    predicted, truth = case
    scores = path_scores(predicted, truth, cluster=truth[:, -1] if clustered else None, resamples=200)
    for name, (low, high) in scores.intervals.items():
        if name == "independence_gap":
            assert -1 <= low <= high <= 1
        elif scores.parts[name][1].any():
            assert 0 <= low <= high <= 1
        else:
            assert np.isnan([low, high]).all()
    if not clustered:  # a percentile interval of a few clusters need not hold the mean, Wilson's does
        for name, share in (("hca", scores.hca), ("leaf_accuracy", scores.leaf_accuracy)):
            assert scores.intervals[name][0] <= share <= scores.intervals[name][1] + 1e-12


@pytest.mark.parametrize("name", ["ragged_paths", "with_single_level_paths"])
def test_scores_equal_the_released_metric(published: Path, name: str) -> None:
    data = json.loads((published.parent / "metrics" / f"{name}.json").read_text())
    names = sorted({node for paths in (data["predicted"], data["truth"]) for path in paths for node in path})
    number = {node: code for code, node in enumerate(names)}
    depth = max(map(len, data["truth"]))
    predicted, truth = (
        np.array([[number[node] for node in path] + [ABSENT] * (depth - len(path)) for path in data[key]])
        for key in ("predicted", "truth")
    )
    scores, expected = path_scores(predicted, truth), data["expected_percent"]
    for key in ("hca", "leaf_accuracy", "por", "spor_prefix"):
        assert 100 * getattr(scores, key) == pytest.approx(expected[key], abs=1e-9)
    assert 100 * scores.tor * scores.tor_n / scores.n == pytest.approx(expected["tor_with_single_level_counted_zero"])
    assert 100 * scores.level_accuracy == pytest.approx(list(expected["level_accuracy"].values()))


def test_wilson_interval_of_independent_samples() -> None:
    truth = np.zeros((40, 2), dtype=int)
    predicted = truth.copy()
    predicted[:13, 1] = 1
    scores = path_scores(predicted, truth)
    expected = binomtest(27, 40).proportion_ci(0.95, method="wilson")
    assert scores.intervals["hca"] == pytest.approx((expected.low, expected.high))
    assert scores.intervals["level 0"] == pytest.approx(tuple(binomtest(40, 40).proportion_ci(method="wilson")))


def test_intervals_widen_when_leaves_fail_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    leaf = np.repeat(np.arange(30), 20)
    right = rng.random(30) < 0.5
    truth = np.zeros((600, 1), dtype=int)
    predicted = np.where(right[leaf], 0, 1)[:, None]
    low, high = path_scores(predicted, truth).intervals["hca"]
    clustered = path_scores(predicted, truth, cluster=leaf).intervals["hca"]
    assert clustered[1] - clustered[0] > 3 * (high - low)
    again = path_scores(predicted, truth, cluster=[f"leaf {number}" for number in leaf]).intervals["hca"]
    assert again == pytest.approx(clustered, abs=0.02)


def test_clustered_interval_covers_the_truth() -> None:
    """Of 200 data sets whose leaves differ in difficulty around 0.6, a 90 % interval should miss about 20."""
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        ease = rng.beta(3, 2, size=60)
        hits = rng.random((60, 15)) < ease[:, None]
        leaf = np.repeat(np.arange(60), 15)
        scores = path_scores(
            np.where(hits, 0, 1).reshape(-1, 1),
            np.zeros((900, 1), dtype=int),
            cluster=leaf,
            confidence=0.9,
            resamples=500,
            seed=trial,
        )
        low, high = scores.intervals["hca"]
        covered += low <= 0.6 <= high
    assert 168 <= covered <= 192


def test_where_all_clusters_agree_the_interval_still_has_a_width() -> None:
    truth = np.zeros((50, 3), dtype=int)
    low, high = path_scores(truth, truth, cluster=np.arange(50) // 10).intervals["hca"]
    assert (low, high) == pytest.approx(tuple(binomtest(5, 5).proportion_ci(method="wilson")))


def test_intervals_follow_the_seed() -> None:
    rng = np.random.default_rng(2)
    truth, predicted = rng.integers(3, size=(2, 80, 4))
    one, same, other = (path_scores(predicted, truth, seed=seed).intervals["por"] for seed in (0, 0, 1))
    assert one == same != other


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        ([[0.0]], [[0]], r"predicted codes should be integers \(sample, level\), not float64"),
        ([0], [0], "predicted codes should be integers"),
        ([[0]], [[True]], "true codes should be integers"),
        ([[0, 1]], [[0]], r"shape \(1, 2\), the true ones \(1, 1\)"),
        (np.zeros((0, 2), dtype=int), np.zeros((0, 2), dtype=int), "no samples"),
        ([[0], [0]], [[0], [-1]], "sample 1 has no true level"),
    ],
)
def test_bad_codes_are_one_clear_error(predicted: object, truth: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        path_scores(predicted, truth)  # pyright: ignore[reportArgumentType]


def test_a_wrong_number_of_clusters() -> None:
    with pytest.raises(InputError, match="the leaf of each of the 2 samples"):
        path_scores([[0], [0]], [[0], [0]], cluster=[1])
