"""Scores against numbers made by hand."""

import numpy as np
import pytest

from analysis.erasure.scores import Outcome, difference, reliability
from analysis.erasure.tree import among_siblings, commonest, parents_of, relation
from probing.bootstrap import LeafBootstrap
from tests.probing.planted import balanced_tree

LEVELS = ("family", "genus", "species")
N = 1000
BOOTSTRAP = LeafBootstrap.of(np.arange(N) // 20, 400, 0)


def shares(share: float, seed: int = 0) -> np.ndarray:
    """So many of N right, spread over the leaves."""
    right = np.zeros(N)
    right[np.random.default_rng(seed).permutation(N)[: round(share * N)]] = 1
    return right


def outcome(before: float, after: float, chance: float, kind: str) -> Outcome:
    return Outcome(shares(before, 1), shares(after, 2), shares(chance, 3), kind)  # pyright: ignore[reportArgumentType]


def test_what_erasing_a_level_should_do() -> None:
    within = [relation(LEVELS, "genus", of, True) for of in LEVELS]
    whole = [relation(LEVELS, "genus", of, False) for of in LEVELS]
    answers = [relation(LEVELS, "genus", of, True, answers=True) for of in LEVELS]
    assert within == ["kept", "erased", "kept"]
    assert whole == ["erased with it", "erased", "kept"]
    assert answers == ["kept", "erased", "rests on it"]


def test_a_choice_is_read_among_the_siblings_of_the_truth() -> None:
    tree = balanced_tree((2, 5), ("order", "species"))  # orders of 3 and 2 species
    parents = parents_of(tree, "species")
    assert parents.tolist() == [0, 0, 0, 1, 1]
    scores = np.array([[1, 3, 2, 9, 0], [1, 3, 2, 0, 9], [0, 0, 9, 2, 1], [9, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
    truth = np.array([1, 2, 3, 3, -1])
    right = among_siblings(scores, np.arange(5), truth, parents)
    assert right[:4].tolist() == [1, 0, 1, 0]
    assert np.isnan(right[4])
    assert np.isnan(among_siblings(scores[:, [0, 1, 3]], np.array([0, 1, 3]), truth, parents)[2])
    fitted = np.array([0, 0, 1, 2, 2, 2, 3, 4, 4, -1])
    assert commonest(fitted, np.array([2, 0, 4, 3]), parents).tolist() == [1, 0, 1, 0]


def test_completeness_selectivity_and_their_harmonic_mean() -> None:
    found = reliability(
        {
            "family": outcome(0.9, 0.8, 0.4, "kept"),
            "genus": outcome(0.9, 0.5, 0.4, "erased"),
            "species": outcome(0.8, 0.7, 0.3, "kept"),
        },
        BOOTSTRAP,
    )
    assert found["completeness"] == pytest.approx(0.4 / 0.5)
    assert found["selectivity"] == pytest.approx(((1 - 0.1 / 0.5) + (1 - 0.1 / 0.5)) / 2)
    assert found["reliability"] == pytest.approx(0.8)
    for name in ("completeness", "selectivity", "reliability"):
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]
    assert (found["n"], found["leaves"], found["of_kept"]) == (N, 50, ["family", "species"])


def test_what_changes_either_way_is_no_side_effect_less() -> None:
    up = reliability({"genus": outcome(0.9, 0.4, 0.4, "erased"), "family": outcome(0.6, 0.7, 0.4, "kept")}, BOOTSTRAP)
    assert up["completeness"] == 1
    assert up["selectivity"] == pytest.approx(0.5)


def test_what_was_not_there_cannot_be_lost_or_kept() -> None:
    found = reliability(
        {
            "family": outcome(0.41, 0.1, 0.4, "kept"),
            "genus": outcome(0.9, 0.9, 0.4, "erased"),
            "species": outcome(0.9, 0.2, 0.4, "rests on it"),
        },
        BOOTSTRAP,
    )
    assert found["completeness"] == 0
    assert found["of_kept"] == []
    assert np.isnan(found["selectivity"])
    assert np.isnan(found["reliability"])


def test_differences_are_paired() -> None:
    before = shares(0.5)
    after = before.copy()
    after[np.flatnonzero(before)[:100]] = 0
    chance = np.full(N, 0.25)
    before[:7] = np.nan
    found = difference(Outcome(before, after, chance, "kept"), BOOTSTRAP)
    assert found["n"] == N - 7
    assert found["difference"] == pytest.approx(np.nanmean(after[7:] - before[7:]))
    low, high = BOOTSTRAP.interval(after - before, share=False)
    assert (found["low"], found["high"]) == (low, high)
    assert found["high"] < 0
    assert found["chance"] == 0.25
