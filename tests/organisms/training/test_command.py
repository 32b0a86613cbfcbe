import json

import pytest

from commandline import InputError
from organisms.training.command import TrainConfig, train
from organisms.training.school import Pace


def test_a_folder_says_the_command_that_makes_it_again(tmp_path, capsys):
    config = TrainConfig(organisms="random", architecture="internvl", seed=3, pace=0.005, out=tmp_path)
    assert train(config) == 0
    about = json.loads((tmp_path / "random/organism.json").read_text(encoding="utf-8"))
    assert about["command"] == "python -m organisms train random --seed 3 --architecture internvl --pace 0.005"
    assert (about["architecture"], about["pace"]["train_images"], about["pace"]["steps"]) == ("internvl", 2, 2)
    written = (tmp_path / "random/model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert train(config) == 0
    assert "is there (--overwrite trains it again)" in capsys.readouterr().err
    assert (tmp_path / "random/model.safetensors").stat().st_mtime_ns == written


def test_a_pace_is_a_share_of_images_and_steps_rounded_up():
    assert Pace().times(1) == Pace()
    assert Pace().times(0.01) == Pace(train_images=4, encoder_steps=24, steps=4)


def test_an_unknown_organism_is_named_before_any_training(tmp_path):
    with pytest.raises(InputError, match="no organism 'helthy'"):
        train(TrainConfig(organisms="healthy,helthy", out=tmp_path))
