"""Sharing a prefix against full forwards, on every vision-language family of transformers at toy size."""

from __future__ import annotations

import pytest
import torch

from evaluation.backends.prefix import (
    TOLERANCE,
    Manner,
    advance,
    branch,
    common,
    difference,
    following,
    full,
    join,
    measure,
    per_token,
    split,
    start,
)
from hooks.inputs import change_pixels
from organisms.zoo import FAMILIES, build_family

ALONE = {
    "blip",
    "blip2",
    "blip2_t5",
    "colmodernvbert",
    "colpali",
    "colqwen2",
    "diffusion_gemma",
    "donut",
    "embedding_gemma2",
    "florence2",
    "git",
    "git_video",
    "idefics",
    "instructblip",
    "instructblipvideo",
    "kosmos2",
    "modernvbert",
    "neomme",
    "paligemma",
    "pi0",
    "pix2struct",
    "pp_formulanet",
    "shieldgemma2_classifier",
    "t5gemma2",
    "udop",
    "ultravbert",
    "vision_encoder_decoder",
}
"""The families that take full forwards: text read in both directions, or by an encoder, or without a cache."""
FAST = ("gemma3", "llama4", "mllama", "paligemma", "qwen2_5_vl_ragged", "qwen3_vl", "qwen3_5", "t5gemma2", "fuyu")
VLMS = [name for name, family in FAMILIES.items() if family.kind == "vlm"]


def some(names):
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in names]


def questions(inputs, *lengths, seed=0):
    """The inputs followed by random text of each of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    rows = len(inputs["input_ids"])
    texts = [torch.randint(10, 200, (rows, length), generator=generator) for length in lengths]
    return [join(inputs, following(inputs, text)) for text in texts]


@pytest.mark.parametrize("name", some(VLMS))
@torch.inference_mode()
def test_a_shared_prefix_gives_the_logits_of_full_forwards_or_is_not_shared(name):
    """Judged on prompts and pixels that `measure` has not seen, longer than the toy models' windows of 16 tokens."""
    model, inputs = build_family(name)
    if "input_ids" not in inputs:
        assert name in ALONE
        return
    length = inputs["input_ids"].shape[1]
    sharing = measure(model, questions(inputs, 3, 7, 5), length)
    assert (sharing.manner is None) == (name in ALONE)
    assert bool(sharing.reason) == (sharing.manner is None)
    if sharing.manner is None:
        return
    other = change_pixels(inputs, 1)
    prompts = questions(other, 21, 4, 33, seed=9)
    tails = [split(prompt, length)[1] for prompt in prompts]
    owners = torch.arange(len(inputs["input_ids"]))
    state = start(model, other, sharing.manner)
    rows = branch(state, owners.repeat(len(prompts)))
    one = [{name: tail[name][row : row + 1] for name in tail} for tail in tails for row in owners]
    wanted = torch.cat([full(model, prompt) for prompt in prompts])
    assert difference(advance(model, rows, one, sharing.manner), wanted) < 1e-5
    blind = torch.cat([full(model, prompt) for prompt in questions(inputs, 21, 4, 33, seed=9)])
    assert difference(blind, wanted) > 1e-3  # the image matters, or nothing is shown
    if sharing.steps != "none":
        assert generated(model, state, other, tails[1], sharing.manner) < 1e-5


def generated(model, state, inputs, tail, manner):
    """How far the logits of three more tokens, read one by one from the cache, are from those of full forwards."""
    rows, count = branch(state, torch.arange(len(inputs["input_ids"]))), len(inputs["input_ids"])
    prompt, worst = join(inputs, tail), 0.0
    new = [{name: value[row : row + 1] for name, value in tail.items()} for row in range(count)]
    advance(model, rows, new, manner)
    for token in (41, 17, 123):
        new = [following(one, torch.tensor([[token]])) for one in new]
        prompt = join(prompt, following(prompt, torch.full((count, 1), token)))
        worst = max(worst, difference(advance(model, rows, new, manner), full(model, prompt)))
    return worst


@torch.inference_mode()
def test_the_first_state_is_left_as_it_was():
    model, inputs = build_family("qwen3_5")  # its recurrent layers write into their cache
    prompts = questions(inputs, 6, 6)
    manner = measure(model, prompts, inputs["input_ids"].shape[1]).manner
    assert manner is not None
    state = start(model, inputs, manner)
    tail = split(prompts[0], inputs["input_ids"].shape[1])[1]
    rows = [{name: value[row : row + 1] for name, value in tail.items()} for row in (0, 1)]
    first = advance(model, branch(state, torch.arange(2)), rows, manner)
    again = advance(model, branch(state, torch.arange(2)), rows, manner)
    assert torch.equal(first, again)


@torch.inference_mode()
def test_rows_of_two_images_do_not_depend_on_their_company():
    model, inputs = build_family("qwen3_vl")
    prompts = questions(inputs, 3, 7, 5)
    length = inputs["input_ids"].shape[1]
    manner = measure(model, prompts, length).manner
    assert manner is not None
    state = start(model, inputs, manner)
    tails = [split(prompt, length)[1] for prompt in prompts]
    mixed = [(1, 2), (0, 0), (1, 1), (1, 0)]
    new = [{name: value[image : image + 1] for name, value in tails[at].items()} for image, at in mixed]
    together = advance(model, branch(state, torch.tensor([image for image, _ in mixed])), new, manner)
    for row, (image, at) in enumerate(mixed):
        alone = full(model, prompts[at])[image]
        assert difference(together[row], alone) < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("name", ["qwen2_5_vl", "kosmos2_5"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_wrong_positions_are_told_from_rounding(name, dtype):
    model, inputs = build_family(name)
    model = model.to(dtype)
    inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    length = inputs["input_ids"].shape[1]
    (prompt,) = questions(inputs, 5)
    counted = Manner("counted", "none")
    tail = split(prompt, length)[1]
    rows = [{name: value[row : row + 1] for name, value in tail.items()} for row in (0, 1)]
    logits = advance(model, start(model, inputs, counted), rows, counted)
    assert difference(logits, full(model, prompt)) > TOLERANCE[dtype]
    assert measure(model, questions(inputs, 3, 5), length).manner not in (None, counted)


def test_split_and_join_are_inverse():
    _, inputs = build_family("mllama")
    assert set(per_token(inputs)) == {"input_ids", "attention_mask", "cross_attention_mask"}
    again = join(*split(inputs, 7))
    assert again.keys() == inputs.keys()
    assert all(torch.equal(again[name], inputs[name]) for name in inputs)


def test_common_counts_every_per_token_input_and_leaves_one_token():
    def row(ids, types):
        return {"input_ids": torch.tensor([ids]), "token_type_ids": torch.tensor([types])}

    assert common([row([1, 2, 3, 4], [0, 0, 0, 0]), row([1, 2, 3, 9, 9], [0, 0, 0, 0, 0])]) == 3
    assert common([row([1, 2, 3, 4], [0, 0, 0, 0]), row([1, 2, 3, 4], [0, 1, 0, 0])]) == 1
    assert common([row([1, 2, 3], [0, 0, 0]), row([1, 2, 3], [0, 0, 0])]) == 2
    assert common([row([1, 2], [0, 0]), row([5, 2], [0, 0])]) == 0
