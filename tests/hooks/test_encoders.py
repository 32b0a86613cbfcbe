"""Dual encoders and image encoders from checkpoints: loaded, encoded, found, read and extracted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from commandline import InputError
from extract import Store, plan, run
from extract.config import ExtractConfig
from extract.settings import read_images
from hooks import Loaded, capture, edit, find_sites, load, text_sites
from hooks.encoding import encode
from hooks.inputs import collate
from hooks.outline import outline
from hooks.processors import load_processor
from organisms.checkpoint import seed_weights
from taxonomy.pictures import decode
from tests.dual_encoders import EYE, SIDE, SIZE, clip, siglip, tokens_of
from tests.hooks.conftest import PROMPT, picture

pytestmark = pytest.mark.slow


def _siglip2(folder: Path) -> Any:
    """Patches in a list, padded: images of different shapes have different numbers of them."""
    tokens = tokens_of(folder, "Siglip2Processor", 64)
    transformers.Siglip2ImageProcessorPil(patch_size=16, max_num_patches=256).save_pretrained(folder)
    eye = {**SIDE, "patch_size": 16, "num_patches": 256}
    return transformers.Siglip2Model(
        transformers.Siglip2Config(vision_config=eye, text_config={**SIDE, **tokens, "projection_size": 32})
    )


def _vit(folder: Path) -> Any:
    transformers.ViTImageProcessorPil(size=SIZE).save_pretrained(folder)
    return transformers.ViTForImageClassification(transformers.ViTConfig(**EYE, num_labels=5))


def _dinov2(folder: Path) -> Any:
    transformers.BitImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIZE).save_pretrained(folder)
    return transformers.Dinov2Model(transformers.Dinov2Config(**EYE, mlp_ratio=2))


BUILDERS: dict[str, Callable[[Path], Any]] = {
    "clip": clip,
    "siglip": siglip,
    "siglip2": _siglip2,
    "vit": _vit,
    "dinov2": _dinov2,
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in BUILDERS}
    for name, folder in folders.items():
        model = BUILDERS[name](folder)
        seed_weights(model, 0)
        model.eval().save_pretrained(folder)
    return folders


@pytest.fixture(scope="module", params=BUILDERS)
def encoder(request: pytest.FixtureRequest, encoders: dict[str, Path]) -> Loaded:
    return load(encoders[request.param], "cpu")


def test_loads_the_class_it_was_saved_from(encoder: Loaded) -> None:
    (named,) = encoder.model.config.architectures
    reference = getattr(transformers, named).from_pretrained(encoder.source)
    assert type(encoder.model) is type(reference)
    ours, theirs = encoder.model.state_dict(), reference.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert encoder.kind == "vision"
    assert not encoder.model.training


def test_the_same_without_trained_weights(encoder: Loaded) -> None:
    first, again = (load(encoder.source, "cpu", random_init=True, seed=1) for _ in range(2))
    weights = encoder.model.state_dict()
    assert type(first.model) is type(encoder.model)
    assert all(map(torch.equal, first.model.state_dict().values(), again.model.state_dict().values()))
    assert not all(torch.equal(weight, weights[name]) for name, weight in first.model.state_dict().items())


def test_inputs_are_what_the_forward_takes(encoder: Loaded) -> None:
    inputs = encode(encoder.processor, picture(80, 60), PROMPT)
    direct = transformers.AutoImageProcessor.from_pretrained(encoder.source, backend="pil")
    assert torch.equal(inputs["pixel_values"], direct(images=[picture(80, 60)], return_tensors="pt")["pixel_values"])
    assert ("input_ids" in inputs) == hasattr(encoder.model, "text_model")
    with torch.no_grad():
        encoder.model(**inputs)
    with pytest.raises(InputError, match="no chat template for a system turn"):
        encode(encoder.processor, picture(80, 60), PROMPT, "You are a botanist.")


def test_long_prompts_are_cut_for_dual_encoders(encoder: Loaded) -> None:
    inputs = encode(encoder.processor, picture(80, 60), "word " * 100)
    with torch.no_grad():
        encoder.model(**inputs)


def test_sites_are_those_of_the_tower(encoder: Loaded) -> None:
    """Three blocks, whose outputs are transformers' own hidden states; rows belong to their own image."""
    inputs = collate([encode(encoder.processor, picture(80, 60, seed), PROMPT) for seed in range(2)])
    sites = find_sites(encoder.model, inputs)
    assert [name for name in sites if name.startswith("encoder.")][:3] == ["encoder.1", "encoder.2", "encoder.3"]
    assert sites.fusion == "none"
    assert not any(site.stage in ("llm", "text") for site in sites.values())
    tower = getattr(encoder.model, "vision_model", encoder.model)
    pixels = {
        name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask", "token_type_ids")
    }
    with torch.no_grad():
        states = tower(**pixels, output_hidden_states=True).hidden_states
    tokens = capture(encoder.model, inputs, sites, "tokens")
    for layer in (1, 2, 3):
        for sample, state in enumerate(states[layer]):
            # Rows that only fill the list up to its length are nobody's.
            real = pixels["pixel_attention_mask"][sample].bool() if "pixel_attention_mask" in pixels else slice(None)
            assert torch.equal(tokens[f"encoder.{layer}"][sample], state[real]), layer
    alone = capture(encoder.model, {name: value[:1] for name, value in inputs.items()}, sites)
    together = capture(encoder.model, inputs, sites)
    for name in sites:
        assert torch.allclose(alone[name][0], together[name][0], rtol=1e-5, atol=1e-6), name


def test_edits_of_an_encoder(encoder: Loaded) -> None:
    inputs = collate([encode(encoder.processor, picture(80, 60, seed), PROMPT) for seed in range(2)])
    sites = find_sites(encoder.model, inputs)
    with torch.no_grad():
        plain = encoder.model(**inputs)
    got = edit(encoder.model, inputs, {"encoder.2": lambda rows: rows}, sites)
    moved = edit(encoder.model, inputs, {"encoder.2": lambda rows: rows + 1}, sites)
    key = next(name for name in ("logits", "image_embeds", "pooler_output") if name in plain)
    assert torch.equal(got.output[key], plain[key])
    assert not torch.equal(moved.output[key], plain[key])
    if key != "logits":
        with pytest.raises(InputError, match=rf"returns no logits; \.output holds .*{key}"):
            _ = got.logits


def test_outline_foretells_the_sites(encoder: Loaded) -> None:
    sites = find_sites(encoder.model, encode(encoder.processor, picture(80, 60), PROMPT))
    found = [site.width for site in sites.values() if site.stage == "encoder" and site.layer is not None]
    assert outline(encoder.source).stages == {"encoder": (len(found), found[0])}


def test_no_text_is_read_with_an_encoder(encoder: Loaded) -> None:
    with pytest.raises(InputError, match="has no language model to read text with"):
        text_sites(encoder)


def test_extraction(encoder: Loaded, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """End to end: what `make extract` leaves is what `capture` reads of each image alone."""
    config = ExtractConfig(
        model=encoder.source, dataset=str(world), limit=6, batch_size=4, store=str(tmp_path / "s.zarr"), device="cpu"
    )
    plan.run(config)
    assert "3 encoder)" in capsys.readouterr().out
    run.run(config)
    store, images = Store.open(tmp_path / "s.zarr"), read_images(config)
    assert list(store.sites)[:3] == ["encoder.1", "encoder.2", "encoder.3"]
    for row in range(6):
        inputs = encode(encoder.processor, decode(images.read(row)), PROMPT)
        alone = capture(encoder.model, inputs, ["encoder.3"])["encoder.3"][0]
        assert torch.allclose(torch.from_numpy(store.matrix("encoder.3")[row]), alone, rtol=1e-4, atol=1e-5)


def test_a_model_whose_processor_is_missing_is_said(tmp_path: Path) -> None:
    transformers.CLIPVisionConfig(**EYE).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="its processor cannot be loaded"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["internvl", "llava_onevision", "qwen2_5_vl"])
def test_vision_language_model_without_a_chat_template(name: str, checkpoints: dict[str, Path]) -> None:
    """The image still gets its tokens: the placeholder before the prompt."""
    processor = load_processor(str(checkpoints[name]))
    whole = encode(processor, picture(100, 60), PROMPT)
    processor.chat_template = None
    model = load(checkpoints[name], "cpu").model
    plain = encode(processor, picture(100, 60), PROMPT)
    image = model.config.image_token_id
    assert (plain["input_ids"] == image).sum() == (whole["input_ids"] == image).sum() > 0
    assert torch.equal(plain["pixel_values"], whole["pixel_values"])
    with torch.no_grad():
        model(**plain)
