"""Scores that look at the tree, and those over all samples: against plain definitions and against hiclass."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commandline import InputError
from taxonomy import Taxonomy, load_taxonomy
from taxonomy.metrics import leaf_given, path_scores
from tests.taxonomy.questions.trees import trees

Case = tuple[Taxonomy, np.ndarray, np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A ragged tree; predicted and true codes, unscored levels and answers that name no node among them; options."""
    tree = draw(trees())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, levels = draw(st.integers(1, 10)), len(tree.levels)
    truth = tree.codes[rng.integers(len(tree), size=n)].copy()
    options = np.full((n, levels, 4), -1)
    predicted = np.full((n, levels), 7)  # nonsense where there is no level
    for row, level in np.argwhere(truth >= 0):
        nodes = rng.permutation(len(tree.nodes(level)))[:4]
        if truth[row, level] not in nodes:
            nodes[0] = truth[row, level]
        options[row, level, : len(nodes)] = nodes
        predicted[row, level] = rng.choice([truth[row, level], *nodes, -1])
    if rng.random() < 0.7:  # a level of one node, wherever it is, is not scored, and what is said there not looked at
        level = rng.integers(levels)
        several = (truth >= 0).sum(axis=1) > 1
        truth[several, level], predicted[several, level] = -1, 7
    return tree, predicted, truth, options


def by_definition(case: Case) -> dict[str, list[float]]:
    """Nodes as paths, sample by sample."""
    tree, predicted, truth, options = case
    scores: dict[str, list[float]] = {"lca_height": [], "severity": [], "tree_inconsistency": [], "forced": []}
    for row in range(len(truth)):
        levels = [level for level in range(truth.shape[1]) if truth[row, level] >= 0]
        said = {k: tree.nodes(k)[predicted[row, k]] if predicted[row, k] >= 0 else None for k in levels}
        last = levels[-1]
        true, leaf = tree.nodes(last)[truth[row, last]], said[last]
        if leaf is not None:
            shared = next((k for k in range(last + 1) if leaf[k] != true[k]), last + 1)
            scores["lca_height"].append(last + 1 - shared)
            if leaf != true:
                scores["severity"].append(last + 1 - shared)
        lie = leaf is not None and all(leaf[: k + 1] == node for k, node in said.items())
        scores["tree_inconsistency"].append(not lie)
        forced = False
        for level, node in said.items():
            above = (
                {tree.nodes(level - 1)[code] for code in options[row, level - 1] if code >= 0}
                if level - 1 in said
                else set()
            )
            forced |= bool(node is not None and above and node[:-1] not in above)
        scores["forced"].append(forced)
    return scores


def mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


@given(cases())
def test_scores_of_the_tree_are_what_they_are_defined_to_be(case: Case) -> None:
    tree, predicted, truth, options = case
    scores = path_scores(predicted, truth, tree, options=options)
    expected = by_definition(case)
    got = [scores.lca_height, scores.severity, scores.tree_inconsistency, scores.achievable_inconsistency]
    np.testing.assert_allclose(got, [mean(values) for values in expected.values()], atol=1e-12)
    values = scores.per_sample
    assert (values["achievable_inconsistency"] <= values["tree_inconsistency"]).all()
    assert (values["hca"] * values["tree_inconsistency"] == 0).all()


@given(cases())
def test_scores_over_all_samples_are_what_they_are_defined_to_be(case: Case) -> None:
    _, predicted, truth, options = case
    scores = path_scores(predicted, truth, options=options)
    levels = [[level for level in range(truth.shape[1]) if path[level] >= 0] for path in truth]
    rows = [[(predicted[row, k] == truth[row, k], predicted[row, k] >= 0) for k in of] for row, of in enumerate(levels)]
    whole = [all(hit for hit, _ in row) for row in rows]
    leaf = [row[-1][0] for row in rows]
    np.testing.assert_allclose(scores.consistency, mean([w for w, right in zip(whole, leaf, strict=True) if right]))
    alone = [prod(scores.level_accuracy[level] for level in of) for of in levels]
    np.testing.assert_allclose(scores.independence_gap, np.mean(whole) - np.mean(alone), atol=1e-12)
    first = [
        next((k for k in range(truth.shape[1]) if t[k] >= 0 and t[k] != g[k]), truth.shape[1])
        for g, t in zip(predicted, truth, strict=True)
    ]
    np.testing.assert_allclose(scores.first_error, np.bincount(first, minlength=truth.shape[1] + 1) / len(truth))
    hits, named = (sum(cell[part] for row in rows for cell in row) for part in (0, 1))
    true = sum(map(len, rows))
    assert scores.h_recall == pytest.approx(hits / true)
    assert scores.h_precision == pytest.approx(hits / named if named else np.nan, nan_ok=True)
    guess = [[1 / (options[row, level] >= 0).sum() for level in of] for row, of in enumerate(levels)]
    assert scores.chance["hca"] == pytest.approx(np.mean([prod(row) for row in guess]))
    assert scores.chance["leaf_accuracy"] == pytest.approx(np.mean([row[-1] for row in guess]))
    for name, chance in scores.chance.items():
        if chance < 1:
            value = np.nanmean(scores.per_sample[name])
            assert scores.chance_corrected[name] == pytest.approx((value - chance) / (1 - chance))


def test_hierarchical_f1_is_that_of_hiclass(published: Path) -> None:
    hiclass = pytest.importorskip("hiclass.metrics", exc_type=ImportError)
    tree = load_taxonomy(published / "hierarchy_imagenet_animal.json")
    rng = np.random.default_rng(0)
    truth = tree.codes[rng.integers(len(tree), size=3000)]
    predicted = np.where(rng.random(truth.shape) < 0.7, truth, tree.codes[rng.integers(len(tree), size=3000)])
    predicted = np.where(truth >= 0, predicted, -1)
    names = [
        np.array([[f"{k}:{code}" if code >= 0 else "" for k, code in enumerate(row)] for row in codes])
        for codes in (truth, predicted)
    ]
    scores = path_scores(predicted, truth)
    for name in ("precision", "recall", "f1"):
        expected = getattr(hiclass, name)(*names, average="micro")
        assert getattr(scores, f"h_{name}") == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_guessing_scores_zero_once_chance_is_taken_off() -> None:
    rng = np.random.default_rng(0)
    options = np.tile(np.arange(4), (200_000, 3, 1))
    options[:, 1, 2:] = -1
    guess = np.stack([rng.integers(k, size=200_000) for k in (4, 2, 4)], axis=1)
    scores = path_scores(guess, np.zeros_like(guess), options=options)
    assert scores.chance["hca"] == pytest.approx(1 / 32)
    for value in scores.chance_corrected.values():
        assert value == pytest.approx(0, abs=0.005)
    assert scores.independence_gap == pytest.approx(0, abs=0.002)
    low, high = scores.intervals["corrected hca"]
    assert low < 0 < high and high - low < 0.01


@pytest.mark.slow
def test_intervals_of_every_score_cover() -> None:
    """Of 100 data sets of leaves of different ease, a 90 % interval misses about 10: consistency, F1, and the gap."""
    rng = np.random.default_rng(3)
    missed = {"consistency": 0, "h_f1": 0, "independence_gap": 0, "first error 1": 0}
    ease = rng.beta(3, 2, size=(100_000, 1))  # the whole population of leaves

    def sample(chosen: np.ndarray, copies: int) -> tuple[np.ndarray, np.ndarray]:
        return (rng.random((len(chosen) * copies, 2)) > np.repeat(chosen, copies, axis=0)).astype(int), np.repeat(
            np.arange(len(chosen)), copies
        )

    predicted, _ = sample(ease, 5)
    whole = path_scores(predicted, np.zeros_like(predicted))
    true = {"consistency": whole.consistency, "h_f1": whole.h_f1, "independence_gap": whole.independence_gap}
    true["first error 1"] = whole.first_error[1]
    for trial in range(100):
        predicted, leaf = sample(rng.beta(3, 2, size=(60, 1)), 8)
        scores = path_scores(
            predicted, np.zeros_like(predicted), cluster=leaf, confidence=0.9, resamples=400, seed=trial
        )
        for name in missed:
            low, high = scores.intervals[name]
            missed[name] += not low <= true[name] <= high
    assert all(3 <= count <= 22 for count in missed.values()), missed


def test_clustered_and_independent_intervals_agree_on_independent_samples() -> None:
    rng = np.random.default_rng(4)
    tree = Taxonomy.from_paths([(a, a + b, a + b + c) for a in "xy" for b in "xy" for c in "xyz"])
    truth = tree.codes[rng.integers(len(tree), size=900)]
    predicted = np.where(rng.random(truth.shape) < 0.8, truth, tree.codes[rng.integers(len(tree), size=900)])
    alone = path_scores(predicted, truth, tree).intervals
    grouped = path_scores(predicted, truth, tree, cluster=np.arange(900)).intervals
    assert set(alone) == set(grouped)
    for name, (low, high) in alone.items():
        assert grouped[name] == pytest.approx((low, high), abs=0.35 * (high - low) + 1e-9), name


def test_the_leaf_is_given() -> None:
    truth = np.array([[0, 1, 2], [0, 1, -1]])
    said = np.array([[0, 1, -1], [0, 0, 5]])
    np.testing.assert_array_equal(leaf_given(said, truth), [[0, 1, 2], [0, 1, 5]])
    assert path_scores(leaf_given(said, truth), truth).hca == 1
    np.testing.assert_array_equal(said[0], [0, 1, -1])


def test_what_does_not_fit_the_tree() -> None:
    tree = Taxonomy.from_paths([("a", "b"), ("a", "c")])
    with pytest.raises(InputError, match="a predicted code at the level 'level2' is 2"):
        path_scores([[0, 2]], [[0, 1]], tree)
    with pytest.raises(InputError, match="of 1 levels, and the taxonomy has 2"):
        path_scores([[0]], [[0]], tree)
    with pytest.raises(InputError, match="sample 1 at level 1 are without the true node"):
        path_scores([[0, 1]] * 2, [[0, 1]] * 2, options=[[[0], [1]], [[0], [0]]])
    with pytest.raises(InputError, match=r"integers \(sample, level, option\)"):
        path_scores([[0, 1]], [[0, 1]], options=[[1, 4]])
