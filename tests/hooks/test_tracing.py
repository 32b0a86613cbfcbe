"""Capture, value by value, against transformers' own outputs and against plain torch hooks."""

from __future__ import annotations

import gc

import pytest
import torch

from commandline import InputError
from hooks import Loaded, capture, find_sites, load
from hooks.encoding import encode
from hooks.inputs import collate, signature
from tests.hooks.conftest import PROMPT, SIZES, picture


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def _visual(loaded: Loaded, inputs: dict) -> torch.Tensor:
    return inputs["input_ids"] == loaded.model.config.image_token_id


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.stack([state[places].mean(0) for state, places in zip(states, mask, strict=True)])


def _block_inputs(loaded: Loaded, inputs: dict) -> list[torch.Tensor]:
    """What each decoder block is given, and what the last one returns, by torch's own hooks."""
    seen: list[torch.Tensor] = []
    blocks = loaded.model.get_decoder().layers
    handles = [block.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone())) for block in blocks]
    handles.append(blocks[-1].register_forward_hook(lambda _, args, out: seen.append(out.clone())))
    with torch.no_grad():
        loaded.model(**inputs)
    for handle in handles:
        handle.remove()
    return seen


def test_llm_sites_equal_output_hidden_states(loaded: Loaded, batch: dict) -> None:
    """`llm.k` is hidden_states[k]; its last entry is the normed one, `llm.final`; the pre-norm one it does not have."""
    sites = find_sites(loaded.model, batch)
    got = capture(loaded.model, batch, sites)
    mask = _visual(loaded, batch)
    with torch.no_grad():
        states = loaded.model(**batch, output_hidden_states=True).hidden_states
    layers = len(states) - 1
    added = "deepstack" in str(loaded.model.config.vision_config.to_dict())
    for layer in range(layers):
        # Qwen3-VL adds visual features between blocks after transformers has recorded the state.
        if not (added and layer):
            assert _close(got[f"llm.{layer}"], _mean(states[layer], mask)), layer
    assert _close(got["llm.final"], _mean(states[-1], mask))
    for layer, state in enumerate(_block_inputs(loaded, batch)):
        assert _close(got[f"llm.{layer}"], _mean(state, mask)), layer
    if added:
        assert not _close(got["llm.1"], _mean(states[1], mask))


def test_last_residual_is_before_the_norm(loaded: Loaded, sample: dict) -> None:
    layers = loaded.model.config.get_text_config().num_hidden_layers
    tokens = capture(loaded.model, sample, [f"llm.{layers}", "llm.final"], "tokens")
    with torch.no_grad():
        normed = loaded.model.get_decoder().norm(tokens[f"llm.{layers}"][0])
    assert _close(normed, tokens["llm.final"][0])
    assert not _close(tokens[f"llm.{layers}"][0], tokens["llm.final"][0])


def test_projector_equals_get_image_features(loaded: Loaded, batch: dict) -> None:
    got = capture(loaded.model, batch, ["projector"], "tokens")["projector"]
    names = ("pixel_values", "image_grid_thw", "image_sizes", "batch_num_images")
    with torch.no_grad():
        features = loaded.model.get_image_features(**{name: batch[name] for name in names if name in batch})
    rows = features.pooler_output
    rows = torch.cat(list(rows)) if isinstance(rows, (tuple, list)) else rows.reshape(-1, rows.shape[-1])
    assert torch.equal(torch.cat(got), rows)


def test_encoder_sites_equal_the_towers_hidden_states(loaded: Loaded, sample: dict) -> None:
    got = capture(loaded.model, sample, ["encoder.[0-9]*"], "tokens")
    names = ("pixel_values", "image_grid_thw", "image_sizes", "batch_num_images")
    with torch.no_grad():
        features = loaded.model.get_image_features(
            **{name: sample[name] for name in names if name in sample}, output_hidden_states=True
        )
    states = features.hidden_states[-len(got) :]
    for layer, state in enumerate(states, start=1):
        if layer < len(states):  # the last entry may be overwritten by the tower's normed output
            assert torch.equal(got[f"encoder.{layer}"][0], state.reshape(-1, state.shape[-1])), layer


def test_rows_belong_to_their_own_image(loaded: Loaded, batch: dict) -> None:
    """Images of three sizes in one batch, against each image alone."""
    sites = find_sites(loaded.model, batch)
    together = capture(loaded.model, batch, sites)
    for place, size in enumerate(SIZES):
        alone = capture(loaded.model, encode(loaded.processor, picture(*size), PROMPT), sites)
        for name in sites:
            assert _close(together[name][place], alone[name][0]), (name, size)
            assert not _close(together[name][place], together[name][place - 1]), name


def test_order_of_the_batch_is_kept(loaded: Loaded) -> None:
    samples = [encode(loaded.processor, picture(80, 80, seed), PROMPT) for seed in range(4)]
    assert len({signature(sample) for sample in samples}) == 1
    sites = find_sites(loaded.model, samples[0])
    forward = capture(loaded.model, collate(samples), sites)
    backward = capture(loaded.model, collate(samples[::-1]), sites)
    for name in sites:
        assert _close(forward[name], backward[name].flip(0)), name


def test_collated_samples_equal_the_processors_own_batch(loaded: Loaded) -> None:
    pictures = [picture(80, 80, seed) for seed in range(3)]
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}]
    text = loaded.processor.apply_chat_template(turn, add_generation_prompt=True)
    whole = loaded.processor(text=[text] * 3, images=[[p] for p in pictures], return_tensors="pt", padding=True)
    ours = collate([encode(loaded.processor, p, PROMPT) for p in pictures])
    assert ours.keys() == whole.keys()
    assert all(torch.equal(ours[name], whole[name]) for name in ours)


def test_pools_agree_with_the_tokens(loaded: Loaded, batch: dict) -> None:
    sites = find_sites(loaded.model, batch)
    tokens = capture(loaded.model, batch, sites, "tokens")
    mean, last, largest = (capture(loaded.model, batch, sites, pool) for pool in ("mean", "last", "max"))
    first = capture(loaded.model, batch, sites.select(["encoder.*"]), "cls")
    for name in sites:
        for place, rows in enumerate(tokens[name]):
            assert _close(mean[name][place], rows.mean(0))
            assert torch.equal(last[name][place], rows[-1])
            assert torch.equal(largest[name][place], rows.amax(0))
            if name in first:
                assert torch.equal(first[name][place], rows[0])
    counts = [len(rows) for rows in tokens["projector"]]
    assert counts == _visual(loaded, batch).sum(1).tolist()


def test_forward_stops_after_the_last_site(loaded: Loaded, sample: dict) -> None:
    sites = find_sites(loaded.model, sample)
    ran: list[str] = []
    watched = {"head": loaded.model.get_output_embeddings(), "llm": loaded.model.get_decoder().layers[0]}
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: ran.append(name)) for name, module in watched.items()
    ]
    capture(loaded.model, sample, sites)
    assert ran == ["llm"]
    ran.clear()
    capture(loaded.model, sample, sites.select(["encoder.2"]))
    assert ran == []
    for handle in handles:
        handle.remove()


def test_nothing_is_left_behind(loaded: Loaded, sample: dict) -> None:
    """No gradient, and the model answers afterwards as before."""
    with torch.no_grad():
        before = loaded.model(**sample).logits
    got = capture(loaded.model, sample)
    assert not any(rows.requires_grad for rows in got.values())
    with torch.no_grad():
        assert torch.equal(loaded.model(**sample).logits, before)


def test_memory_does_not_wait_for_the_garbage_collector(loaded: Loaded, sample: dict) -> None:
    """A stopped forward leaves its frames in a reference cycle; no activation may be left in them."""
    sites = find_sites(loaded.model, sample)
    capture(loaded.model, sample, sites)
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())
        for _ in range(10):
            capture(loaded.model, sample, sites)
        after = sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert after - before <= 20  # of some 250: two small index tensors a capture


def test_half_precision_is_pooled_in_float32(loaded: Loaded, sample: dict) -> None:
    half = load(loaded.source, "cpu", "bfloat16")
    tokens = capture(half.model, sample, ["llm.2"], "tokens")["llm.2"][0]
    mean = capture(half.model, sample, ["llm.2"])["llm.2"]
    assert mean.dtype == torch.float32
    assert _close(mean[0], tokens.mean(0))


def test_class_token_outside_the_encoder_is_refused(loaded: Loaded, sample: dict) -> None:
    with pytest.raises(InputError, match=r"pool=cls .* projector"):
        capture(loaded.model, sample, ["projector"], "cls")


def test_prompt_without_an_image_is_refused(loaded: Loaded, sample: dict) -> None:
    sites = find_sites(loaded.model, sample)
    inputs = dict(sample)
    inputs["input_ids"] = torch.where(_visual(loaded, sample), sample["input_ids"][0, 0], sample["input_ids"])
    with pytest.raises(InputError, match=r"no visual token in sample \[0\]"):
        capture(loaded.model, inputs, sites)


def test_unknown_site_lists_the_nearest(loaded: Loaded, sample: dict) -> None:
    with pytest.raises(InputError, match=r"llm\.fnal.*llm\.final"):
        capture(loaded.model, sample, ["llm.fnal"])
