import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from commandline import InputError
from examples.assemble_llava import Assemble, assemble

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny_parts(tmp_path_factory, causal_lm):
    folder = tmp_path_factory.mktemp("vit")
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=48,
        patch_size=16,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ViTForImageClassification(config).half().save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 48, "width": 48}).save_pretrained(folder)
    return folder, causal_lm


@pytest.fixture(scope="module", params=["tiny", "real"])
def assembled(request, tmp_path_factory, tiny_parts, shared):
    """(vision folder, language folder, assembled folder), of parts built here and of the real ones where present."""
    if request.param == "real" and shared is None:
        pytest.skip("no real encoder and language model here")
    data = shared / "data" if request.param == "real" else None
    vision, language = (data / "vit_tiny_patch16_224_in1k", data / "stories260k_llama") if data else tiny_parts
    out = tmp_path_factory.mktemp("llava") / request.param
    assemble(Assemble(vision=vision, language=language, out=out))
    return vision, language, out


@pytest.fixture
def photograph(shared):
    if shared is not None:
        return Image.open(min((shared / "data/cub100_227px/images").iterdir())).convert("RGB")
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (227, 227, 3), dtype=np.uint8))


def test_encoder_sees_a_photograph_as_the_original_does(assembled, photograph):
    vision, _, out = assembled
    original = AutoModel.from_pretrained(vision, dtype=torch.float32).eval()
    pixels = AutoImageProcessor.from_pretrained(vision, backend="pil")(photograph, return_tensors="pt")["pixel_values"]
    tower = AutoModelForImageTextToText.from_pretrained(out).eval().model.vision_tower
    ours = AutoProcessor.from_pretrained(out).image_processor(photograph, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        assert torch.equal(tower(ours).last_hidden_state, original(pixels).last_hidden_state)


def test_language_model_reads_text_as_the_original_does(assembled):
    _, language, out = assembled
    text = "Once upon a time, there was a little bird named Lily."
    original = AutoModelForCausalLM.from_pretrained(language, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(language)(text, return_tensors="pt").input_ids
    model = AutoModelForImageTextToText.from_pretrained(out).eval()
    ours = AutoProcessor.from_pretrained(out).tokenizer(text, return_tensors="pt").input_ids
    assert torch.equal(ours, ids)
    with torch.no_grad():
        logits, expected = model(ours).logits, original(ids).logits
    assert logits.shape[-1] == expected.shape[-1] + 1
    torch.testing.assert_close(logits[..., :-1], expected, rtol=1e-5, atol=1e-5)


def test_every_token_of_the_last_block_reaches_the_language_model(assembled, photograph):
    vision, _, out = assembled
    model, processor = AutoModelForImageTextToText.from_pretrained(out).eval(), AutoProcessor.from_pretrained(out)
    content = [{"type": "image"}, {"type": "text", "text": " This is a bird"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=photograph, text=prompt, return_tensors="pt")
    original = AutoModel.from_pretrained(vision, dtype=torch.float32).eval()
    with torch.no_grad():
        last = original(inputs["pixel_values"], output_hidden_states=True).hidden_states[-1]
        rows = model(**inputs, output_hidden_states=True).hidden_states[0]
        expected = model.model.multi_modal_projector(last)
    at = inputs["input_ids"] == model.config.image_token_id
    side = model.config.vision_config.image_size // model.config.vision_config.patch_size
    assert at.sum() == side**2 + 1
    torch.testing.assert_close(rows[at], expected[0], rtol=1e-5, atol=1e-6)
    words = model.get_input_embeddings().weight
    assert 0.2 < expected.square().mean().sqrt() / words.square().mean().sqrt() < 5
    assert model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[1] > inputs["input_ids"].shape[1]


def test_the_seed_changes_what_is_untrained_and_nothing_else(tiny_parts, tmp_path):
    vision, language = tiny_parts
    before = torch.random.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assemble(Assemble(vision=vision, language=language, out=tmp_path / name, seed=seed))
    assert torch.equal(torch.random.get_rng_state(), before)
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    changed = {key for key in a if not torch.equal(a[key], c[key])}
    expected = ("multi_modal_projector.linear_1.weight", "linear_2.weight", "pooler", "embed_tokens", "lm_head")
    assert all(any(part in key for part in expected) for key in changed)
    assert len(changed) == len(expected)


def test_command_refuses_what_is_not_a_part(tiny_parts, tmp_path):
    vision, language = tiny_parts
    cases = [
        (tmp_path / "none", language, tmp_path / "out", r"--vision .*none: no config.json there"),
        (vision, tmp_path / "none", tmp_path / "out", r"--language .*none: no config.json there"),
        (vision, language, vision, "is the vision folder itself"),
        (vision, vision, tmp_path / "out", "cannot be read as a causal language model"),
        (language, language, tmp_path / "out", "cannot be read as a vision encoder"),
    ]
    for vision_folder, language_folder, out, message in cases:
        with pytest.raises(InputError, match=message):
            assemble(Assemble(vision=vision_folder, language=language_folder, out=out))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_script_runs_as_documented(tiny_parts, tmp_path):
    vision, language = tiny_parts
    script = [sys.executable, "examples/assemble_llava.py"]
    flags = ["--vision", str(vision), "--language", str(language), "--out", str(tmp_path / "out")]
    done = subprocess.run(script + flags, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10 visual tokens per image" in done.stdout
    assert (tmp_path / "out" / "processor_config.json").is_file()
    refused = subprocess.run(
        [*script, *flags[2:], "--vision", "nowhere"], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: --vision nowhere: no config.json there")


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}
