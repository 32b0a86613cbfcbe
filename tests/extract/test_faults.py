"""Faults made for real: processes killed, disks full or read-only. What was committed stays; the command goes on."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from commandline import InputError, main
from extract import Store
from extract.__main__ import COMMANDS
from extract.fill import fill
from extract.store import units
from extract.writer import Writer, committed_units
from organisms.world import render_world
from tests.extract.test_fill import model, sample
from tests.extract.test_store import create
from tests.extract.test_writer import FORK, arrays

IMAGES, CHUNK = 60, 6


def extract(*argv: object) -> int:
    return main("python -m extract", COMMANDS, "images", [str(arg) for arg in argv])


def command(model: Path, world: Path, store: Path) -> list[str]:
    settings = {"model": model, "dataset": world, "store": store, "limit": IMAGES, "chunk_rows": CHUNK, "batch_size": 2}
    return [text for key, value in settings.items() for text in (f"--{key}", str(value))]


def start(argv: list[str]):
    """The command in a process of its own; forked, so that it need not import everything again."""

    def child() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
        os._exit(extract(*argv))

    process = FORK.Process(target=child)
    process.start()
    return process


def committed(path: Path) -> int:
    """Units committed so far, for a look from outside."""
    return len(list(path.glob("sample/status/c.*"))) if path.exists() else 0


def wait_for_units(path: Path, number: int, process) -> None:
    deadline = time.monotonic() + 60
    while committed(path) < number and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def assert_equal_stores(one: Path, other: Path) -> None:
    """Array for array, bit for bit."""
    first, second = (dict(arrays(zarr.open_group(path, mode="r"))) for path in (one, other))
    assert first.keys() == second.keys()
    for name, array in first.items():
        here, there = np.asarray(array[:]), np.asarray(second[name][:])
        equal = here.tolist() == there.tolist() if here.dtype.kind == "T" else here.tobytes() == there.tobytes()
        assert equal, name
    assert Store.open(one).attrs["sites"] == Store.open(other).attrs["sites"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of different sizes: which of them share a batch is part of what must come out the same."""
    return render_world(tmp_path_factory.mktemp("ragged"), n_per_species=6, ragged=True)


@pytest.fixture(scope="module")
def whole(checkpoints: dict[str, Path], world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extraction nothing happened to."""
    path = tmp_path_factory.mktemp("whole") / "s.zarr"
    assert extract(*command(checkpoints["qwen2_5_vl"], world, path)) == 0
    return path


@pytest.mark.parametrize(("kills", "images"), [(3, IMAGES), pytest.param(20, 216, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_uninterrupted(
    whole: Path, checkpoints: dict[str, Path], world: Path, tmp_path: Path, kills: int, images: int
) -> None:
    """SIGKILL at random moments of one extraction, up to one and a half units after each process's first commit."""
    path, rng = tmp_path / "s.zarr", random.Random(kills)
    argv, expected, chunk = command(checkpoints["qwen2_5_vl"], world, path), whole, CHUNK
    if images != IMAGES:
        expected, chunk = tmp_path / "whole.zarr", 4
        argv += ["--limit", str(images), "--chunk_rows", str(chunk)]
        assert extract(*argv, "--store", expected) == 0
    places: list[int] = []
    pace = 0.0
    for _ in range(kills):
        before = committed(path)
        process = start(argv)
        wait_for_units(path, before + 1, process)
        if not pace:
            began = time.monotonic()
            wait_for_units(path, before + 2, process)
            pace = time.monotonic() - began
        time.sleep(rng.uniform(0, 1.5 * pace))
        assert process.is_alive(), "too fast to be killed"
        process.kill()
        process.join()
        places.append(committed(path))
        assert places[-1] > before, "something committed was lost"
    assert len(set(places)) == kills
    assert places[-1] < len(units(images, chunk))
    assert extract(*argv) == 0
    assert_equal_stores(path, expected)
    assert not list(path.rglob("*.partial"))
    assert extract("verify", path, "--images", "true") == 0


def test_ctrl_c_keeps_what_was_finished(whole: Path, checkpoints: dict[str, Path], world: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    argv = command(checkpoints["qwen2_5_vl"], world, path)
    process = start(argv)
    wait_for_units(path, 2, process)
    time.sleep(0.02)  # past the garbage collection after a unit: Python loses what a collector's callback raises
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    done = committed(path)
    assert 2 <= done < len(units(IMAGES, CHUNK))
    assert not Path(f"{path}.lock").exists()
    assert extract(*argv) == 0
    assert_equal_stores(path, whole)


def test_two_extractions_into_one_store_are_refused(
    whole: Path, checkpoints: dict[str, Path], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "s.zarr"
    argv = command(checkpoints["qwen2_5_vl"], world, path)
    process = start(argv)
    wait_for_units(path, 1, process)
    os.kill(process.pid or 0, signal.SIGSTOP)
    try:
        assert extract(*argv) == 2
        assert f"another process (pid {process.pid}) is writing {path}" in capsys.readouterr().err
    finally:
        os.kill(process.pid or 0, signal.SIGCONT)
    process.join(60)
    assert process.exitcode == 0
    assert_equal_stores(path, whole)


def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "size=1m")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "size=1m,ro")


def test_a_disk_that_fills_up_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    n, path, ballast = 40, small_disk / "s.zarr", small_disk / "ballast"
    samples = [sample(row) for row in range(n)]
    expected = create(tmp_path / "whole.zarr", n, chunk_rows=8)
    fill(Writer(expected), iter(samples), model(), 4, lambda tally: None)

    def someone_else_fills_the_disk(tally) -> None:
        if tally.done == 20:
            ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free))

    store = create(path, n, chunk_rows=8)
    with pytest.raises(ValueError, match="is full; the 16 of 40 samples committed before are safe: free some space"):
        fill(Writer(store), iter(samples), model(), 4, someone_else_fills_the_disk)
    assert committed_units(store) == {range(8), range(8, 16)}
    assert not list(path.rglob("*.partial"))
    ballast.unlink()
    writer = Writer(Store.open(path, mode="r+"))
    fill(writer, (sample(row) for unit in writer.pending for row in unit), model(), 4, lambda tally: None)
    assert_equal_stores(path, tmp_path / "whole.zarr")


def test_a_disk_that_is_too_small_is_found_before_the_model_is_loaded(
    small_disk: Path, checkpoints: dict[str, Path], world: Path, capsys: pytest.CaptureFixture
) -> None:
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 50_000))
    assert extract(*command(checkpoints["llava_onevision"], world, small_disk / "s.zarr")) == 2
    error = capsys.readouterr().err
    assert re.search(r"has [\d.]+ kB free and [\d.]+ kB are needed", error)
    assert "Loading weights" not in error
    assert [file.name for file in small_disk.iterdir()] == ["ballast"]


def test_a_disk_that_becomes_read_only_loses_nothing(small_disk: Path) -> None:
    """What a kernel does when a disk reports errors."""
    samples, path = [sample(row) for row in range(11)], small_disk / "s.zarr"

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", small_disk], check=True)

    store = create(path, 11)
    try:
        with pytest.raises(InputError) as caught:
            fill(Writer(store), iter(samples), model(), 4, lambda tally: remount("ro") if tally.done == 8 else None)
    finally:
        remount("rw")
    assert f"cannot write {path}/" in str(caught.value)
    assert "Read-only file system; the 4 of 11 samples committed before are safe" in str(caught.value)
    assert committed_units(Store.open(path)) == {range(4)}


def test_a_disk_without_room_even_for_the_layout(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
    with pytest.raises(ValueError, match=r"cannot write .*s\.zarr: No space left"):
        create(small_disk / "s.zarr", 40)
    assert [file.name for file in small_disk.iterdir()] == ["ballast"]


def test_a_read_only_disk(
    read_only_disk: Path, checkpoints: dict[str, Path], world: Path, capsys: pytest.CaptureFixture
) -> None:
    assert extract(*command(checkpoints["llava_onevision"], world, read_only_disk / "runs" / "s.zarr")) == 2
    assert f"cannot write to {read_only_disk}/runs: Read-only file system" in capsys.readouterr().err
