"""From the disk to the server, by wandb's own `wandb sync`, for a limited time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

CONNECT = 5.0
"""Seconds in which a server must answer at all. wandb itself tries for many minutes."""


def upload(folder: Path, server: str, patience: float) -> str:
    """Upload a run in at most `patience` seconds; what came of it, in words. Nothing on disk is lost either way."""
    later = f"kept in {folder}; `wandb sync {folder}` uploads it"
    if problem := unreachable(server, min(CONNECT, patience)):
        return f"{problem}; {later}"
    process = subprocess.Popen(
        [sys.executable, "-m", "wandb", "sync", str(folder)],
        stdin=subprocess.DEVNULL,  # it would ask for a key
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # with wandb's service, which it starts, it ends as one group
    )
    try:
        said, _ = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        return f"not uploaded within {patience:g} s; {later}"
    finally:
        _end(process)
    if process.returncode:
        return f"not uploaded ({_reason(said)}); {later}"
    found = re.search(r"https?://\S+/runs/[\w-]+", said)
    return found[0] if found else f"uploaded {folder}"


def unreachable(server: str, within: float) -> str | None:
    """Why a server cannot be used, found out within so many seconds; None where it answers."""
    try:
        with urllib.request.urlopen(server, timeout=within):
            return None
    except urllib.error.HTTPError as error:
        return f"the server answers with {error.code}" if error.code >= 500 else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"the server is out of reach ({reason})"


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # it has ended, and everything it started
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _reason(said: str) -> str:
    """The last line that says something of an error, else the last one."""
    lines = [line.removeprefix("wandb:").strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() and "logs at" not in line]
    return (errors or lines or ["it says nothing"])[-1].removeprefix("Error: ")
