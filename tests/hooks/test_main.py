"""`python -m hooks MODEL` as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def _run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hooks", *args], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_prints_every_site_with_its_tokens(checkpoints: dict[str, Path]) -> None:
    result = _run(str(checkpoints["llava_onevision"]), "--device=cpu")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["site", "width", "tokens"]
    assert [line.split()[0] for line in lines[1:]][:4] == ["encoder.1", "encoder.2", "encoder.3", "encoder.final"]
    assert "come from model.multi_modal_projector" in result.stdout


def test_missing_model_is_one_line() -> None:
    result = _run("./no/such/model")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: ./no/such/model: no such directory")
