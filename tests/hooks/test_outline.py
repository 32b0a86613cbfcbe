"""The outline from a configuration alone agrees with what is found in the loaded model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from commandline import InputError
from hooks import Loaded, find_sites, load, text_sites
from hooks.outline import outline


def test_stages_and_parameters_equal_the_real_ones(loaded: Loaded, sample: dict) -> None:
    expected = outline(loaded.source)
    sites = find_sites(loaded.model, sample)
    for stage, (layers, width) in expected.stages.items():
        found = [site for site in sites.values() if site.stage == stage and site.name != "encoder.final"]
        assert (len(found), {site.width for site in found}) == (layers, {width})
    assert expected.encoder_final == sites["encoder.final"].width
    blocks = loaded.model.get_decoder().layers
    assert expected.parameters["llm"] == sum(weight.numel() for weight in blocks.parameters())
    assert expected.total_parameters == sum(weight.numel() for weight in loaded.model.parameters())
    assert expected.model_class == type(loaded.model).__name__


def test_language_model(causal_lm: Path) -> None:
    expected = outline(str(causal_lm))
    sites = text_sites(load(causal_lm, "cpu"))
    assert expected.stages == {"text": (len(sites), sites["text.0"].width)}
    assert expected.dtype == torch.float32


def test_missing_model_is_said() -> None:
    with pytest.raises(InputError, match="no such directory"):
        outline("./no/such/model")
