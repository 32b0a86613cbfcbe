"""A model wrapped by peft has the sites of the model inside, and what its adapter does to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from hooks import Loaded, capture, edit, find_sites, load
from hooks.encoding import encode
from hooks.inputs import collate
from tests.hooks.conftest import PROMPT, picture

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`"),
    pytest.mark.parametrize("loaded", ["qwen3_vl", "llava_onevision"], indirect=True),
]
PREFIX = "base_model.model."


@pytest.fixture
def pair(loaded: Loaded) -> dict:
    return collate([encode(loaded.processor, picture(80, 80, seed), PROMPT) for seed in range(2)])


def _wrapped(loaded: Loaded, targets: str) -> Any:
    """A fresh copy of the model under LoRA; B starts at zero."""
    model: Any = load(loaded.source, "cpu").model
    return get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets)).eval()


def _set_b(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) / 4)


def _llm(loaded: Loaded) -> str:
    """A regular expression for the LLM's attention projections: towers have modules of the same names."""
    decoder = loaded.model.get_decoder()  # pyright: ignore[reportCallIssue]
    (path,) = (name for name, module in loaded.model.named_modules() if module is decoder)
    return path.replace(".", r"\.") + r"\.layers\.\d+\.self_attn\.(q|v)_proj"


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    return [name for name in a if torch.equal(a[name], b[name])]


def test_an_adapter_of_the_llm(loaded: Loaded, pair: dict) -> None:
    base = find_sites(loaded.model, pair)
    wrapped = _wrapped(loaded, _llm(loaded))
    sites = find_sites(wrapped, pair)
    assert sites.names == base.names
    assert {name: site.module for name, site in sites.items()} == {
        name: PREFIX + site.module for name, site in base.items()
    }
    assert sites.placeholder_ids == base.placeholder_ids
    assert sites.added == {name: PREFIX + module for name, module in base.added.items()}
    plain = capture(loaded.model, pair, base)
    assert _equal(plain, capture(wrapped, pair, sites)) == list(base)
    _set_b(wrapped)
    same = _equal(plain, capture(wrapped, pair, sites))
    assert same == [name for name in base if not name.startswith("llm.")] + ["llm.0"]


def test_an_adapter_of_the_tower(loaded: Loaded, pair: dict) -> None:
    """On the first linear map of every vision block."""
    base = find_sites(loaded.model, pair)
    blocks = [loaded.model.get_submodule(base[f"encoder.{layer}"].module) for layer in (1, 2, 3)]
    linear = next(name for name, module in blocks[0].named_modules() if isinstance(module, torch.nn.Linear))
    targets = "|".join(f"{base[f'encoder.{layer}'].module}.{linear}".replace(".", r"\.") for layer in (1, 2, 3))
    wrapped = _wrapped(loaded, f"({targets})")
    plain = capture(loaded.model, pair, base)
    assert _equal(plain, capture(wrapped, pair)) == list(base)
    _set_b(wrapped)
    got = capture(wrapped, pair)
    assert got.keys() == plain.keys()
    assert _equal(plain, got) == []


def test_edits_under_an_adapter(loaded: Loaded, pair: dict) -> None:
    wrapped = _wrapped(loaded, _llm(loaded))
    _set_b(wrapped)
    sites = find_sites(wrapped, pair)
    with torch.no_grad():
        before = wrapped(**pair).logits
    assert torch.equal(edit(wrapped, pair, {"llm.2": lambda rows: rows}, sites).logits, before)
    moved = edit(wrapped, pair, {"llm.2": lambda rows: 2 * rows}, sites)
    assert not torch.equal(moved.logits, before)
    # The same edit of the merged model, which has no adapter any more.
    merged = wrapped.merge_and_unload()
    again = edit(merged, pair, {"llm.2": lambda rows: 2 * rows})
    assert torch.allclose(again.logits, moved.logits, rtol=1e-4, atol=1e-4)


def test_a_model_that_was_read_before_it_was_wrapped(loaded: Loaded, pair: dict) -> None:
    model: Any = load(loaded.source, "cpu").model
    plain = capture(model, pair)
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=_llm(loaded))).eval()
    assert _equal(plain, capture(wrapped, pair)) == list(plain)
    _set_b(wrapped)
    through = capture(wrapped, pair)
    assert _equal(through, capture(model, pair)) == list(plain)  # peft changes the model it wraps
    assert "llm.2" not in _equal(plain, through)
    with wrapped.disable_adapter():
        assert _equal(plain, capture(wrapped, pair)) == list(plain)
