"""OpenCLIP checkpoints in a directory, where open_clip (and the torchvision it needs) is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from commandline import InputError
from extract import Store, run
from extract.config import ExtractConfig
from hooks import capture, edit, find_sites, load
from hooks.encoding import encode
from hooks.inputs import collate
from hooks.openclip import is_open_clip
from tests.hooks.conftest import PROMPT, picture

SETTINGS = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Settings alone: enough to be told for what it is."""
    (tmp_path / "open_clip_config.json").write_text(json.dumps(SETTINGS))
    return tmp_path


@pytest.fixture
def checkpoint(folder: Path) -> Path:
    try:
        import open_clip  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"open_clip cannot be imported: {error}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = open_clip.CLIP(**SETTINGS["model_cfg"])
    save_file(
        {name: weight.clone() for name, weight in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def test_which_sources_are_open_clips(folder: Path, checkpoints: dict[str, Path]) -> None:
    assert is_open_clip("hf-hub:imageomics/bioclip")
    assert is_open_clip(str(folder))
    assert not is_open_clip(str(checkpoints["internvl"]))
    assert not is_open_clip("imageomics/bioclip")
    (folder / "config.json").write_text("{}")  # saved for transformers as well
    assert not is_open_clip(str(folder))


def test_what_cannot_be_set_is_said(folder: Path) -> None:
    with pytest.raises(InputError, match="takes no revision and no pixel budget"):
        load(folder, "cpu", max_pixels=1000)


def test_absent_library_is_said(folder: Path) -> None:
    try:
        import open_clip  # noqa: F401  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError):
        with pytest.raises(InputError, match=r"open_clip cannot be imported .*pip install 'taxoprobe\[clip\]'"):
            load(folder, "cpu")
    else:
        pytest.skip("open_clip is installed")


def test_sites_are_open_clips_own_intermediates(checkpoint: Path) -> None:
    loaded = load(checkpoint, "cpu")
    inputs = collate([encode(loaded.processor, picture(80, 60, seed), PROMPT) for seed in range(2)])
    tokens = capture(loaded.model, inputs, pool="tokens")
    with torch.no_grad():
        found = loaded.model.visual.forward_intermediates(  # pyright: ignore
            inputs["image"], output_fmt="NLC", output_extra_tokens=True
        )
        output = loaded.model(**inputs)
    for layer in (1, 2, 3):
        parts = (found["image_intermediates_prefix"][layer - 1], found["image_intermediates"][layer - 1])
        assert torch.equal(torch.stack(tokens[f"encoder.{layer}"]), torch.cat(parts, 1))
    sites = find_sites(loaded.model, inputs)
    assert torch.equal(edit(loaded.model, inputs, {"encoder.2": lambda rows: rows}, sites).output[0], output[0])
    assert not torch.equal(edit(loaded.model, inputs, {"encoder.2": lambda rows: -rows}, sites).output[0], output[0])


def test_missing_weights_are_no_reason_to_draw_some(checkpoint: Path) -> None:
    trained, drawn = load(checkpoint, "cpu").model, load(checkpoint, "cpu", random_init=True).model
    assert not torch.equal(trained.visual.proj, drawn.visual.proj)  # pyright: ignore
    (checkpoint / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match="open_clip cannot load it"):
        load(checkpoint, "cpu")
    load(checkpoint, "cpu", random_init=True)


def test_extraction(checkpoint: Path, world: Path, tmp_path: Path) -> None:
    run.run(
        ExtractConfig(model=str(checkpoint), dataset=str(world), limit=6, store=str(tmp_path / "s.zarr"), device="cpu")
    )
    store = Store.open(tmp_path / "s.zarr")
    assert list(store.sites)[:3] == ["encoder.1", "encoder.2", "encoder.3"]
    assert torch.from_numpy(store.matrix("encoder.2")).std(0).min() > 0
