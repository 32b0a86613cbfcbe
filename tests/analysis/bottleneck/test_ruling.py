"""The rule, on models whose loss was planted."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.bottleneck.bits import Bits, bits_lost
from analysis.bottleneck.losses import ways
from analysis.bottleneck.readable import Draws
from analysis.bottleneck.ruling import rule
from benchmarks.verdict import LEVELS, SITES, VerdictBenchConfig, judge, planted

SMALL = VerdictBenchConfig(resamples=1000)


def ruled(probes, images, names, bits, illegible=()):
    draws = Draws.of(probes.leaf, 1000, 0)
    return dict(zip(LEVELS, rule(ways(probes, images, names, draws), bits, dict.fromkeys(illegible, 0.0)), strict=True))


@pytest.mark.parametrize(
    ("stage", "level"),
    [
        (stage, level)
        for stage in ("none", "encoder", "projector", "llm", "text", "binding")
        for level in LEVELS
        if (stage, level) not in {("encoder", "family"), ("text", "species")}  # below
    ],
)
def test_what_was_planted_is_found_and_certain(stage, level):
    found, _ = judge(
        stage, 0.0 if stage == "none" else 0.9, np.random.default_rng([3, LEVELS.index(level)]), SMALL, level
    )
    assert (found[level].loss.stage, found[level].loss.confident) == (stage, True)
    others = [loss for name, ruling in found.items() if name != level for loss in (ruling.loss, *ruling.also)]
    assert not any(loss.confident and loss.stage != "none" for loss in others)


def test_without_the_top_level_no_node_is_named_right_and_nothing_is_identifiable():
    found, _ = judge("encoder", 0.9, np.random.default_rng(0), SMALL, "family")
    assert {ruling.unknown for ruling in found.values()} == {"nothing read"}


def test_strength_rises_with_what_is_lost_and_its_interval_holds_it():
    strengths, held = [], 0
    for share in (0.3, 0.6, 0.9):
        found, holds = judge("projector", share, np.random.default_rng(5), SMALL)
        strengths.append(found["genus"].loss.strength)
        held += holds
    assert strengths == sorted(strengths)
    assert held >= 2


def test_where_nothing_is_lost_nothing_is_found():
    for seed in range(20):
        found, _ = judge("none", 0.0, np.random.default_rng(seed), SMALL)
        assert [ruling.loss.stage for ruling in found.values()] == ["none"] * 3


def test_a_model_that_reads_nothing_well_has_no_verdict():
    probes, images, names, bits = planted("none", 0.0, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    shuffled = probes.truth[rng.permutation(len(probes.truth))]
    lost = replace(probes, predicted=np.repeat(shuffled[None], len(SITES), axis=0))
    found = ruled(lost, images, names, bits)
    assert {ruling.loss.stage for ruling in found.values()} == {"not identifiable"}
    assert not any(ruling.loss.confident for ruling in found.values())


def test_a_random_encoder_that_tells_colours_apart_has_no_verdict_either():
    """Siblings told apart, and nothing above them: no node is named right for it."""
    probes, images, names, bits = planted("none", 0.0, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    predicted = probes.predicted.copy()
    some = rng.random(len(probes.truth)) < 0.8
    predicted[:, some] = np.roll(probes.truth, 45, axis=0)[some]  # of another family
    found = ruled(replace(probes, predicted=predicted), images, names, bits)
    assert {ruling.unknown for ruling in found.values()} == {"nothing read"}


def test_accuracy_that_falls_inside_the_llm_is_no_loss_where_the_projector_adds_no_bits():
    probes, _, names, _ = planted("llm", 0.8, np.random.default_rng(0))
    kept = {level: Bits("projector", "llm.final", 0.01, 0.0, 0.03, 0.02, 0.0, 180) for level in LEVELS}
    told = ruled(probes, None, names, kept)["genus"]
    assert (told.loss.stage, told.retold) == ("none", True)
    undone = ruled(probes, None, names, {})["genus"]
    assert (undone.loss.stage, undone.loss.confident) == ("llm", False)
    assert undone.loss.at is not None
    assert undone.loss.at.startswith("llm.1")


def test_without_questions_by_name_taxonomy_and_binding_are_one():
    probes, images, _, bits = planted("text", 0.9, np.random.default_rng(0))
    assert ruled(probes, images, None, bits)["genus"].loss.stage == "answers"
    deepest = planted("binding", 0.9, np.random.default_rng(0), level="species")
    assert ruled(deepest[0], deepest[1], None, bits)["species"].loss.stage == "binding"


def test_without_answers_the_stages_before_are_judged():
    probes, _, _, bits = planted("projector", 0.9, np.random.default_rng(0))
    found = ruled(probes, None, None, bits)
    assert found["genus"].loss.stage == "projector"
    assert found["family"].loss.stage == "none"


def test_answers_that_lack_nothing_on_the_same_options_are_not_blamed_for_certain():
    probes, images, names, bits = planted("binding", 0.9, np.random.default_rng(0))
    equal = {"recovery": 0.01, "recovery_low": -0.02, "recovery_high": 0.04, "choice_n": 180}
    records = {key: record | equal for key, record in probes.records.items()}
    assert not ruled(replace(probes, records=records), images, names, bits)["genus"].loss.confident


def test_replies_that_cannot_be_read_are_no_wrong_replies():
    probes, _, names, bits = planted("none", 0.0, np.random.default_rng(0))
    found = ruled(probes, None, names, bits, illegible=LEVELS)
    assert {ruling.unknown for ruling in found.values()} == {"illegible"}
    lost = planted("projector", 0.9, np.random.default_rng(0))
    assert ruled(lost[0], None, names, bits, illegible=LEVELS)["genus"].loss.stage == "projector"


def test_bits_of_a_level_are_counted_beyond_its_parents():
    def row(level, both, added):
        ends = {"added_low": added - 0.03, "added_high": added + 0.04}
        names = {"earlier": "llm.final", "later": "projector", "level": level, "n_test": 180}
        return names | {"bits_both": both, "added": added, "added_null": -0.01} | ends

    rows = [row("family", 2.0, 0.5), row("genus", 3.0, 0.6), row("species", 5.0, 2.6)]
    found = bits_lost(rows, LEVELS, ["projector"], ["llm.0", "llm.final"])
    assert found["family"].share == pytest.approx(0.25)
    assert found["genus"].share == pytest.approx(0.1)
    assert found["species"].share == pytest.approx(1.0)
    assert found["genus"].low == pytest.approx(0.1 - np.hypot(0.03, 0.04))
    assert bits_lost(rows, LEVELS, ["projector"], ["llm.0"]) == {}
