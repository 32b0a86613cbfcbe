"""What a calibration comes to, on verdicts made by hand, and the command on an organism."""

import pytest

from commandline import InputError
from organisms.calibrate import CalibrateConfig, Judged, calibrate, stages
from organisms.calibration import holds, page, summary, trend
from organisms.training.recipes import LEVELS


def judged(
    planted="none", found="none", confident=True, organism="healthy", dose=None, lost=None, world=0, level="genus"
):
    """A verdict on a level."""
    ends = (None, None) if lost is None else (lost - 0.05, lost + 0.05)
    return Judged("seed0", organism, 0, dose, world, level, planted, found, confident, 0.1, 0.0, 0.2, lost, *ends)


def test_what_a_recipe_plants_is_read_level_by_level():
    assert stages("LLM (taxonomy): family, genus", LEVELS) == {"family": "text", "genus": "text", "species": "none"}
    assert stages("projector: species", LEVELS) == {"family": "none", "genus": "none", "species": "projector"}
    assert set(stages("none", LEVELS).values()) == {"none"}
    assert set(stages("not identifiable", LEVELS).values()) == {"not identifiable"}


def test_95_of_100_must_be_right():
    right, wrong = judged(), judged(found="encoder")
    assert holds([right] * 95 + [wrong] * 5)
    assert not holds([right] * 94 + [wrong] * 6)


def test_a_certain_verdict_on_an_untrained_model_fails_whatever_the_share():
    untrained = judged("not identifiable", "encoder", organism="random")
    assert not holds([judged()] * 1000 + [untrained])
    figures = summary([judged()] * 1000 + [untrained])
    assert (figures["untrained_certain"], figures["right"], figures["certain_right"]) == (1, 1000, 1000)


def test_the_page_counts_what_was_found_for_what_was_planted():
    found = [judged()] * 7 + [judged("projector", "projector")] * 2 + [judged("projector", "llm", confident=False)]
    lines = page(found).splitlines()
    head = next(line for line in lines if line.startswith("planted")).split()
    row = next(line for line in lines if line.startswith("projector")).split()
    assert dict(zip(head, row, strict=True)) == {
        "planted": "projector", "projector": "2", "llm": "1", "none": ".", "certain": "2"
    }  # fmt: skip
    assert "right: 9 of 10, 90.0 %" in page(found)
    assert "projector planted, llm found (not certain)" in page(found)


def test_a_part_of_a_level_lost_is_no_error_either_way():
    half = [judged("projector", "none", dose=0.5, lost=0.4, level="species")]
    assert summary([judged(), *half])["verdicts"] == 1


@pytest.mark.parametrize(("curve", "rises"), [((0.0, 0.2, 0.5, 0.7, 1.0), True), ((0.5, 0.4, 0.5, 0.4, 0.5), False)])
@pytest.mark.parametrize("worlds", [1, 3])
def test_a_trend_is_one_that_rises(curve, rises, worlds):
    series = [
        judged("projector" if dose else "none", "projector", dose=dose, lost=lost, world=world, level="species")
        for world in range(worlds)
        for dose, lost in zip((0.0, 0.25, 0.5, 0.75, 1.0), curve, strict=True)
    ]
    found = trend(series)
    assert found is not None
    assert (found["p"] < 0.05) == rises
    assert found["rising"] == (worlds if rises else 0)
    assert "By dose" in page(series)


def test_folders_of_one_name_are_refused_before_any_work(tmp_path):
    for parent in ("a", "b"):
        (tmp_path / parent / "trained").mkdir(parents=True)
    folders = [str(tmp_path / parent / "trained") for parent in ("a", "b")]
    with pytest.raises(InputError, match="two folders are called 'trained'"):
        calibrate(CalibrateConfig(weights=folders, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
