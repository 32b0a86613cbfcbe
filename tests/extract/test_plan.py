"""`plan` foretells what the extraction then does, and needs no weights for it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from commandline import main
from extract import Store
from extract.__main__ import COMMANDS
from extract.config import ExtractConfig
from extract.expected import bytes_per_sample, expected_sites
from extract.settings import read_images, store_path


def extract(*argv: object) -> int:
    return main("python -m extract", COMMANDS, "images", [str(arg) for arg in argv])


@pytest.mark.slow
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


def test_what_the_extraction_would_refuse_the_plan_refuses(
    checkpoints: dict[str, Path], causal_lm: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A device that is not there, a model without vision (before its weights are read), a store of other settings."""
    blind = shutil.copytree(causal_lm, tmp_path / "blind", ignore=shutil.ignore_patterns("*.safetensors"))
    path = tmp_path / "s.zarr"
    argv = ["--model", checkpoints["llava_onevision"], "--dataset", world, "--store", path]
    assert extract(*argv, "--limit", 4) == 0
    capsys.readouterr()
    for command in ([], ["plan"]):
        for device, message in (("bogus", "device 'bogus' is not known"), ("cuda:7", "CUDA devices")):
            assert extract(*command, *argv, "--device", device) == 2  # though the store is one of other settings too
            assert message in capsys.readouterr().err
        assert extract(*command, "--model", blind, "--dataset", world, "--store", tmp_path / "b.zarr") == 2
        assert "is a language model without vision" in capsys.readouterr().err
        assert extract(*command, *argv) == 2
        error = capsys.readouterr().err
        assert f"{path} was made with other settings (it holds 4 images, this is 216 (limit)); use those" in error
        assert "give another --store (STORE=), or remove it" in error
        (tmp_path / "photographs").mkdir(exist_ok=True)
        assert extract(*command, *argv, "--store", tmp_path / "photographs") == 2
        assert "photographs exists and is not a store; choose another --store" in capsys.readouterr().err
    assert extract("plan", *argv, "--limit", 4) == 0
    assert "(there already, with 4 of its 4 samples)" in capsys.readouterr().out


def test_a_limit_has_a_store_of_its_own(checkpoints: dict[str, Path], world: Path) -> None:
    def name(limit: int | None) -> str:
        config = ExtractConfig(model=str(checkpoints["internvl"]), dataset=str(world), limit=limit)
        return store_path(config, read_images(config)).name

    whole = name(None)
    assert whole.startswith("internvl-")
    assert name(30) == whole.replace(".zarr", "-30.zarr")
    assert name(9999) == whole  # no limit at all


def test_what_a_reader_must_know_of_the_data_is_said(
    checkpoints: dict[str, Path], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Both commands: the publisher's split was not used and why, images left out, names with two parents."""
    rows = [json.loads(line) for line in world.read_text().splitlines()][:20]
    for number, row in enumerate(rows):
        row |= {"image": str(world.parent / row["image"]), "split": "test", "label": f"leaf {number % 2}"}
    rows[0]["label"] = "stranger"
    manifest, tree = tmp_path / "photos.jsonl", tmp_path / "tree.json"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    tree.write_text(json.dumps({f"leaf {i}": [f"top {i}", "middle", f"leaf {i}"] for i in range(2)}))
    argv = ["--model", checkpoints["llava_onevision"], "--dataset", manifest, "--taxonomy", tree]
    argv += ["--root", world.parent, "--unmatched", "drop", "--store", tmp_path / "s.zarr"]
    for command in (["plan"], []):
        assert extract(*command, *argv) == 0
        out = capsys.readouterr().out
        assert re.search(r"split: stratified by leaf, .*, seed 0 \(the publisher gives only test\)", out)
        assert "left out: 1 image of 1 label without a leaf in the taxonomy: 'stranger'" in out
        assert "1 name stands under several parents (kept apart): 'middle'; are the levels" in out
