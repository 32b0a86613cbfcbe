"""What extraction checks before the first row: the certificate, and whether images may share a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from commandline import main
from extract import Store
from extract.__main__ import COMMANDS
from extract.certified import takes_batches
from hooks import find_sites
from hooks.certificate import Certificate
from hooks.inputs import pixel_names
from organisms.zoo import build_family

pytestmark = pytest.mark.slow


def extract(*argv: object) -> int:
    return main("python -m extract", COMMANDS, "images", [str(arg) for arg in argv])


def test_it_is_said_and_kept_when_the_extraction_goes_on(
    checkpoints: dict[str, Path], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = ["--model", checkpoints["internvl"], "--dataset", world, "--limit", 4, "--store", tmp_path / "s.zarr"]
    assert extract(*argv) == 0
    assert "certified 11 of 11 sites in " in capsys.readouterr().out
    written = Store.open(tmp_path / "s.zarr").attrs["certificate"]
    assert Certificate.from_dict(dict(written)).samples >= 2
    assert extract(*argv) == 0
    assert Store.open(tmp_path / "s.zarr").attrs["certificate"] == written
    assert extract("info", tmp_path / "s.zarr") == 0
    assert "certificate  certified 11 of 11 sites" in capsys.readouterr().out


def test_it_can_be_left_out_and_the_store_says_so(
    checkpoints: dict[str, Path], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = ["--model", checkpoints["internvl"], "--dataset", world, "--limit", 4, "--store", tmp_path / "s.zarr"]
    assert extract(*argv, "--certify", "false") == 0
    assert "certified" not in capsys.readouterr().out
    assert Store.open(tmp_path / "s.zarr").attrs["certificate"] is None
    assert extract("info", tmp_path / "s.zarr") == 0
    assert "certificate  none: probes need --allow_uncertified" in capsys.readouterr().out


def test_text_stores_have_one(causal_lm: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tree = world.parent / "taxonomy.json"
    argv = [
        "--model",
        causal_lm,
        "--taxonomy",
        tree,
        "--limit",
        4,
        "--store",
        tmp_path / "t",
        "--templates",
        "question",
    ]
    assert extract("text", *argv) == 0
    assert "certified 6 of 6 sites" in capsys.readouterr().out
    assert Certificate.from_dict(dict(Store.open(tmp_path / "t-question.zarr").attrs["certificate"])).ok


@pytest.mark.parametrize(("family", "takes"), [("llava", True), ("qwen2_5_vl", True), ("minicpmv4_6", False)])
def test_images_packed_side_by_side_go_through_alone(family: str, takes: bool) -> None:
    """One family packs the patches of a batch into one strip, so that putting two inputs after each other breaks it."""
    model, inputs = build_family(family)
    names = pixel_names(inputs)
    if family == "llava":
        inputs = {name: value[:1] for name, value in inputs.items()}
    elif family == "qwen2_5_vl":
        grid = inputs["image_grid_thw"][:1]
        inputs = {name: value[:1] for name, value in inputs.items()} | {
            names[0]: inputs[names[0]][: int(grid.prod())], "image_grid_thw": grid
        }  # fmt: skip
    else:
        patches = int(inputs["target_sizes"][0].prod())
        strip = inputs[names[0]]
        inputs = {name: value[:1] for name, value in inputs.items()} | {
            names[0]: strip[..., : patches * strip.shape[-2]]
        }
    assert takes_batches(model, inputs, find_sites(model, inputs)) is takes
