"""Letters with a liking of their own: planted, estimated, divided out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation import bias
from evaluation.asking import Plan
from evaluation.config import AskConfig
from evaluation.reading import NOT_ASKED, Reading, read
from evaluation.results import AskRun
from evaluation.run import run
from evaluation.scores import AVERAGED, DEBIASED, LOGITS, TEXT, records, scored, ways
from tests.evaluation.planted import RuleBackend, settings, truths, write_bank

BONUS = (1.5, 0.0, -0.5, 0.2)


def reading_of(folder: Path, bonus: tuple[float, ...] = BONUS, right: float = 0.7, **changes: object) -> Reading:
    if not (folder / "birds.jsonl").exists():
        write_bank(folder, per_leaf=20)
    out = folder / f"run{len(list(folder.glob('run*')))}"

    def opener(_: AskConfig, asks: Plan) -> RuleBackend:
        return RuleBackend(truths(asks.bank), right=right, letter_bonus=bonus)

    run(settings(folder, out=str(out), **changes), opener)
    found = AskRun.open(out)
    (prompt,) = found.settings["prompts"]
    return read(found, found.answers(), prompt, "strict_v1")


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    return reading_of(tmp_path_factory.mktemp("turned"), rotations=4)


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    return reading_of(tmp_path_factory.mktemp("fair"), bonus=(0.0,) * 4, rotations=4)


def test_log_probabilities_follow_the_options(turned: Reading) -> None:
    """By option, every rotation says the same but for the letters' bonus; by hand from the raw logits."""
    found = bias.by_option(turned)
    question = int(np.flatnonzero(turned.count == 4)[0])
    for rotation in range(4):
        raw = turned.logits[question, rotation].astype(float)
        chances = raw - np.log(np.exp(raw).sum())
        for option in range(4):
            assert found[question, rotation, option] == pytest.approx(chances[(option - rotation) % 4])
    two = int(np.flatnonzero(turned.count == 2)[0])
    assert np.isnan(found[two, :, 2:]).all()


def test_the_prior_is_the_softmax_of_the_bonus(turned: Reading) -> None:
    """Over all rotations every option stands at every letter, so what is left is the letters' own, to all digits but
    for what the softmax over few options mixes in."""
    found = bias.prior(turned)
    for count in (2, 4):
        expected = np.exp(BONUS[:count]) / np.exp(BONUS[:count]).sum()
        assert np.allclose(found[count], expected, atol=1e-5)


def test_dividing_the_prior_out_gives_the_unbiased_answers(turned: Reading, fair: Reading) -> None:
    assert (bias.fixed(turned) != bias.fixed(fair)).mean() > 0.15
    assert np.array_equal(bias.debiased(turned), bias.fixed(fair))
    assert np.array_equal(bias.averaged(turned), bias.fixed(fair))


def test_a_few_images_are_enough_for_the_prior(tmp_path: Path, fair: Reading) -> None:
    found = reading_of(tmp_path, prior_fraction=0.05)
    assert 0 < found.turned.mean() < 0.15
    assert np.array_equal(bias.debiased(found), bias.fixed(fair))
    names = [way.name for way in ways(found)]
    assert names == [TEXT, LOGITS, DEBIASED]
    assert not any(record["score"].startswith("circular") for record in records(found, False, 100))


def test_recall_by_letter(turned: Reading, fair: Reading) -> None:
    four = turned.count == 4
    chosen = bias.fixed(turned)
    found = bias.recall(turned, chosen)
    for letter in range(4):
        these = four & (turned.answer == letter)
        assert found[letter] == pytest.approx((chosen == turned.answer)[these].mean())
    assert found[0] > found[2] + 0.2
    assert np.ptp(bias.recall(fair, bias.fixed(fair))) < 0.12
    assert bias.recall_over_rotations(fair) == pytest.approx([(fair.said == fair.answer[:, None])[four].mean()] * 4)


def test_recall_over_rotations_by_hand(turned: Reading) -> None:
    found = bias.recall_over_rotations(turned)
    hits: list[list[bool]] = [[], [], [], []]
    for question in np.flatnonzero(turned.count == 4):
        for rotation in range(4):
            letter = (turned.answer[question] - rotation) % 4
            hits[letter].append(bool(turned.said[question, rotation] == turned.answer[question]))
    assert found == pytest.approx([np.mean(some) for some in hits])
    assert found[0] > found[2] + 0.2


def test_rotations_all_right_and_expected(turned: Reading) -> None:
    """Against loops over images and rotations."""
    found = {
        (record["reading"], record["score"], record["level"]): record["value"]
        for record in records(turned, False, draws=100)
    }
    circular, expected = [], []
    for sample in range(len(turned.images)):
        always, chance = 1.0, 1.0
        for question in np.flatnonzero(turned.sample == sample):
            right = [
                turned.said[question, rotation] == turned.answer[question] for rotation in range(turned.count[question])
            ]
            always *= all(right)
            chance *= sum(right) / len(right)
        circular.append(always)
        expected.append(chance)
    assert found[TEXT, "circular_hca", None] == pytest.approx(np.mean(circular))
    assert found[TEXT, "expected_hca", None] == pytest.approx(np.mean(expected))
    assert found[TEXT, "circular_hca", None] < found[TEXT, "expected_hca", None] < found[AVERAGED, "hca", None]


def test_without_logits_only_the_reply_is_left(turned: Reading) -> None:
    from dataclasses import replace

    silent = replace(turned, logits=np.full_like(turned.logits, np.nan))
    assert [way.name for way in ways(silent)] == [TEXT]
    assert (bias.fixed(silent) == -1).all()
    assert (bias.debiased(silent) == -1).all()
    assert bias.prior(silent) == {}


def test_some_missing_logits_cost_only_their_question(turned: Reading) -> None:
    from dataclasses import replace

    logits = turned.logits.copy()
    logits[:5] = np.nan
    found = bias.debiased(replace(turned, logits=logits))
    assert (found[:5] == -1).all()
    assert np.array_equal(found[5:], bias.debiased(turned)[5:])


def test_what_was_not_asked_is_told_from_no_answer(tmp_path: Path) -> None:
    found = reading_of(tmp_path, prior_fraction=0.05)
    assert (found.said[~found.turned, 1:] == NOT_ASKED).all()
    assert scored(found, ways(found)[0], 100).n == len(found.images)
