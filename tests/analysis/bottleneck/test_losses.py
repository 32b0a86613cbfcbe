"""Where a level goes missing, against losses that were planted."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.bottleneck.losses import max_t, was_there, ways
from analysis.bottleneck.readable import Draws
from benchmarks.verdict import MISREAD, READ, planted


def numbers(*means, spread=0.02, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([np.concatenate([[mean], rng.normal(mean, spread, 1000)]) for mean in means])


def test_what_a_later_place_clearly_has_was_there_before():
    kept = was_there(numbers(0.9, 0.3, 0.8, 0.1))
    assert kept[:, 0].tolist() == [0.9, 0.8, 0.8, 0.1]
    assert np.corrcoef(kept[1], kept[2])[0, 1] == pytest.approx(1)


def test_a_later_place_that_is_a_little_higher_by_chance_is_not_believed():
    assert was_there(numbers(0.90, 0.91, 0.905))[:, 0].tolist() == [0.90, 0.91, 0.905]


def test_many_equal_numbers_are_rarely_found_larger():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        values = rng.normal(0, 1, 20)
        drawn = values[:, None] + rng.normal(0, 1, (20, 500))
        wrong += max_t(np.column_stack([values, drawn]), np.zeros(20)).min() < 0.05
    assert wrong <= 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)


def test_adjusted_p_values_are_never_below_unadjusted_ones_and_step_down():
    values = numbers(0.3, 0.05, 0.04, 0.0, spread=0.02)
    adjusted = max_t(values, np.zeros(4))
    alone = [max_t(values[[row]], np.zeros(1))[0] for row in range(4)]
    assert (adjusted >= np.array(alone) - 1e-12).all()
    assert adjusted[0] == pytest.approx(1 / 1001)
    assert (np.diff(adjusted) >= 0).all()


@pytest.mark.parametrize(("stage", "share"), [("projector", 0.5), ("llm", 0.8), ("projector", 1.0)])
def test_the_share_lost_is_the_one_that_was_planted(stage, share):
    rng = np.random.default_rng(1)
    probes, images, names, _ = planted(stage, share, rng, leaves=180, per_leaf=10)
    found = ways(probes, images, names, Draws.of(probes.leaf, 1000, 0))
    genus = found[1]
    assert genus.kept[0][0] == pytest.approx(READ * (1 - MISREAD), abs=0.03)
    assert genus.lost(stage)[0] / genus.there(stage)[0] == pytest.approx(share, abs=0.06)
    for way in (found[0], found[2]):
        assert abs(way.lost(stage)[0]) < 0.05  # the levels beside it, counted by themselves


def test_a_level_that_only_the_answers_still_have_was_not_lost_before():
    """Visual tokens at the end of the LLM need not hold what was used before."""
    probes, images, names, _ = planted("none", 0.0, np.random.default_rng(0))
    emptied = probes.predicted.copy()
    for family in np.unique(probes.truth[:, 0]):
        of_family = probes.truth[:, 0] == family
        emptied[3:, of_family, 1] = probes.truth[of_family, 1].min()  # one genus of it, every time
    probes = replace(probes, predicted=emptied)
    way = ways(probes, images, names, Draws.of(probes.leaf, 1000, 0))[1]
    assert way.curves["llm.final"][0] == pytest.approx(0)
    assert way.lost("llm")[0] < 0.1


def test_answers_are_counted_beyond_the_parent_too():
    """Who knows the genus alone picks one of its three species: a third right of four options, and nothing known."""
    rng = np.random.default_rng(0)
    probes, images, names, _ = planted("none", 0.0, rng, leaves=90, per_leaf=20)
    right, branch = images.right.copy(), np.ones_like(images.branch)
    right[:, 2] = rng.random(len(right)) < 1 / 3
    way = ways(probes, replace(images, right=right, branch=branch), names, Draws.of(probes.leaf, 1000, 0))[2]
    assert way.answered is not None
    assert way.answered[0] == pytest.approx(0, abs=0.05)


def test_where_no_sibling_is_offered_answers_are_counted_above_a_blind_pick():
    probes, images, _, _ = planted("binding", 0.5, np.random.default_rng(0), leaves=90, per_leaf=20)
    alone = replace(images, floor=np.ones_like(images.floor))
    way = ways(probes, alone, None, Draws.of(probes.leaf, 1000, 0))[1]
    assert way.answered is not None
    assert way.answered[0] == pytest.approx((np.nanmean(images.right[:, 1]) - 0.25) / 0.75, abs=0.01)


def test_what_probes_recover_is_taken_from_the_same_options_where_it_was_measured():
    probes, images, names, _ = planted("binding", 0.5, np.random.default_rng(0))
    draws = Draws.of(probes.leaf, 1000, 0)
    bound = ways(probes, images, names, draws)[1].recovery
    assert bound is not None
    assert bound.bound
    assert bound.value > 0.2
    given = {"recovery": 0.4, "recovery_low": 0.3, "recovery_high": 0.5, "choice_n": 180}
    records = {key: record | given for key, record in probes.records.items()}
    measured = ways(replace(probes, records=records), images, names, draws)[1].recovery
    assert measured is not None
    assert (measured.value, measured.low, measured.high, measured.n, measured.bound) == (0.4, 0.3, 0.5, 180, False)
