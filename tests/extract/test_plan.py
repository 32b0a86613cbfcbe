"""`plan` foretells what the extraction then does, and needs no weights for it."""

import re
import shutil
from pathlib import Path

import pytest

from commandline import main
from extract import Store
from extract.__main__ import COMMANDS
from extract.config import ExtractConfig
from extract.plan import bytes_per_sample, expected_sites


def extract(*argv: object) -> int:
    return main("python -m extract", COMMANDS, "images", [str(arg) for arg in argv])


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "llava_onevision", "internvl"])
def test_sites_and_bytes_are_those_of_the_extraction(
    checkpoints: dict[str, Path], world: Path, tmp_path: Path, name: str
) -> None:
    argv = ["--model", checkpoints[name], "--dataset", world, "--limit", 4, "--store", tmp_path / "s.zarr"]
    assert extract(*argv) == 0
    store = Store.open(tmp_path / "s.zarr")
    sites, itemsize = expected_sites(ExtractConfig(model=str(checkpoints[name]), dataset=str(world)))
    assert [(site.name, site.width) for site in sites] == [(site.name, site.width) for site in store.sites.values()]
    chunks = sum(file.stat().st_size for file in store.path.glob("*/c.*") if "_layer" not in str(file))
    assert bytes_per_sample(sites, itemsize) * 4 == chunks


def test_it_prints_everything_without_weights(
    checkpoints: dict[str, Path], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = shutil.copytree(checkpoints["qwen2_5_vl"], tmp_path / "model")
    for file in model.glob("*.safetensors"):
        file.unlink()
    argv = ["plan", "--model", model, "--dataset", world, "--sites", "llm.*", "--store_dtype", "bfloat16"]
    assert extract(*argv, "--store", tmp_path / "s.zarr") == 0
    out = capsys.readouterr().out
    assert "samples      216 (144 train, 36 validation, 36 test)" in out
    assert "sites        6 (6 llm)" in out
    assert "768 B a sample, flushed every 64 samples" in out  # 6 sites x 64 features x 2 bytes
    assert re.search(r"64 patches and \d+ LLM tokens an image", out)
    assert re.search(r"time +about \d", out)
    assert "an estimate" in out
    assert not (tmp_path / "s.zarr").exists()
    assert not list(tmp_path.glob("*.lock"))


def test_mistakes_are_told(checkpoints: dict[str, Path], world: Path, capsys) -> None:
    assert extract("plan", "--model", "/no/such", "--dataset", world) == 2
    assert extract("plan", "--model", checkpoints["internvl"], "--dataset", "/no/such.jsonl") == 2
    assert extract("plan", "--model", checkpoints["internvl"], "--dataset", world, "--sites", "llm.77") == 2
    assert capsys.readouterr().err.count("error:") == 3
