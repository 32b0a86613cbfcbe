"""Every family runs, sees its pixels, is small and repeats itself; every model type has one or a reason."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from commandline import InputError
from organisms.zoo import EXCLUDED, FAMILIES, build_family

FAST = (
    "llava_left_padded",
    "llava_next",
    "qwen2_5_vl_ragged",
    "qwen3_vl",
    "kimi_k25",
    "gemma4",
    "fuyu",
    "blip2_t5",
    "chameleon",
    "idefics3",
    "mllama",
    "pix2struct",
    "unlimited_ocr",
)
"""The families that differ most; the others are checked by the whole run."""


def some(names: list[str]) -> list[Any]:
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in names]


def outputs(model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    """What the model says: logits, or the last hidden state, or the images' and texts' embeddings side by side."""
    with torch.no_grad():
        out = model(**inputs)
    for name in ("logits", "logits_per_image", "last_hidden_state"):
        if getattr(out, name, None) is not None:
            return out[name]
    return out[0]


def model_types(config: Any) -> set[str]:
    """Of a configuration and those inside it."""
    inside = [value for value in vars(config).values() if hasattr(value, "model_type")]
    return {config.model_type}.union(*map(model_types, inside))


def pixel_inputs(inputs: dict[str, Any]) -> list[str]:
    return [
        k
        for k, v in inputs.items()
        if ("pixel" in k or "patches" in k) and torch.is_tensor(v) and v.is_floating_point()
    ]


def other_pixels(inputs: dict[str, Any]) -> dict[str, Any]:
    """The batch with every pixel scaled by its own factor: padding with zeros stays, coordinates stay in range."""
    draw = torch.Generator().manual_seed(7)
    return inputs | {k: inputs[k] * torch.rand(inputs[k].shape, generator=draw) for k in pixel_inputs(inputs)}


def last_pixels_changed(inputs: dict[str, Any]) -> dict[str, Any]:
    """The batch with other pixels at the very end of what shows whole images: they belong to the second sample."""
    draw, changed = torch.Generator().manual_seed(8), dict(inputs)
    for name in pixel_inputs(inputs):
        if name != "pixel_values_local":  # crops, of the first sample alone
            changed[name] = inputs[name].clone()
            last = changed[name].select(0 if len(changed[name]) > 1 else -1, -1)
            last *= torch.rand(last.shape, generator=draw)
    return changed


@pytest.mark.parametrize("name", some(list(FAMILIES)))
def test_a_family_is_small_runs_sees_and_repeats_itself(name: str):
    model, inputs = build_family(name)
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) < 3_000_000
    assert {p.dtype for p in model.parameters() if p.is_floating_point()} == {torch.float32}
    assert set(FAMILIES[name].model_types) <= model_types(model.config)
    said = outputs(model, inputs)
    assert said.isfinite().all()

    if FAMILIES[name].kind != "text":
        assert pixel_inputs(inputs)
        change = (outputs(model, other_pixels(inputs)) - said).abs()
        assert min(sample.max() for sample in change) > 1e-2 * said.abs().median(), "a sample does not see its pixels"
        if len(said) == 2:
            change = (outputs(model, last_pixels_changed(inputs)) - said).abs()
            assert change[0].max() < 1e-5 < change[1].max(), "pixels reach the wrong sample"

    again, same = build_family(name)
    assert torch.equal(outputs(again, same), said)
    other, same = build_family(name, seed=1)
    assert not torch.equal(outputs(other, same), said)


def mapping() -> dict[str, str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return dict(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


def test_every_model_type_of_image_text_to_text_has_a_family_or_a_reason():
    covered = {kind for family in FAMILIES.values() if family.kind == "vlm" for kind in family.model_types}
    assert covered.isdisjoint(EXCLUDED)
    assert set(mapping()) - covered - set(EXCLUDED) == set()
    assert set(EXCLUDED) <= set(mapping())


@pytest.mark.slow
def test_a_model_type_is_built_as_the_class_that_transformers_maps_it_to():
    built = {(kind, type(build_family(name)[0]).__name__) for name, f in FAMILIES.items() for kind in f.model_types}
    assert {(kind, name) for kind, name in mapping().items() if kind not in EXCLUDED} - built == set()


def test_every_reason_is_a_sentence_and_every_description_one_line():
    assert all(reason.endswith(".") and "\n" not in reason for reason in EXCLUDED.values())
    assert all(family.what and "\n" not in family.what and "|" not in family.what for family in FAMILIES.values())
    assert len({family.what for family in FAMILIES.values()}) == len(FAMILIES)


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(InputError, match="qwen2_5_vl"):
        build_family("qwen2.5-vl")
    with pytest.raises(InputError, match="FAMILIES"):
        build_family("%%%")


def test_listing_the_families_imports_neither_torch_nor_transformers():
    code = "import sys, organisms.zoo as z; print(len(z.FAMILIES), {'torch', 'transformers'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split(maxsplit=1)[1].strip() == "set()"


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build_family("qwen3_5")
    assert torch.equal(torch.get_rng_state(), before)
