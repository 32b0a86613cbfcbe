"""The command itself, with tiny models: images, text alone, the study's files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.results import AskRun
from organisms.architectures import build_causal_lm
from tests.evaluation.planted import LEVELS, write_bank

ROOT = Path(__file__).parents[2]


def evaluation(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "evaluation", *words], cwd=ROOT, capture_output=True, text=True)


def bank_words(folder: Path) -> list[str]:
    return [
        f"--questions={folder / 'birds.jsonl'}",
        f"--taxonomy={folder / 'tree.json'}",
        f"--levels={','.join(LEVELS)}",
        "--device=cpu",
        "--bootstrap=100",
    ]


def test_help_names_the_commands() -> None:
    found = evaluation("--help")
    assert found.returncode == 0
    for name in ("zero_shot", "reparse", "compare"):
        assert f"python -m evaluation {name}" in " ".join(found.stdout.split())


@pytest.mark.slow
def test_a_vision_language_model_on_images(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    write_bank(tmp_path, per_leaf=1)
    (tmp_path / "photos" / "03_0.jpg").write_bytes(b"no image")
    words = [f"--model={checkpoints['qwen2_5_vl']}", *bank_words(tmp_path), f"--images={tmp_path}"]
    first = evaluation(*words, "--rotations=4", f"--out={tmp_path / 'run'}")
    assert first.returncode == 0, first.stderr
    assert "prior divided out" in first.stdout
    assert "about 1 image gave none" in first.stdout
    found = AskRun.open(tmp_path / "run")
    rows = found.answers().to_pylist()
    assert len(rows) == 12 * (2 + 4 + 4)
    assert sum(row["status"] == "error" for row in rows) == 10
    assert all(len(row["letter_logits"]) == len(row["options"]) for row in rows if row["status"] == "ok")
    again = evaluation(*words, "--rotations=4", f"--out={tmp_path / 'run'}")
    assert "every question has its answer already" in again.stderr
    assert again.stdout == first.stdout
    named = evaluation(*words, "--text_only", f"--out={tmp_path / 'text'}")
    assert "text HCA (per leaf)" in named.stdout
    compared = evaluation("compare", str(tmp_path / "run"), str(tmp_path / "text"), "--bootstrap=100")
    assert compared.returncode == 0, compared.stderr
    assert "12 images in both" in compared.stdout
    refused = evaluation(*words, f"--out={tmp_path / 'run'}")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "rotations = 4, and this is 1" in refused.stderr


@pytest.mark.slow
def test_a_model_is_known_by_its_content(causal_lm: Path, tmp_path: Path) -> None:
    """It may lie elsewhere when a run goes on; another one of its name is refused, even with nothing left to ask."""
    write_bank(tmp_path, per_leaf=1)
    (tmp_path / "elsewhere").mkdir()
    homes = [tmp_path / "tiny", tmp_path / "elsewhere" / "tiny"]
    shutil.copytree(causal_lm, homes[0])
    words = [*bank_words(tmp_path), "--text_only", "--flush=8", f"--out={tmp_path / 'run'}"]
    assert evaluation(f"--model={homes[0]}", *words).returncode == 0
    whole = AskRun.open(tmp_path / "run").answers().to_pylist()
    homes[0].rename(homes[1])
    AskRun.open(tmp_path / "run").parts()[1].unlink()
    again = evaluation(f"--model={homes[1]}", *words)
    assert again.returncode == 0, again.stderr
    assert AskRun.open(tmp_path / "run").answers().to_pylist() == whole
    build_causal_lm(homes[0], seed=1)
    refused = evaluation(f"--model={homes[0]}", *words)
    assert refused.returncode == 2
    assert "was asked with identity.weights = " in refused.stderr
    assert AskRun.open(tmp_path / "run").answers().to_pylist() == whole


def published_words(shared: Path | None, kind: str, out: Path) -> list[str]:
    if shared is None:
        pytest.skip("no real data here")
    data = shared / "data"
    return [
        f"--questions={data / 'questions' / f'CUB200_with_{kind}_choice.jsonl.gz'}",
        f"--taxonomy={data / 'taxonomies' / 'hierarchy_CUB200.json'}",
        "--levels=order,family,genus,species",
        "--device=cpu",
        "--limit=30",
        "--bootstrap=100",
        f"--out={out}",
    ]


@pytest.mark.slow
def test_a_vision_language_model_on_the_studys_questions(
    checkpoints: dict[str, Path], shared: Path | None, tmp_path: Path
) -> None:
    """The photographs are not needed to ask with a grey image."""
    words = published_words(shared, "random", tmp_path / "run")
    found = evaluation(f"--model={checkpoints['qwen2_5_vl']}", *words, "--shown=blank")
    assert found.returncode == 0, found.stderr
    assert "cub-0: 30 images" in found.stdout
    rows = AskRun.open(tmp_path / "run").answers().to_pylist()
    assert len(rows) == 120
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["level"] for row in rows} == {"order", "family", "genus", "species"}
    assert np.isfinite([row["letter_logits"] for row in rows]).all()


@pytest.mark.slow
def test_a_language_model_on_the_studys_questions(causal_lm: Path, shared: Path | None, tmp_path: Path) -> None:
    words = [f"--model={causal_lm}", *published_words(shared, "similar", tmp_path / "run")]
    refused = evaluation(*words)
    assert refused.returncode == 2
    assert "is a language model without vision: add --text_only" in refused.stderr
    found = evaluation(*words, "--text_only")
    assert found.returncode == 0, found.stderr
    summary = json.loads((tmp_path / "run" / "strict_v1" / "summary.json").read_text())
    assert (summary["answers"], summary["asks"], summary["dataset"]) == (90, 90, "CUB200_with_similar_choice")
    rows = pq.read_table(tmp_path / "run" / "answers").to_pylist()
    assert {row["level"] for row in rows} == {"order", "family", "genus"}
    assert np.isfinite([row["letter_logits"] for row in rows]).all()
    reparsed = evaluation("reparse", str(tmp_path / "run"), "--parser=released")
    assert "read by released" in reparsed.stdout
