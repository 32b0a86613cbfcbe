"""`verify` and `info`: every kind of damage is found and named, and a sound store passes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from commandline import main
from extract import Store
from extract.__main__ import COMMANDS
from extract.writer import Writer
from tests.extract.test_store import create, fill, values


def extract(*argv: object) -> int:
    return main("python -m extract", COMMANDS, "images", [str(arg) for arg in argv])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ten samples in units of four, rows 2 and 9 quarantined."""
    store = create(tmp_path / "s.zarr")
    fill(store, values(store), {2: "truncated JPEG: half", 9: "NaN or infinity at llm.1"})
    return store.path


def test_a_sound_store_passes(path: Path, capsys: pytest.CaptureFixture) -> None:
    assert extract("verify", path) == 0
    assert "whole; 8 samples at 7 sites, 2 quarantined" in capsys.readouterr().out


def poke(path: Path, name: str, place: tuple, value) -> None:
    zarr.open_group(path, mode="r+")[name][place] = value


@pytest.mark.parametrize(
    ("harm", "finding"),
    [
        (lambda path: (path / "llm" / "c.1.1.0").unlink(), "samples 4 to 7: llm.1: llm/c.1.1.0 is missing"),
        (
            lambda path: (path / "llm" / "c.3.2.0").write_bytes(b"\0" * 60),
            "samples 8 to 9: llm.final: llm/c.3.2.0 has 60 bytes instead of 64",
        ),
        (lambda path: (path / "sample" / "status" / "c.1").unlink(), "samples 4 to 7: 4 not extracted yet"),
        (
            lambda path: poke(path, "encoder", (1, 5, 3), 0x7FC0),
            "encoder.2: sample 'image 5' is ok but holds NaN or infinity",
        ),
        (lambda path: poke(path, "llm", (0, 4, 0), 0x7F80), "llm.0: sample 'image 4' is ok but holds NaN or infinity"),
        (lambda path: poke(path, "projector", (2,), 0), "projector: sample 'image 2' is quarantined but holds numbers"),
        (lambda path: (path / "sample" / "status" / "c.1").write_bytes(b""), "sample/status is damaged"),
        (lambda path: poke(path, "sample/id", (3,), "image 1"), "the id 'image 1' stands for 2 samples"),
        (lambda path: poke(path, "sample/leaf", (3,), 7), "sample 'image 3' has leaf 7 of 3"),
        (lambda path: poke(path, "sample/sha256", (3,), ""), "sample 'image 3' is ok but has no sha256"),
    ],
)
def test_damage_is_named(path: Path, capsys: pytest.CaptureFixture, harm, finding: str) -> None:
    harm(path)
    assert extract("verify", path) == 1
    assert finding in capsys.readouterr().out


def test_units_that_are_waiting_are_told_as_one_range(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = create(tmp_path / "s.zarr", n=26)
    writer, data = Writer(store), values(store)
    for unit in (range(4), range(12, 16)):
        writer.put(unit, unit, {name: rows[unit.start : unit.stop] for name, rows in data.items()})
        writer.commit(unit, ["hash"] * 4, ["ok"] * 4)
    assert extract("verify", store.path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ", 1)[1].split(" not")[0] for line in lines] == [
        "samples 4 to 11: 8",
        "samples 16 to 25: 10",
    ]


def test_reading_a_short_chunk_is_an_error_and_never_zeros(path: Path) -> None:
    chunk = path / "llm" / "c.1.0.0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"c\.1\.0\.0 ends 44 bytes early: `python -m extract verify`"):
        Store.open(path).matrix("llm.1")
    assert np.isfinite(Store.open(path).matrix("llm.1", [4, 5])).all()


def test_changed_and_missing_images_are_found(
    checkpoints: dict[str, Path], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = shutil.copytree(world.parent, tmp_path / "world")
    argv = ["--model", checkpoints["llava_onevision"], "--dataset", data / world.name, "--limit", 8]
    assert extract(*argv, "--store", tmp_path / "s.zarr") == 0
    assert extract("verify", tmp_path / "s.zarr", "--images", "true") == 0
    first, second = Store.open(tmp_path / "s.zarr").samples.id[:2]
    with (data / first).open("ab") as file:
        file.write(b"\0")
    (data / second).unlink()
    capsys.readouterr()
    assert extract("verify", tmp_path / "s.zarr", "--images", "true") == 1
    out = capsys.readouterr().out
    assert f"the image of {first!r} has changed since it was extracted" in out
    assert f"the image of {second!r} cannot be read any more" in out
    assert extract("verify", tmp_path / "s.zarr") == 0


def test_info_counts_what_there_is_beside_what_is_done(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    split = ["test", "train", "train", "validation", "test"] * 2
    attrs = {"dataset": {"name": "photos", "split_source": "stratified by leaf, seed 3"}}
    store = create(tmp_path / "s.zarr", split=split, attrs=attrs)
    writer = Writer(store)
    writer.put(range(4), range(4), {name: rows[:4] for name, rows in values(store).items()})
    writer.commit(range(4), ["hash"] * 4, ["ok"] * 4)
    assert extract("info", store.path) == 0
    out = capsys.readouterr().out
    assert "splits       4 train (2 done), 2 validation (1 done), 4 test (1 done)" in out
    assert "split by     stratified by leaf, seed 3" in out


def test_info_tells_the_story(checkpoints: dict[str, Path], world: Path, tmp_path: Path, capsys) -> None:
    argv = ["--model", checkpoints["llava_onevision"], "--dataset", world, "--limit", 8, "--store", tmp_path / "s.zarr"]
    assert extract(*argv) == 0
    capsys.readouterr()
    assert extract("info", tmp_path / "s.zarr") == 0
    out = capsys.readouterr().out
    for part in ("LlavaOnevisionForConditionalGeneration", "8 samples, 8 ok", "llm.0 ... llm.final (6), width 64"):
        assert part in out
    assert extract("info", tmp_path / "none.zarr") == 2
    assert "no store here" in capsys.readouterr().err
