"""How much memory may be taken: what is free, and what a control group of either kind leaves."""

from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probing import memory
from probing.memory import _group_rooms, free_budget, machine_memory

CPU = torch.device("cpu")


@given(st.integers(1, 1 << 50))
def test_a_half_rounded_down(free: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "machine_memory", lambda: free)
        budget = free_budget(CPU)
    half = max(free // 2, 2)
    assert 2 * half / 3 - 1 <= budget <= half
    assert bin(budget).rstrip("0") in ("0b1", "0b11")


def test_no_more_than_the_machine_has() -> None:
    assert 0 < machine_memory() <= psutil.virtual_memory().total
    assert 0 < free_budget(CPU) <= psutil.virtual_memory().total / 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_no_more_than_half_of_a_gpu() -> None:
    cuda = torch.device("cuda")
    before = free_budget(cuda)
    assert 0 < before <= torch.cuda.mem_get_info(cuda)[1] / 2
    held = torch.empty(torch.cuda.mem_get_info(cuda)[0] * 3 // 4, dtype=torch.uint8, device=cuda)
    assert free_budget(cuda) <= torch.cuda.mem_get_info(cuda)[1] / 8
    del held  # torch keeps it for the next that asks
    assert free_budget(cuda) == before


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_control_groups_of_version_2_up_to_the_root(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/slurm/job_7/task\n")
    group(tmp_path / "slurm/job_7/task", memory__max="max", memory__current=5, memory__stat="inactive_file 1")
    group(tmp_path / "slurm/job_7", memory__max=1000, memory__current=400, memory__stat="anon 4\ninactive_file 150")
    group(tmp_path / "slurm", memory__max=2000, memory__current=1900, memory__stat="inactive_file 0")
    assert _group_rooms(tmp_path, own) == [1000 - 400 + 150, 100]


def test_control_groups_of_version_1_whose_path_is_the_host_s(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("9:cpu,cpuacct:/docker/abc\n4:hugetlb,memory:/docker/abc\n0::/\n")
    files = {"memory__limit_in_bytes": 900, "memory__usage_in_bytes": 300}
    group(tmp_path / "memory", **files, memory__stat="inactive_file 1\ntotal_inactive_file 100")
    assert _group_rooms(tmp_path, own) == [700]


def test_a_group_bounds_the_machine_and_a_full_one_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_group_rooms", lambda: [6 << 20])
    assert (machine_memory(), free_budget(CPU)) == (6 << 20, 3 << 20)
    monkeypatch.setattr(memory, "_group_rooms", lambda: [6 << 20, -5])
    assert machine_memory() == 0
    assert free_budget(CPU) > 0


def test_no_groups_where_there_is_no_such_file(tmp_path: Path) -> None:
    assert _group_rooms(tmp_path, tmp_path / "missing") == []
