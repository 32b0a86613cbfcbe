"""Discovery and capture on every family of the zoo, against transformers' own account of each model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hooks import capture, find_sites
from hooks.inputs import pixel_names
from organisms.zoo import FAMILIES, build_family

FAST = (
    "llava_left_padded",
    "qwen2_5_vl_ragged",
    "qwen3_vl",
    "gemma3n",
    "gemma4",
    "granite4_vision",
    "mllama",
    "udop",
    "unlimited_ocr",
)
"""The families that differ most; the others are checked by the whole run."""
WITHOUT_LIST = {"gemma4_unified", "fuyu", "udop", "layoutlmv3", "neomme"}
"""Encoder-free families, or with a vision side of single modules."""


def some(kinds: tuple[str, ...]) -> list[Any]:
    names = [name for name, family in FAMILIES.items() if family.kind in kinds]
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in names]


def other_image_of_the_second(inputs: dict[str, Any]) -> dict[str, Any]:
    """The batch with other pixels at the very end of what shows whole images: they belong to the second sample."""
    draw, changed = torch.Generator().manual_seed(8), dict(inputs)
    for name in pixel_names(inputs):
        if name != "pixel_values_local":  # crops, of the first sample alone
            changed[name] = inputs[name].clone()
            last = changed[name].select(0 if len(changed[name]) > 1 else -1, -1)
            last *= torch.rand(last.shape, generator=draw)
    return changed


@pytest.mark.parametrize("name", some(("vlm", "dual", "vision", "other")))
def test_each_samples_rows_are_of_its_own_image(name: str) -> None:
    """Whatever the packing, and however many rows each sample has: at every site the second image moves the second
    sample's rows and leaves the first one's as they were."""
    model, inputs = build_family(name)
    sites = find_sites(model, inputs)
    before = capture(model, inputs, sites, "tokens")
    after = capture(model, other_image_of_the_second(inputs), sites, "tokens")
    assert len(sites)
    for site in sites:
        first, second = zip(before[site], after[site], strict=True)
        assert [rows.shape for rows in before[site]] == [rows.shape for rows in after[site]], site
        assert torch.allclose(*first, atol=1e-5), site
        assert not torch.equal(*second), site


def layers(config: Any, *names: str) -> int | None:
    return next((value for name in names if isinstance(value := getattr(config, name, None), int)), None)


@pytest.mark.parametrize("name", some(("vlm", "text")))
def test_as_many_blocks_as_the_configuration_has(name: str) -> None:
    """The configuration is what discovery never reads."""
    model, inputs = build_family(name)
    sites = find_sites(model, inputs)
    config: Any = model.config
    if sites.fusion != "cross-attention":
        found = [site.layer for site in sites.values() if site.stage in ("llm", "text") and site.layer is not None]
        first = len([stage for stage in sites.missing if stage.startswith("llm.")])
        text = config if name == "pi0" else config.get_text_config()
        expected = layers(text.vlm_config.text_config if name == "pi0" else text, "num_hidden_layers")
        assert found == list(range(first, (expected or 0) + 1))
    tower = getattr(config, "vision_config", None)
    blocks = layers(tower, "num_hidden_layers", "depth", "encoder_layers")
    if blocks is not None and name not in WITHOUT_LIST:
        total = blocks + (getattr(tower, "num_global_layers", 0) or 0)
        assert [site for site in sites if site.startswith("encoder.")][:total] == [
            f"encoder.{layer}" for layer in range(1, total + 1)
        ]
