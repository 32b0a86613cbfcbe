"""How much memory a solve may take where nobody says so: a half of what is free."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

CGROUPS = Path("/sys/fs/cgroup")


def free_budget(device: torch.device) -> int:
    """Bytes: a half of what the machine has free, and on a GPU of what that has, rounded down to 1 or 1.5 times 2^k.

    Features lie in the machine's memory before they are on a GPU, so the smaller of the two counts. What is free goes
    up and down; rounded, one run after another mostly solves the same batches, with the same numbers to the last bit.
    """
    free = machine_memory()
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = min(free, torch.cuda.mem_get_info(device)[0] + unused)
    half = max(free // 2, 2)
    step = 1 << half.bit_length() - 2
    return half // step * step


def machine_memory() -> int:
    """Bytes that this process can still take: what the machine has free, or its control group, whichever is less."""
    return max(0, min([psutil.virtual_memory().available, *_group_rooms()]))


def _group_rooms(groups: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Bytes that are left in each control group that this process is in and that has a limit (Linux; else none).

    Both versions' files: containers and batch systems limit memory with either. File pages that nobody has touched for
    a while are given up before anyone is refused, so they count as free.
    """
    rooms = []
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, files = groups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = groups / "memory"
            files = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        folder = root / path.lstrip("/")
        # In a container the path may be the host's, which is not there; its own group is then mounted as the root.
        for place in (folder, *folder.parents):
            if (room := _room(place, *files)) is not None:
                rooms.append(room)
            if place == root:
                break
    return rooms


def _room(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    """Bytes; None where there is no limit, or no such group."""
    try:
        most, taken = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        held = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if most == "max" else int(most) - taken + int(held.get(cache, 0))
