import json
from importlib import import_module

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

from commandline import InputError
from hooks import load
from hooks.encoding import encode
from organisms.architectures import ARCHITECTURES, build

FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
LEGACY = {"llava_onevision": "llava_ov"}  # the name of the same architecture among the reference checkpoints

each = pytest.mark.parametrize("name", ARCHITECTURES)


def photo(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def auto_names(module, mapping):
    return getattr(import_module(f"transformers.models.auto.{module}"), mapping)


@each
def test_folder_is_what_save_pretrained_writes(checkpoints, name):
    """Class names are checked against transformers' own tables: what AutoProcessor looks up for this model type."""
    folder = checkpoints[name]
    assert {path.name for path in folder.iterdir()} == FILES
    config, processor = AutoConfig.from_pretrained(folder), read_json(folder / "processor_config.json")
    kind = config.model_type
    assert processor["processor_class"] == auto_names("processing_auto", "PROCESSOR_MAPPING_NAMES")[kind]
    images = auto_names("image_processing_auto", "IMAGE_PROCESSOR_MAPPING_NAMES")[kind]
    assert processor["image_processor"]["image_processor_type"] in (
        images.values() if isinstance(images, dict) else images
    )
    assert processor["video_processor"]["video_processor_type"] in dir(transformers)
    assert read_json(folder / "tokenizer_config.json")["processor_class"] == processor["processor_class"]


@each
def test_processor_config_has_the_entries_of_a_really_saved_one(checkpoints, shared, name):
    if shared is None:
        pytest.skip("no reference checkpoints here")
    reference = read_json(shared / "data/tiny_checkpoints" / LEGACY.get(name, name) / "processor_config.json")
    ours = read_json(checkpoints[name] / "processor_config.json")
    assert ours.keys() == reference.keys()
    for part in ("image_processor", "video_processor"):
        assert ours[part].keys() == reference[part].keys()


@each
def test_weights_load_without_a_missing_or_unexpected_key(checkpoints, name):
    model, report = AutoModelForImageTextToText.from_pretrained(checkpoints[name], output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert [type(model).__name__] == read_json(checkpoints[name] / "config.json")["architectures"]
    assert 200_000 < sum(parameter.numel() for parameter in model.parameters()) < 1_000_000


@each
def test_image_sizes_give_different_token_counts_and_generate_answers(checkpoints, name):
    loaded = load(checkpoints[name], device="cpu")
    token = loaded.model.config.image_token_id
    counts = []
    for width, height in ((112, 112), (56, 112), (40, 30)):
        inputs = encode(loaded.processor, photo(width, height), "What is in the image?")
        counts.append(int((inputs["input_ids"] == token).sum()))
        answer = loaded.model.generate(**inputs, max_new_tokens=3, do_sample=False)
        assert answer.shape[1] > inputs["input_ids"].shape[1]
    assert len(set(counts)) == 3


@each
def test_every_layer_changes_its_input_and_every_image_its_output(checkpoints, name):
    model = load(checkpoints[name], device="cpu").model
    processor = load(checkpoints[name], device="cpu").processor
    runs = []
    for seed in (0, 1):
        inputs = encode(processor, photo(112, 112, seed), "What is in the image?")
        features = model.model.get_image_features(
            inputs["pixel_values"],
            **{key: inputs[key] for key in ("image_grid_thw", "image_sizes") if key in inputs},
            output_hidden_states=True,
        )
        states = [*features.hidden_states, *model(**inputs, output_hidden_states=True).hidden_states]
        runs.append(states)
    for first, second in zip(*runs, strict=True):
        assert relative(first, second) > 0.02
    for before, after in zip(runs[0], runs[0][1:], strict=False):
        if before.shape == after.shape:
            assert relative(before, after) > 0.1


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def test_same_seed_same_bytes(checkpoints, tmp_path):
    before = torch.random.get_rng_state()
    again, other = build("internvl", tmp_path / "again"), build("internvl", tmp_path / "other", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for file in FILES:
        assert (again / file).read_bytes() == (checkpoints["internvl"] / file).read_bytes(), file
    assert (other / "model.safetensors").read_bytes() != (again / "model.safetensors").read_bytes()


@each
@pytest.mark.slow
def test_bench_scale_has_50m_parameters(tmp_path, name):
    folder = build(name, tmp_path / name, scale="bench")
    with torch.device("meta"):
        config = AutoConfig.from_pretrained(folder)
        model = getattr(transformers, config.architectures[0])(config)
    assert sum(parameter.numel() for parameter in model.parameters()) >= 50_000_000
    assert (folder / "model.safetensors").stat().st_size >= 200_000_000


def test_unknown_names_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="no architecture 'qwen9'; there are qwen2_5_vl, qwen3_vl"):
        build("qwen9", tmp_path / "a")
    with pytest.raises(InputError, match="no scale 'huge'; there are tiny, bench"):
        build("internvl", tmp_path / "b", scale="huge")
    assert not list(tmp_path.iterdir())


def test_causal_lm_continues_text(causal_lm):
    tokenizer, model = AutoTokenizer.from_pretrained(causal_lm), AutoModelForCausalLM.from_pretrained(causal_lm)
    inputs = tokenizer("A dog is a mammal,", return_tensors="pt")
    assert model.config.num_hidden_layers == 4
    assert model.generate(**inputs, max_new_tokens=4, do_sample=False).shape[1] > inputs["input_ids"].shape[1]
    logits = model(**inputs).logits
    assert relative(logits[0, 0], logits[0, -1]) > 0.1
