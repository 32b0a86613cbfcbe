"""`python -m hooks MODEL` as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from commandline import main
from hooks import find_sites, load
from hooks.__main__ import COMMANDS, PROMPT, SIZES
from hooks.encoding import encode


def _run(*args: str) -> int:
    return main("python -m hooks", COMMANDS, "sites", args)


def _placeholders(folder: Path, size: tuple[int, int]) -> int:
    """Image tokens in the prompt, which is what a user would count."""
    loaded = load(folder, "cpu")
    image = Image.fromarray(np.zeros((size[1], size[0], 3), dtype=np.uint8))
    return int((encode(loaded.processor, image, PROMPT)["input_ids"] == loaded.model.config.image_token_id).sum())


@pytest.mark.slow
def test_runs_as_a_command(checkpoints: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "hooks", str(checkpoints["llava_onevision"]), "--device=cpu"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    assert result.stdout.startswith("LlavaOnevisionForConditionalGeneration, ")


def test_table_has_every_site_and_its_tokens(checkpoints: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoints["llava_onevision"]
    assert _run(str(folder), "--device=cpu") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["site", "module", "layer", "width", "tokens", "448×336", "tokens", "672×224", "read"]
    table = {line.split()[0]: line.split() for line in lines[4:15]}
    counts = [str(_placeholders(folder, size)) for size in SIZES]
    assert len(set(counts)) == 2
    for layer in range(4):
        module = f"model.language_model.layers.{layer}"
        assert table[f"llm.{layer}"] == [f"llm.{layer}", module, str(layer), "64", *counts, "input"]
    assert table["llm.4"] == ["llm.4", "model.language_model.layers.3", "4", "64", *counts, "output"]
    assert table["projector"][-2:] == ["input", "inputs_embeds"]
    rest = "\n".join(lines[15:])
    assert "in place of placeholder tokens: <image> (id " in rest
    assert "its rows come from model.multi_modal_projector" in rest
    assert "unembedding   lm_head" in rest


def test_one_column_where_all_images_have_as_many_tokens(
    checkpoints: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(str(checkpoints["qwen3_vl"]), "--device=cpu") == 0
    out = capsys.readouterr().out
    count = str(_placeholders(checkpoints["qwen3_vl"], SIZES[0]))
    assert "tokens per image" in out
    assert next(line.split() for line in out.splitlines() if line.startswith("llm.2"))[4] == count
    assert "added at llm.1  rows of model.visual.deepstack_merger_list.0" in out


def test_json_is_the_site_map(checkpoints: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(str(checkpoints["internvl"]), "--device=cpu", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    loaded = load(checkpoints["internvl"], "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    sites = find_sites(loaded.model, encode(loaded.processor, Image.fromarray(pixels), PROMPT))
    assert list(found["sites"]) == list(sites)
    for name, site in sites.items():
        entry = found["sites"][name]
        assert (entry["module"], entry["width"], entry["reads"]) == (site.module, site.width, site.reads)
        assert set(entry["tokens"]) == {"448×336", "672×224"}
    assert found["head"] == sites.head == "lm_head"
    assert found["model"]["class"] == "InternVLForConditionalGeneration"


def test_a_language_model_without_vision(causal_lm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(str(causal_lm), "--device=cpu") == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[4:10]] == [
        *(f"text.{layer}" for layer in range(5)),
        "text.final",
    ]
    assert "image" not in out


def test_certify_tells_good_models_from_blind_ones(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("certify", str(checkpoints["internvl"]), "--device=cpu") == 0
    assert "every site is certified" in capsys.readouterr().out
    folder = shutil.copytree(checkpoints["internvl"], tmp_path / "blind")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    with torch.no_grad():
        for weight in model.model.multi_modal_projector.parameters():
            weight.zero_()
    model.save_pretrained(folder)
    assert _run("certify", str(folder), "--device=cpu", "--json") == 1
    failed = {check["name"] for check in json.loads(capsys.readouterr().out)["checks"] if check["status"] == "fail"}
    assert "sees its pixels" in failed


def test_missing_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("./no/such/model") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ./no/such/model: no such directory")
