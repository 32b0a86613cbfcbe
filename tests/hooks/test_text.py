"""Text activations: against output_hidden_states, TransformerLens, and the tokens they claim to pool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from commandline import InputError
from hooks import Loaded, TextPrompt, capture, capture_text, load, text_sites
from hooks.encoding import encode
from tests.hooks.conftest import PROMPT, picture

PROMPTS = (
    TextPrompt("A grey heron belongs to the family Ardeidae.", "grey heron"),
    TextPrompt("heron", "heron"),
    TextPrompt("Given the boreal owl, what is its family?", "boreal owl"),
)


@pytest.fixture
def models(loaded: Loaded, causal_lm: Path) -> list[Loaded]:
    return [loaded, load(causal_lm, "cpu")]


def _states(loaded: Loaded, text: str) -> tuple[list[torch.Tensor], list[tuple[int, int]]]:
    encoded = loaded.tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    with torch.no_grad():
        states = loaded.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    return [state[0] for state in states], offsets


@pytest.mark.parametrize("pool", ["mean", "name", "last"])
def test_equals_hidden_states_one_prompt_at_a_time(models: list[Loaded], pool: str) -> None:
    """Prompts of different length, padded together, against each alone and unpadded."""
    for loaded in models:
        got = capture_text(loaded, PROMPTS, pool=pool)
        for place, prompt in enumerate(PROMPTS):
            states, offsets = _states(loaded, prompt.text)
            begin = prompt.text.index(prompt.name)
            spans = {"mean": (0, len(prompt.text)), "name": (begin, begin + len(prompt.name))}
            start, end = spans.get(pool, spans["mean"])
            chosen = [i for i, (a, b) in enumerate(offsets) if a < end and b > start and b > a]
            chosen = chosen[-1:] if pool == "last" else chosen
            names = [*(f"text.{layer}" for layer in range(len(states) - 1)), "text.final"]
            for name, state in zip(names, states, strict=True):
                # Padding regroups float32 sums, as a batch of another size does below.
                assert torch.allclose(got[name][place], state[chosen].mean(0), rtol=1e-5, atol=1e-5), (name, prompt)


def test_name_tokens_differ_from_all_tokens(models: list[Loaded]) -> None:
    for loaded in models:
        name, mean = (capture_text(loaded, PROMPTS, ["text.2"], pool)["text.2"] for pool in ("name", "mean"))
        assert not torch.allclose(name[0], mean[0])
        # The second prompt is its name.
        assert torch.allclose(name[1], mean[1])


def test_batch_size_does_not_matter(models: list[Loaded]) -> None:
    for loaded in models:
        sites = text_sites(loaded)
        whole, single = (capture_text(loaded, PROMPTS, sites, batch_size=size) for size in (8, 1))
        assert all(torch.allclose(whole[name], single[name], rtol=1e-5, atol=1e-5) for name in sites)


def test_images_before_do_not_change_text(loaded: Loaded) -> None:
    """Some models keep the positions of the last image on the module."""
    before = capture_text(loaded, PROMPTS)
    capture(loaded.model, encode(loaded.processor, picture(100, 60), PROMPT))
    after = capture_text(loaded, PROMPTS)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_chat_template_is_read_but_not_pooled(loaded: Loaded) -> None:
    plain = capture_text(loaded, PROMPTS, ["text.0", "text.3"])
    chat = capture_text(loaded, PROMPTS, ["text.0", "text.3"], chat=True)
    # The embeddings of the same tokens are the same; what they have read before them is not.
    assert torch.allclose(plain["text.0"][0], chat["text.0"][0], atol=1e-6)
    assert not torch.allclose(plain["text.3"][0], chat["text.3"][0], atol=1e-6)


def test_transformer_lens_gives_the_same_numbers(causal_lm: Path, loaded_of: Callable[[str], Loaded]) -> None:
    for loaded in (load(causal_lm, "cpu"), loaded_of("internvl"), loaded_of("llava_onevision")):
        ours = capture_text(loaded, PROMPTS)
        theirs = capture_text(loaded, PROMPTS, backend="transformer_lens")
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5), name
        again = capture_text(loaded, PROMPTS)
        assert all(torch.equal(ours[name], again[name]) for name in ours)


def test_transformer_lens_says_what_it_does_not_support(loaded_of: Callable[[str], Loaded]) -> None:
    with pytest.raises(InputError, match="use backend=nnsight"):
        capture_text(loaded_of("qwen2_5_vl"), PROMPTS, backend="transformer_lens")


@pytest.mark.parametrize(
    ("prompts", "pool", "said"),
    [
        ([], "mean", "no prompts"),
        ([" "], "mean", "a prompt is empty"),
        ([TextPrompt("a heron", "owl")], "name", "'owl' is not in 'a heron'"),
        (["a heron"], "name", "needs a name"),
    ],
)
def test_bad_prompts_are_said(causal_lm: Path, prompts: list, pool: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        capture_text(load(causal_lm, "cpu"), prompts, pool=pool)
