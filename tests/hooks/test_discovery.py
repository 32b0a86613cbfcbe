"""Discovery: against the module tree of transformers' classes, and on a model nobody has a name for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

from commandline import InputError
from hooks import Loaded, capture, find_sites, load, text_sites
from hooks.encoding import encode
from tests.hooks.conftest import PROMPT, picture

BLOCKS = {
    "Qwen2_5_VLForConditionalGeneration": ("model.visual.blocks", "model.visual.merger"),
    "Qwen3VLForConditionalGeneration": ("model.visual.blocks", "model.visual.merger"),
    "LlavaOnevisionForConditionalGeneration": ("model.vision_tower.encoder.layers", "model.multi_modal_projector"),
    "InternVLForConditionalGeneration": ("model.vision_tower.encoder.layer", "model.multi_modal_projector"),
}
LLM = "model.language_model"


def test_every_block_is_a_site_in_order_of_execution(loaded: Loaded, sample: dict) -> None:
    sites = find_sites(loaded.model, sample)
    encoder, projector = BLOCKS[type(loaded.model).__name__]
    vision = len(loaded.model.get_submodule(encoder))
    llm = len(loaded.model.get_submodule(f"{LLM}.layers"))
    assert sites.names == (
        *(f"encoder.{layer}" for layer in range(1, vision + 1)),
        "encoder.final",
        "projector",
        *(f"llm.{layer}" for layer in range(llm + 1)),
        "llm.final",
    )
    assert sites.projector_module == projector
    assert [sites[f"encoder.{layer}"].module for layer in range(1, vision + 1)] == [
        f"{encoder}.{layer}" for layer in range(vision)
    ]
    assert [sites[f"llm.{layer}"].module for layer in range(llm)] == [f"{LLM}.layers.{layer}" for layer in range(llm)]
    assert sites[f"llm.{llm}"].module == f"{LLM}.layers.{llm - 1}"
    assert sites["llm.final"].module == f"{LLM}.norm"
    assert {site.width for name, site in sites.items() if name.startswith("llm")} == {
        loaded.model.config.get_text_config().hidden_size
    }


def test_visual_positions_are_the_image_tokens(loaded: Loaded, sample: dict, batch: dict) -> None:
    """Found on one batch, they hold on another."""
    sites = find_sites(loaded.model, sample)
    for inputs in (sample, batch):
        expected = inputs["input_ids"] == loaded.model.config.image_token_id
        assert torch.equal(sites.visual_positions(inputs), expected)


def test_finding_leaves_the_model_as_it_was(loaded: Loaded, sample: dict) -> None:

    def hooks() -> int:  # transformers keeps some of its own
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules())

    with torch.no_grad():
        before, kept = loaded.model(**sample).logits, hooks()
    find_sites(loaded.model, sample)
    with torch.no_grad():
        assert torch.equal(loaded.model(**sample).logits, before)
    assert hooks() == kept


def test_text_sites_of_a_causal_lm_and_of_a_vision_language_model(loaded: Loaded, causal_lm: Path) -> None:
    for model in (loaded, load(causal_lm, "cpu")):
        layers = model.model.config.get_text_config().num_hidden_layers
        sites = text_sites(model)
        assert sites.names == (*(f"text.{layer}" for layer in range(layers + 1)), "text.final")
        assert all(site.stage == "text" for site in sites.values())


def test_select_by_pattern_and_nearest_names(loaded: Loaded, sample: dict) -> None:
    sites = find_sites(loaded.model, sample)
    assert sites.select(["llm.1", "encoder.*"]).names == (*(n for n in sites.names if n.startswith("encoder")), "llm.1")
    assert sites.select(None) is sites
    with pytest.raises(InputError, match=r"'llm\.44'; the nearest are llm\.4"):
        sites.select(["llm.44"])


def test_blind_model_is_said(loaded: Loaded, sample: dict) -> None:
    """The same class with the projector's last layer zeroed: no pixel reaches the output."""
    blind = type(loaded.model)(loaded.model.config).eval()
    blind.load_state_dict(loaded.model.state_dict())
    with torch.no_grad():
        for name, module in blind.named_modules():
            if isinstance(module, nn.Linear) and any(part in name for part in ("merger", "projector")):
                module.weight.zero_()
                if module.bias is not None:
                    module.bias.zero_()
    with pytest.raises(InputError, match="does not see its pixels"):
        find_sites(blind, sample)


def test_inputs_without_tokens_are_said(loaded: Loaded, sample: dict) -> None:
    with pytest.raises(InputError, match=r"cannot run on pixel_values: .* give it the whole output of its processor"):
        find_sites(loaded.model, {"pixel_values": sample["pixel_values"]})


def test_half_precision_finds_the_same_sites(loaded: Loaded, sample: dict, checkpoints: dict[str, Path]) -> None:
    half = load(loaded.source, "cpu", "bfloat16")
    assert find_sites(half.model, sample).names == find_sites(loaded.model, sample).names


class _Cell(nn.Module):
    """A residual block that mixes its tokens (causally, or all of them) and normalises first."""

    def __init__(self, width: int, causal: bool) -> None:
        super().__init__()
        self.scale = nn.LayerNorm(width)
        self.mix = nn.Linear(width, width)
        self.causal = causal

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        normed = self.scale(stream)
        mixed = normed.cumsum(-2) if self.causal else normed.mean(-2, keepdim=True)
        return stream + self.mix(normed + mixed).tanh()


class _Foreign(nn.Module):
    """A vision-language model under names of its own: an eye, a bridge and a brain, the image amid the text."""

    def __init__(self) -> None:
        super().__init__()
        self.retina = nn.Linear(12, 24)
        self.eye = nn.Sequential(*[_Cell(24, False) for _ in range(4)])
        self.bridge = nn.Sequential(nn.Linear(24, 16), nn.GELU(), nn.Linear(16, 16))
        self.lexicon = nn.Embedding(50, 16)
        self.brain = nn.ModuleList([_Cell(16, True) for _ in range(5)])
        self.calm = nn.LayerNorm(16)
        self.mouth = nn.Linear(16, 50)

    def forward(self, input_ids: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        seen = self.bridge(self.eye(self.retina(picture)))
        stream = self.lexicon(input_ids)
        stream = stream.masked_scatter((input_ids == 7)[..., None], seen)
        for cell in self.brain:
            stream = cell(stream)
        return self.mouth(self.calm(stream))


def test_a_model_with_names_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _Foreign().eval()
    inputs = {
        "input_ids": torch.tensor([[1, 2, 7, 7, 7, 3, 4], [5, 6, 7, 7, 7, 8, 9]]),
        "picture": torch.rand(2, 3, 12, generator=generator),
    }
    sites = find_sites(model, inputs)
    assert [site.module for site in sites.values()] == [
        *(f"eye.{layer}" for layer in range(4)),
        "bridge",
        *["brain.0"] * 2,
        *(f"brain.{layer}" for layer in range(1, 5)),
        "brain.4",
        "calm",
    ]
    assert sites.projector_module == "bridge"
    assert sites.placeholder_ids == (7,)
    with torch.no_grad():
        expected = model.bridge(model.eye(model.retina(inputs["picture"])))
    assert torch.allclose(capture(model, inputs, sites)["projector"], expected.mean(1), atol=1e-6)


def test_no_model_is_named_in_the_package() -> None:
    """Discovery must not lean on a table of models: their names and module paths stand nowhere in the code."""
    forbidden = ("qwen", "llava", "internvl", "gemma", "image_token_id", "language_model", "vision_tower", "visual.")
    for file in sorted(Path("hooks").glob("*.py")):
        tree = ast.parse(file.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            word = getattr(node, "id", getattr(node, "attr", getattr(node, "value", None)))
            if isinstance(word, str) and id(node) not in prose and "a hub id such as" not in word:
                assert not any(name in word.lower().lstrip("_") for name in forbidden), f"{file}: {word}"


def test_sample_of_another_size_gives_the_same_sites(loaded: Loaded, sample: dict) -> None:
    other = encode(loaded.processor, picture(56, 140), PROMPT)
    assert find_sites(loaded.model, other) == find_sites(loaded.model, sample)
