"""Causal language models against `generate`; letters against tokenizers of other kinds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from commandline import InputError
from evaluation.backends.causal import CausalBackend
from evaluation.backends.letters import Letters
from evaluation.backends.rendering import renderer
from hooks import load

from .conftest import questions


@pytest.fixture(scope="module")
def loaded(causal_lm):
    return load(causal_lm, device="cpu")


@pytest.mark.parametrize("template", [True, False])
@pytest.mark.parametrize("room", [1, 6])
def test_logits_and_text_are_those_of_generate(causal_lm, template, room):
    loaded = load(causal_lm, device="cpu")
    if not template:
        loaded.tokenizer.chat_template = None
    groups = [questions(None, room, name=str(number)) for number in range(2)]
    groups[1] = [replace(ask, text=f"Of the wren: {ask.text}") for ask in groups[1]]
    backend = CausalBackend(loaded, batch_size=3)
    assert backend.sharing.manner is not None
    answers = {answer.key: answer for answer in backend.answer(groups)}
    assert backend.throughput.alone == 0
    asks = [ask for group in groups for ask in group]
    assert answers.keys() == {ask.key for ask in asks}
    tokenizer = loaded.tokenizer
    for ask in asks:
        turns = [{"role": "user", "content": ask.text}]
        text = (
            tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False) if template else ask.text
        )
        options = {"output_logits": True, "return_dict_in_generate": True, "do_sample": False, "max_new_tokens": room}
        made = loaded.model.generate(**tokenizer(text, return_tensors="pt"), **options)
        vocabulary, logits = tokenizer.get_vocab(), made.logits[0][0]
        said = [[vocabulary[t] for t in (letter, f"Ġ{letter}") if t in vocabulary] for letter in ask.letters]
        wanted = np.array([logits[ids].logsumexp(0) for ids in said])
        np.testing.assert_allclose(answers[ask.key].letter_logits, wanted, rtol=0, atol=1e-5)
        new = made.sequences[0, -len(made.logits) :]
        assert answers[ask.key].text == tokenizer.decode(new, skip_special_tokens=True)


def test_generation_stops_at_the_end_of_the_turn(causal_lm):
    loaded = load(causal_lm, device="cpu")
    stop = loaded.tokenizer.eos_token_id
    backend = CausalBackend(loaded)
    seen = []

    def end(module, args, kwargs, output):
        """The third token of every row is the end of the turn, whatever the model says."""
        seen.append(kwargs["input_ids"].shape)
        if len(seen) == 4:
            output.logits[..., stop] = 1e4

    loaded.model.register_forward_hook(end, with_kwargs=True)
    answers = list(backend.answer([questions(None, 50)]))
    assert len(seen) == 4  # the prefix, the questions, two tokens
    assert [answer.tokens_out for answer in answers] == [3] * 4
    assert all("<|im_end|>" not in answer.text for answer in answers)


def test_rows_that_have_ended_leave_the_batch(loaded):
    asks = [replace(ask, max_new_tokens=room) for ask, room in zip(questions(None), (2, 9, 4, 7), strict=True)]
    rows = []
    handle = loaded.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    answers = {answer.key: answer for answer in CausalBackend(loaded).answer([asks])}
    handle.remove()
    assert [answers[ask.key].tokens_out for ask in asks] == [ask.max_new_tokens for ask in asks]
    assert rows[-8:] == [4, 3, 3, 2, 2, 2, 1, 1]
    for ask in asks:
        (alone,) = CausalBackend(loaded, share=False).answer([[ask]])
        assert alone.text == answers[ask.key].text


def test_an_image_is_an_error_and_the_text_is_answered(loaded, photographs):
    answers = list(CausalBackend(loaded).answer([questions(photographs[0]), questions(None)]))
    assert sorted(answer.status for answer in answers) == ["error"] * 4 + ["ok"] * 4
    assert all("sees no images" in str(answer.error) for answer in answers if answer.status == "error")


def test_a_vision_language_model_is_refused(checkpoints):
    with pytest.raises(InputError, match="no causal language model"):
        CausalBackend(load(checkpoints["internvl"], device="cpu"))


def tokenizer(model, pre_tokenizer, decoder):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(model)
    made.pre_tokenizer, made.decoder = pre_tokenizer, decoder
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def sentencepiece(*tokens):
    """Llama's kind: a space is part of the word that follows it, and a word at the start gets one."""
    from tokenizers import decoders, models, pre_tokenizers

    pieces = ["<unk>", "▁", ":", "▁So", *tokens]
    model = models.Unigram([(piece, -float(len(pieces) - at)) for at, piece in enumerate(pieces)], unk_id=0)
    return tokenizer(model, pre_tokenizers.Metaspace(prepend_scheme="first"), decoders.Metaspace())


def test_both_ways_to_say_a_letter_are_found_in_context():
    made = sentencepiece("A", "▁A", "B", "▁B")
    letters = Letters(made)
    assert letters.tokens("A", "So:") == made.convert_tokens_to_ids(["A", "▁A"])
    logits = torch.linspace(-1, 1, len(made))
    found = letters.logits(logits.to(torch.bfloat16), ("A", "B"), "So:")
    assert found.dtype == torch.float32
    ids = [made.convert_tokens_to_ids([letter, f"▁{letter}"]) for letter in "AB"]
    np.testing.assert_allclose(
        found, [np.logaddexp(*logits.bfloat16()[pair].float().numpy()) for pair in ids], rtol=1e-6
    )


def test_only_what_is_one_token_says_a_letter():
    made = sentencepiece("A", "▁B")
    assert Letters(made).tokens("A", "So:") == [made.convert_tokens_to_ids("A")]
    assert Letters(made).tokens("B", "So:") == [made.convert_tokens_to_ids("▁B")]


def test_a_letter_that_melts_into_the_text_before_it_is_no_token():
    made = sentencepiece("A", ":A", "B")
    assert made.tokenize("So:A") == ["▁So", ":A"]
    with pytest.raises(InputError, match="no single token for the letter 'A' after 'So:'"):
        Letters(made).tokens("A", "So:")


def test_the_context_is_used_to_its_last_token(causal_lm):
    loaded = load(causal_lm, device="cpu")
    made = renderer(None, loaded.tokenizer, loaded.model.config, None)
    ask = questions(None, 7)[0]
    (prompt,), _ = made.render([ask])
    exact = prompt.length + 7
    assert replace(made, limit=exact).render([ask])[1] == []
    ((_, why),) = replace(made, limit=exact - 1).render([ask])[1]
    assert f"takes {prompt.length} tokens and up to 7 are to follow" in why
