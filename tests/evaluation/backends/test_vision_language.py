"""Vision-language models against transformers' own `generate`, one fully rendered prompt at a time."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from commandline import InputError
from evaluation.backends.prefix import Sharing
from evaluation.backends.vision_language import VisionLanguageBackend
from hooks import load
from organisms.architectures import ARCHITECTURES

from .conftest import questions

each = pytest.mark.parametrize(
    "name", [name if name == "qwen2_5_vl" else pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES]
)


@pytest.fixture(scope="module")
def loaded(checkpoints):
    return load(checkpoints["qwen2_5_vl"], device="cpu")


def by_key(answers):
    found = list(answers)
    assert len({answer.key for answer in found}) == len(found)
    return {answer.key: answer for answer in found}


def oracle(loaded: Any, ask: Any) -> tuple[np.ndarray, str]:
    """Letter logits and text by `apply_chat_template` with the image in it, and `generate`."""
    content: list[dict[str, Any]] = [{"type": "image", "image": Image.open(ask.image)}] if ask.image else []
    turns = [{"role": "system", "content": [{"type": "text", "text": ask.system}]}] if ask.system else []
    turns.append({"role": "user", "content": [*content, {"type": "text", "text": ask.text}]})
    inputs = loaded.processor.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    options = {"output_logits": True, "return_dict_in_generate": True, "do_sample": False}
    made = loaded.model.generate(**inputs, max_new_tokens=ask.max_new_tokens, **options)
    text = loaded.tokenizer.decode(made.sequences[0, -len(made.logits) :], skip_special_tokens=True)
    return letters(loaded, made.logits[0][0], ask), text


def letters(loaded: Any, logits: torch.Tensor, ask: Any) -> np.ndarray:
    """By the vocabulary of a byte-level tokenizer, in which Ġ is a space."""
    vocabulary = loaded.tokenizer.get_vocab()
    said = [[vocabulary[token] for token in (letter, f"Ġ{letter}") if token in vocabulary] for letter in ask.letters]
    assert {len(ids) for ids in said} == {2}
    return np.array([logits[ids].float().logsumexp(0) for ids in said])


@each
def test_logits_and_text_are_those_of_generate(checkpoints, photographs, name):
    loaded = load(checkpoints[name], device="cpu")
    backend = VisionLanguageBackend(loaded)
    assert backend.sharing.manner is not None
    groups = [
        [*questions(photo), *questions(photo, 6), *questions(photo, system="Answer as a botanist.")]
        for photo in photographs
    ]
    answers = by_key(backend.answer([*groups, questions(None), questions(None, 5)]))
    assert backend.throughput.alone == 0
    asks = {ask.key: ask for ask in chain(*groups, questions(None), questions(None, 5))}
    assert answers.keys() == asks.keys()
    for key, ask in asks.items():
        logits, text = oracle(loaded, ask)
        assert answers[key].status == "ok"
        assert answers[key].letter_logits.dtype == np.float32
        np.testing.assert_allclose(answers[key].letter_logits, logits, rtol=0, atol=1e-5)
        assert answers[key].text == text
        assert 1 <= answers[key].tokens_out <= ask.max_new_tokens
    assert max(answer.tokens_out for answer in answers.values()) > 1


def test_each_image_is_encoded_once(loaded, photographs, monkeypatch):
    backend = VisionLanguageBackend(loaded)
    calls, resized = [], []
    kind = type(loaded.processor.image_processor)
    own = kind.preprocess
    monkeypatch.setattr(kind, "preprocess", lambda *args, **kwargs: resized.append(1) or own(*args, **kwargs))
    tower = loaded.model.model.visual
    handle = tower.register_forward_hook(lambda *_: calls.append(1))
    list(backend.answer([[*questions(photo), *questions(photo, 4, name="again")] for photo in photographs]))
    handle.remove()
    assert len(resized) == 4
    # The two of one size and shape go together.
    assert len(calls) == 3


@pytest.mark.slow
def test_answers_do_not_depend_on_grouping(loaded, photographs):
    groups = [[*questions(photo), *questions(photo, 3)] for photo in photographs]
    backend = VisionLanguageBackend(loaded)
    wanted = by_key(backend.answer(groups))
    narrow = VisionLanguageBackend(loaded, batch_size=2, images_per_batch=1)
    one_by_one = chain.from_iterable(backend.answer([[ask]]) for group in groups for ask in group)
    for answers in (one_by_one, narrow.answer(groups[::-1]), VisionLanguageBackend(loaded, share=False).answer(groups)):
        other = by_key(answers)
        assert other.keys() == wanted.keys()
        for key, answer in other.items():
            assert answer.text == wanted[key].text
            np.testing.assert_allclose(answer.letter_logits, wanted[key].letter_logits, rtol=0, atol=1e-5)


def test_a_model_that_answers_otherwise_from_a_cache_takes_full_forwards(checkpoints, photographs):
    loaded = load(checkpoints["qwen3_vl"], device="cpu")
    wanted = by_key(VisionLanguageBackend(loaded).answer([questions(photographs[0])]))

    def wrong(module, args, kwargs, output):
        cached = kwargs["past_key_values"].get_seq_length() > kwargs["input_ids"].shape[1]
        output.logits = output.logits + 1e-3 * output.logits.roll(1, -1) if cached else output.logits

    def is_given(module, args, kwargs, output):
        if kwargs.get("past_key_values") is not None:
            wrong(module, args, kwargs, output)

    loaded.model.register_forward_hook(is_given, with_kwargs=True)
    backend = VisionLanguageBackend(loaded)
    assert backend.sharing.manner is None
    assert backend.identity["shares_prefix"] is False
    assert "differ from full forwards" in str(backend.identity["shares_prefix_not"])
    answers = by_key(backend.answer([questions(photographs[0])]))
    assert backend.throughput.alone == len(answers)
    for key, answer in answers.items():
        np.testing.assert_allclose(answer.letter_logits, wanted[key].letter_logits, rtol=0, atol=1e-5)


def test_broken_images_and_long_prompts_are_errors_of_their_own(loaded, photographs, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photographs[0].read_bytes()[:200])
    missing = tmp_path / "missing.jpg"
    long = replace(questions(photographs[1])[0], key="long", text="word " * 5000)
    groups = [questions(broken), [long, *questions(photographs[1])], questions(missing), questions(photographs[2])]
    answers = by_key(VisionLanguageBackend(loaded).answer(groups))
    assert answers.keys() == {ask.key for group in groups for ask in group}
    reasons = {key: answer.error for key, answer in answers.items() if answer.status == "error"}
    assert len(reasons) == 9
    assert "truncated" in reasons[questions(broken)[0].key]
    assert "No such file" in reasons[questions(missing)[0].key]
    assert "reads at most 4096" in reasons["long"]
    assert all(answers[key].letter_logits is None for key in reasons)


def test_running_out_of_memory_halves_the_batch(checkpoints, photographs):
    loaded = load(checkpoints["qwen2_5_vl"], device="cpu")
    groups = [[*questions(photo), *questions(photo, 3)] for photo in photographs]
    backend = VisionLanguageBackend(loaded)
    wanted, room, sizes = by_key(backend.answer(groups)), [3], []

    def small(module, args, kwargs):
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    loaded.model.register_forward_pre_hook(small, with_kwargs=True)
    answers = by_key(backend.answer(groups))
    assert max(sizes) == 8  # two images of four questions, once: the halves are remembered
    assert sizes.count(8) == 1
    assert backend.throughput.alone == 0
    for key, answer in answers.items():
        assert answer.text == wanted[key].text
        np.testing.assert_allclose(answer.letter_logits, wanted[key].letter_logits, rtol=0, atol=1e-5)
    room[0] = 0
    answers = by_key(backend.answer(groups))
    assert answers.keys() == wanted.keys()
    assert all("out of memory" in str(answer.error) for answer in answers.values())


def test_a_prompt_that_the_model_refuses_does_not_take_others_with_it(checkpoints, photographs):
    loaded = load(checkpoints["qwen2_5_vl"], device="cpu")
    backend = VisionLanguageBackend(loaded)
    bad = loaded.tokenizer("§")["input_ids"][-1]
    asks = questions(photographs[0])
    groups = [[replace(asks[0], text="§ " + asks[0].text), *asks[1:]]]

    def refuse(module, args, kwargs):
        if bool((kwargs["input_ids"] == bad).any()):
            raise ValueError("no paragraphs")

    loaded.model.register_forward_pre_hook(refuse, with_kwargs=True)
    answers = by_key(backend.answer(groups))
    assert [answers[ask.key].status for ask in asks] == ["error", "ok", "ok", "ok"]
    assert "no paragraphs" in str(answers[asks[0].key].error)


REFUSES = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}USER: {% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %} ASSISTANT:"
    "{% endfor %}"
)
DROPS = REFUSES.replace("{{ raise_exception('no system role') }}", "{% continue %}")


@pytest.mark.parametrize("template", [REFUSES, DROPS], ids=["refuses", "drops"])
def test_a_template_without_a_system_role_gets_it_before_the_question(checkpoints, photographs, template):
    loaded = load(checkpoints["qwen2_5_vl"], device="cpu")
    loaded.processor.chat_template = template
    backend = VisionLanguageBackend(loaded)
    assert backend.identity["system"] == "before the question"
    asks = questions(photographs[0], system="Be brief.")
    answers = by_key(backend.answer([asks]))
    for ask in asks:
        logits, text = oracle(loaded, replace(ask, system=None, text=f"Be brief.\n\n{ask.text}"))
        np.testing.assert_allclose(answers[ask.key].letter_logits, logits, rtol=0, atol=1e-5)
        assert answers[ask.key].text == text


def test_without_a_chat_template_the_placeholder_comes_first(checkpoints, photographs):
    loaded = load(checkpoints["qwen2_5_vl"], device="cpu")
    loaded.processor.chat_template = loaded.tokenizer.chat_template = None
    backend = VisionLanguageBackend(loaded)
    assert backend.identity["chat_template"] is None
    (ask, *_) = asks = questions(photographs[0])
    answers = by_key(backend.answer([asks]))
    inputs = loaded.processor(
        text=[f"<|image_pad|>\n{ask.text}"], images=[Image.open(photographs[0])], return_tensors="pt"
    )
    with torch.inference_mode():
        logits = loaded.model(**inputs).logits[0, -1]
    np.testing.assert_allclose(answers[ask.key].letter_logits, letters(loaded, logits, ask), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def prefix_lm(tmp_path_factory):
    """A PaliGemma of toy size: no chat template, and its prompt is read in both directions."""
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, SiglipImageProcessorPil

    from organisms.checkpoint import save_processor, seed_weights, train_tokenizer
    from organisms.zoo.layouts import llm, siglip

    folder = tmp_path_factory.mktemp("prefix_lm")
    tokenizer = train_tokenizer(("<pad>", "<eos>", "<bos>", "<image>"), bos_token="<bos>")
    image_processor = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    image_processor.image_seq_length = 16
    # The processor adds tokens for places and segments.
    text = llm("gemma", head_dim=16, num_key_value_heads=1, vocab_size=len(tokenizer) + 1152)
    model = PaliGemmaForConditionalGeneration(
        PaliGemmaConfig(vision_config=siglip(), text_config=text, image_token_index=3, projection_dim=64)
    )
    seed_weights(model, 0)
    model.eval().save_pretrained(folder)
    save_processor(folder, "PaliGemmaProcessor", tokenizer, image_processor, "")
    (folder / "chat_template.jinja").unlink()
    return load(folder, device="cpu")


def test_a_prompt_read_in_both_directions_is_never_shared(prefix_lm, photographs):
    backend = VisionLanguageBackend(prefix_lm)
    assert backend.sharing.manner is None
    assert "differ from full forwards" in backend.sharing.reason
    asks = [*questions(photographs[0]), *questions(photographs[0], 3)]
    answers = by_key(backend.answer([asks]))
    assert backend.throughput.alone == len(asks)
    for ask in asks:
        image = Image.open(photographs[0])
        inputs = prefix_lm.processor(text=f"<image>{ask.text}", images=image, return_tensors="pt")
        inputs.pop("labels", None)
        with torch.inference_mode():
            logits = prefix_lm.model(**inputs).logits[0, -1]
        wanted = letters(prefix_lm, logits, ask)
        np.testing.assert_allclose(answers[ask.key].letter_logits, wanted, rtol=0, atol=1e-5)
        assert answers[ask.key].text.startswith(prefix_lm.tokenizer.decode(logits.argmax()))


def test_where_a_letter_is_no_token_the_reply_is_kept(loaded, photographs, capsys):
    asks = [replace(ask, letters=("A", "Qx")) for ask in questions(photographs[0])]
    plain = by_key(VisionLanguageBackend(loaded).answer([questions(photographs[0])]))
    for answer in VisionLanguageBackend(loaded).answer([asks]):
        assert (answer.status, answer.letter_logits, answer.tokens_out) == ("ok", None, 1)
        assert answer.text == plain[answer.key].text
    assert "no single token for the letter 'Qx'" in capsys.readouterr().err


def test_a_language_model_is_refused(causal_lm):
    with pytest.raises(InputError, match="does not answer questions on images"):
        VisionLanguageBackend(load(causal_lm, device="cpu"))


def test_the_identity_tells_models_apart_and_not_batches(checkpoints, loaded):
    identity = VisionLanguageBackend(loaded, batch_size=3).identity
    assert identity == VisionLanguageBackend(loaded, images_per_batch=1).identity
    assert identity != VisionLanguageBackend(load(checkpoints["qwen2_5_vl"], device="cpu", max_pixels=3136)).identity
    assert all(value is None or isinstance(value, (str, int, float, bool)) for value in identity.values())
    assert isinstance(VisionLanguageBackend(loaded).sharing, Sharing)
