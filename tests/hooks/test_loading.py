"""Loading: real checkpoints through the Auto classes, with and without a video half, and what cannot be loaded."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from commandline import InputError
from hooks import load
from hooks.encoding import encode
from hooks.processors import load_processor
from organisms.architectures import ARCHITECTURES
from tests.hooks.conftest import PROMPT, picture


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_loads_what_transformers_loads(name: str, checkpoints: dict[str, Path]) -> None:
    loaded = load(checkpoints[name], "cpu")
    reference = AutoModelForImageTextToText.from_pretrained(checkpoints[name], dtype=torch.float32)
    assert type(loaded.model) is type(reference)
    ours, theirs = loaded.model.state_dict(), reference.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    assert type(loaded.processor.image_processor).__name__.endswith("Pil")
    assert loaded.image_backend == "pil"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_older_layout_without_processor_config(name: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Checkpoints on the hub often have preprocessor_config.json only; the samples must come out the same."""
    folder = shutil.copytree(checkpoints[name], tmp_path / name)
    settings = json.loads((folder / "processor_config.json").read_text())
    image = settings["image_processor"]
    (folder / "processor_config.json").unlink()
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**image, "processor_class": settings["processor_class"]})
    )
    new, old = load_processor(str(checkpoints[name])), load_processor(str(folder))
    assert type(old).__name__ == type(new).__name__
    assert type(old.image_processor) is type(new.image_processor)
    assert old.image_processor.to_dict() == new.image_processor.to_dict()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_image_placeholders_match_the_images_rows(name: str, checkpoints: dict[str, Path]) -> None:
    loaded = load(checkpoints[name], "cpu")
    inputs = encode(loaded.processor, picture(100, 60), PROMPT)
    with torch.no_grad():
        logits = loaded.model(**inputs).logits
    assert torch.isfinite(logits).all()
    # The image stands before the text, as the study and the models' own documentation have it.
    places = (inputs["input_ids"][0] == loaded.model.config.image_token_id).nonzero().flatten()
    words = loaded.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    assert places.max() < inputs["input_ids"].shape[1] - len(words)


def test_random_init_is_the_same_architecture_from_a_seed(checkpoints: dict[str, Path]) -> None:
    path = checkpoints["qwen2_5_vl"]
    trained = load(path, "cpu").model.state_dict()
    before = torch.random.get_rng_state()
    one, again, other = (load(path, "cpu", random_init=True, seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in trained.items()}
    assert all(torch.equal(one[key], again[key]) for key in one)
    moved = "model.language_model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(one[moved], other[moved])
    assert not torch.equal(one[moved], trained[moved])


def test_causal_lm_has_a_tokenizer_and_no_processor(causal_lm: Path) -> None:
    loaded = load(causal_lm, "cpu")
    assert loaded.processor is None
    assert isinstance(loaded.model, type(AutoModelForCausalLM.from_pretrained(causal_lm)))
    assert loaded.tokenizer("a bird")["input_ids"]


def test_dtype_of_checkpoint_and_of_choice(checkpoints: dict[str, Path]) -> None:
    assert load(checkpoints["internvl"], "cpu", "bfloat16").dtype == torch.bfloat16
    assert load(checkpoints["internvl"], "cpu").dtype == torch.float32


def test_pixel_budget_changes_the_tokens(checkpoints: dict[str, Path]) -> None:
    path = str(checkpoints["qwen2_5_vl"])
    small = encode(load_processor(path, max_pixels=28 * 28 * 4), picture(112, 112), PROMPT)
    large = encode(load_processor(path, max_pixels=28 * 28 * 16), picture(112, 112), PROMPT)
    assert int(small["image_grid_thw"].prod()) < int(large["image_grid_thw"].prod())
    with pytest.raises(InputError, match="no pixel budget"):
        load_processor(str(checkpoints["internvl"]), max_pixels=1000)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("./no/such/model", "no such directory"),
        ("/no/such/model", "no such directory"),
        ("tests/no-such-model", "no such directory; give"),
        ("nobody/no-such-model", "not to be had from the hub or its cache"),
    ],
)
def test_missing_model_is_said(source: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(InputError, match=said):
        load(source)


def test_home_directory_is_written_out(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(checkpoints["internvl"].parent))
    assert load("~/internvl", "cpu").processor is not None


def test_directory_without_a_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        load(tmp_path)


def test_broken_configuration_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"its config\.json cannot be read"):
        load(tmp_path)


def test_model_of_another_kind_is_said(tmp_path: Path) -> None:
    from transformers import Wav2Vec2Config

    Wav2Vec2Config(hidden_size=24, num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="neither a vision-language model, a causal language model nor an image enc"):
        load(tmp_path)


def test_truncated_weights_are_said(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints["internvl"], tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="weights cannot be loaded"):
        load(folder)


@pytest.mark.parametrize(("device", "dtype", "said"), [("gpu", "auto", "device 'gpu'"), ("cpu", "float99", "float99")])
def test_unknown_device_or_dtype_is_said(device: str, dtype: str, said: str, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=said):
        load(checkpoints["internvl"], device, dtype)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_absent_gpu_is_said(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="0 CUDA devices"):
        load(checkpoints["internvl"], "cuda")


@pytest.mark.parametrize("template_has_it", [True, False])
def test_first_token_is_there_once(template_has_it: bool, checkpoints: dict[str, Path]) -> None:
    """Some chat templates write the BOS token, some leave it to the tokenizer; transformers' own way is the oracle."""
    processor = load_processor(str(checkpoints["llava_onevision"]))
    tokenizer = processor.tokenizer
    tokenizer.bos_token = "<|im_end|>"
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        "<|im_end|> $A", special_tokens=[("<|im_end|>", bos)]
    )
    processor.chat_template = ("<|im_end|>" if template_has_it else "") + processor.chat_template
    image = picture(100, 60)
    turn = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": PROMPT}]}]
    whole = processor.apply_chat_template(
        turn, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ours = encode(processor, image, PROMPT)["input_ids"][0].tolist()
    assert ours[0] == bos
    assert bos != ours[1]
    assert ours == whole["input_ids"][0].tolist()


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_absent_torchvision_is_said(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="torchvision"):
        load_processor(str(checkpoints["qwen2_5_vl"]), image_backend="torchvision")


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_with_torchvision_pil_stays_the_default(name: str, checkpoints: dict[str, Path]) -> None:
    from transformers import AutoProcessor

    image, path = picture(100, 60), str(checkpoints[name])
    ours = encode(load_processor(path), image, PROMPT)
    theirs = encode(load_processor(path, image_backend="torchvision"), image, PROMPT)
    whole = encode(AutoProcessor.from_pretrained(path), image, PROMPT)
    assert torch.equal(theirs["pixel_values"], whole["pixel_values"])
    assert not torch.equal(ours["pixel_values"], theirs["pixel_values"])
    assert torch.equal(ours["input_ids"], whole["input_ids"])
