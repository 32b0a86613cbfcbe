"""The commit protocol: after a crash at any write, and after any damage to a file, going on gives the same store."""

import fcntl
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from commandline import InputError
from extract import Store, chunks
from extract.chunks import write_file
from extract.lock import lock
from extract.writer import Writer, committed_units, damaged_chunks
from tests.extract.test_store import SITES, create, fill, values

FORK = multiprocessing.get_context("fork")
BAD = {2: "truncated JPEG", 9: "NaN or infinity at llm.1"}


def contents(path: Path) -> dict[str, list]:
    """Every array of a store, bfloat16 as bits (NaN equals NaN)."""
    group = zarr.open_group(path, mode="r")
    return {name: np.asarray(array[:]).tolist() for name, array in arrays(group)}


def arrays(group: zarr.Group, above: str = ""):
    for name, member in group.members():
        if isinstance(member, zarr.Array):
            yield above + name, member
        else:
            yield from arrays(member, f"{above}{name}/")


def go_on(path: Path) -> None:
    """What the command does: create the store unless it is there, then write what is pending."""
    with lock(path):
        store = Store.open(path, mode="r+") if path.exists() else create(path, sites=SITES[1:5])
        fill(store, values(store), BAD)


def crash_at_write(path: Path, number: int, before: bool) -> None:
    """Run `go_on` in a child that dies, without any clean-up, just before or after its n-th write of a file.

    Raises StopIteration when it had fewer to make.
    """

    def child() -> None:
        count = 0

        def fatal() -> bool:
            nonlocal count
            count += 1
            return count == number

        def dying(file: str, data: memoryview) -> None:
            mine = fatal()
            if mine and before:
                os._exit(9)
            write_file(file, data)
            if mine:
                os._exit(9)

        async def dying_zarr(self, *args, **kwargs) -> None:
            mine = fatal()  # several are under way at once
            if mine and before:
                os._exit(9)
            await zarr_set(self, *args, **kwargs)
            if mine:
                os._exit(9)

        zarr_set, LocalStore.set = LocalStore.set, dying_zarr  # type: ignore[method-assign]
        chunks.write_file = dying
        go_on(path)
        os._exit(0)

    process = FORK.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode in (0, 9)
    if process.exitcode == 0:
        raise StopIteration


@pytest.mark.parametrize("before", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_crash_at_any_single_write_is_made_good(tmp_path: Path, before: bool) -> None:
    go_on(tmp_path / "whole.zarr")
    expected = contents(tmp_path / "whole.zarr")
    number = 0
    while True:
        number += 1
        path = tmp_path / f"{number}.zarr"
        try:
            crash_at_write(path, number, before)
        except StopIteration:
            break
        go_on(path)
        assert contents(path) == expected, f"write {number}"
    assert number > 3 * 6  # three units of four sites, hashes and statuses, and the layout before them
    assert not list(tmp_path.glob("*.lock")) and not list(tmp_path.glob("*.new"))


@pytest.mark.slow
def test_many_crashes_in_one_extraction(tmp_path: Path) -> None:
    go_on(tmp_path / "whole.zarr")
    path = tmp_path / "s.zarr"
    crashes = 0
    for number in np.random.default_rng(0).integers(3, 18, 50):
        try:
            crash_at_write(path, int(number), before=bool(number % 2))
        except StopIteration:
            continue
        crashes += 1
    assert crashes >= 3
    go_on(path)
    assert contents(path) == contents(tmp_path / "whole.zarr")


def test_statuses_are_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = create(tmp_path / "s.zarr")
    order: list[str] = []

    def noting(file: str, data: memoryview) -> None:
        write_file(file, data)
        order.append(str(Path(file).relative_to(store.path)))

    monkeypatch.setattr(chunks, "write_file", noting)
    fill(store, values(store))
    for unit in range(3):
        marker = order.index(f"sample/status/c.{unit}")
        assert order.index(f"sample/sha256/c.{unit}") < marker
        data = [place for place, key in enumerate(order) if "/c." in key and key.endswith(f".{unit}.0")]
        assert len(data) == len(SITES)
        assert max(data) < marker


def test_a_short_or_missing_chunk_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    go_on(path)
    expected = contents(path)
    chunk = path / "llm" / "c.1.1.0"
    chunk.write_bytes(chunk.read_bytes()[:-2])
    (path / "projector" / "c.2.0").unlink()
    store = Store.open(path)
    assert damaged_chunks(store, range(4, 8)) == ["llm.1: llm/c.1.1.0 has 62 bytes instead of 64"]
    assert damaged_chunks(store, range(8, 10)) == ["projector: projector/c.2.0 is missing"]
    assert committed_units(store) == {range(4)}
    go_on(path)
    assert contents(path) == expected


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder that went away: of any error but a full disk, which file it was and what is safe."""
    store = create(tmp_path / "s.zarr")
    data, writer = values(store), Writer(store)
    for number, unit in enumerate(writer.pending[:2]):
        writer.put(unit, unit, {name: rows[unit.start : unit.stop] for name, rows in data.items()})
        if number == 0:
            writer.commit(unit, ["hash"] * 4, ["ok"] * 4)
            shutil.rmtree(store.path / "sample" / "sha256")
    with pytest.raises(InputError, match=r"cannot write .*/sha256/c\.1.*: No such file or directory; the 4 of 10"):
        writer.commit(range(4, 8), ["hash"] * 4, ["ok"] * 4)


@pytest.mark.parametrize("column", ["sha256", "status"])
@pytest.mark.parametrize("kept", [0, 5, 11])
def test_a_damaged_marker_is_written_again(tmp_path: Path, column: str, kept: int) -> None:
    """What a power cut can leave of a small file: nothing, or part of it."""
    path = tmp_path / "s.zarr"
    go_on(path)
    expected = contents(path)
    chunk = path / "sample" / column / "c.1"
    chunk.write_bytes(chunk.read_bytes()[:kept])
    with pytest.raises(InputError, match=f"sample/{column} is damaged"):
        _ = Store.open(path).samples
    assert committed_units(Store.open(path)) == {range(4), range(8, 10)}
    chunk.write_bytes(b"junk" * 10)  # read as a length, two thousand million strings
    assert committed_units(Store.open(path)) == {range(4), range(8, 10)}
    go_on(path)
    assert contents(path) == expected


def test_partial_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    store = create(tmp_path / "s.zarr")
    leftover = store.path / "llm" / "0.abc.partial"
    leftover.write_bytes(b"half")
    Writer(store)
    assert not leftover.exists()


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    ready, release = FORK.Event(), FORK.Event()

    def hold() -> None:
        with lock(path):
            ready.set()
            release.wait(30)

    holder = FORK.Process(target=hold)
    holder.start()
    assert ready.wait(30)
    with pytest.raises(InputError, match=rf"another process \(pid {holder.pid}\) is writing .*s\.zarr"), lock(path):
        pass
    release.set()
    holder.join()
    with lock(path):
        pass
    assert not Path(f"{path}.lock").exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    ready = FORK.Event()

    def hold() -> None:
        with lock(path):
            ready.set()
            FORK.Event().wait(60)

    holder = FORK.Process(target=hold)
    holder.start()
    assert ready.wait(30)
    holder.kill()
    holder.join()
    assert Path(f"{path}.lock").exists()
    with lock(path):
        assert Path(f"{path}.lock").read_text().strip() == str(os.getpid())


def test_a_lock_file_removed_at_the_last_moment_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder before us leaves between our open and our flock: what we hold then is a file without a name."""
    path, calls = tmp_path / "s.zarr", []
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if not calls:
            Path(f"{path}.lock").unlink()
        calls.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with lock(path), pytest.raises(InputError, match="another process"), lock(path):
        pass
    assert len(calls) == 3


def test_only_one_of_many_gets_the_lock(tmp_path: Path) -> None:
    """Twelve processes take and drop it again and again; no two ever hold it together."""
    path, marker = tmp_path / "s.zarr", tmp_path / "held"
    together, entered = FORK.Value("i", 0), FORK.Value("i", 0)

    def contend() -> None:
        for _ in range(40):
            try:
                with lock(path):
                    try:
                        marker.mkdir()
                    except FileExistsError:
                        together.value += 1
                    entered.value += 1
                    marker.rmdir()
            except InputError:
                pass

    processes = [FORK.Process(target=contend) for _ in range(12)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert entered.value > 12
    assert together.value == 0
