"""Differences between runs whose truth is planted in arrays."""

import numpy as np

from analysis.compare.paired import differences, shared, shares
from analysis.compare.sides import Scores, Side
from analysis.intervals import HCA

LEVELS = ("family", "species")


def planted(name: str, skill: float, ids: range, seed: int, noise: np.ndarray | None = None) -> Side:
    """40 leaves; `noise` shared between two sides makes their samples alike."""
    rng = np.random.default_rng(seed)
    leaf = np.arange(len(ids)) % 40
    hard = noise if noise is not None else rng.random(len(ids))
    species = (hard < skill).astype(float)
    family = np.maximum(species, rng.random(len(ids)) < 0.5)
    right = {"family": family, "species": species, HCA: species * family}
    truth = {
        "family": np.array([f"f{code % 8}" for code in leaf], object),
        "species": np.array([f"s{code}" for code in leaf], object),
    }
    null = dict.fromkeys(right, (0.0, 0.1))
    return Side(name, tuple(f"i{row}" for row in ids), leaf, truth, {"llm": Scores("llm.final", right, null)})


def test_shares_are_means_inside_their_intervals() -> None:
    side = planted("a", 0.7, range(400), 0)
    for one in shares(side, [*LEVELS, HCA], 1000, 0):
        assert one.value == side.places["llm"].right[one.level].mean()
        assert one.low < one.value < one.high
        assert (one.n, one.leaves, one.null_high) == (400, 40, 0.1)


def test_the_same_samples_are_paired_and_pairing_pays() -> None:
    noise = np.random.default_rng(5).random(400)
    first, second = planted("a", 0.6, range(400), 1, noise), planted("b", 0.65, range(400), 2, noise)
    apart = planted("c", 0.65, range(1000, 1400), 3)
    found = {(one.second, one.level): one for one in differences([first, second, apart], [*LEVELS, HCA], 2000, 0)}
    paired, unpaired = found["b", "species"], found["c", "species"]
    gap = second.places["llm"].right["species"] - first.places["llm"].right["species"]
    assert paired.paired
    assert not unpaired.paired
    assert np.isclose(paired.difference, gap.mean())
    assert paired.low > 0
    assert unpaired.high - unpaired.low > 2 * (paired.high - paired.low)
    assert paired.p_adjusted < 0.05


def test_no_difference_is_not_found_and_a_run_against_itself_is_zero() -> None:
    first = planted("a", 0.6, range(400), 1)
    clear = 0
    for seed in range(20):
        found = differences([first, planted("b", 0.6, range(1000, 1400), 10 + seed)], ["species"], 1000, seed)
        clear += found[0].p_adjusted < 0.05
    assert clear <= 4
    same = differences([first, first], [*LEVELS, HCA], 1000, 0)
    assert {(one.difference, one.low, one.high) for one in same} == {(0, 0, 0)}
    assert all(one.p_adjusted > 0.9 for one in same)


def test_samples_with_another_truth_are_not_shared() -> None:
    first, second = planted("a", 0.6, range(400), 1), planted("b", 0.6, range(200, 600), 2)
    rows, others = shared(first, second, "species")
    assert [first.ids[row] for row in rows] == [second.ids[row] for row in others]
    assert len(rows) == 200
    second.truth["species"][:50] = "elsewhere"
    assert len(shared(first, second, "species")[0]) == 150
    assert len(shared(first, second, "family")[0]) == 200
    assert len(shared(first, second, HCA)[0]) == 150
