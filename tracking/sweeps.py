"""Runs of a sweep beside each other: `wandb agent` says in the environment which run of which sweep a command is."""

from __future__ import annotations

import os
import re
from pathlib import Path


def own_folder(default: Path) -> Path:
    """Where a command writes that was given no --out: `default`, and in a sweep a folder of the run's own beside it.

    Without that the runs of a sweep, several agents' among them, would replace one another's results and the whole
    run's. A run that is started again writes to the same place.
    """
    sweep, run = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    if not (sweep and run):
        return default
    return default.parent / f"sweep-{_plain(sweep)}" / f"{_plain(run)}-{default.name}"


def _plain(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", name)
