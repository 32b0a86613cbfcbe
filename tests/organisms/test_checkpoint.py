import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment
from torch import nn

from organisms.checkpoint import chat_template, seed_weights, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["<pad>", "<|im_end|>", "<image>"], extra_special_tokens=["<image>"])


@given(st.text())
def test_tokenizer_spells_any_text(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_tokenizer_knows_its_special_tokens(tokenizer):
    assert tokenizer("a<image>b").input_ids.count(tokenizer.get_vocab()["<image>"]) == 1
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.padding_side) == ("<pad>", "<|im_end|>", "left")


def test_tokenizer_merges_the_words_of_its_corpus():
    words = train_tokenizer(["<pad>"], corpus=["zopum teker"] * 3, vocab_size=300)
    assert len(words(" teker").input_ids) == 1


def test_chat_template_puts_the_image_where_the_message_has_it():
    render = Environment().from_string(chat_template("<image>\n")).render
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    assert render(messages=turns, add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<image>\nWhat is it?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(300, 200)
        self.kernel = nn.Conv3d(3, 64, (2, 8, 8))
        self.table = nn.Embedding(400, 50)
        self.norm = nn.LayerNorm(500)
        self.gate = nn.Parameter(torch.zeros(1))
        self.newline = nn.Parameter(torch.empty(40))
        self.tied = nn.Linear(50, 400, bias=False)
        self.tied.weight = self.table.weight


def test_seed_weights_draws_every_parameter_at_its_scale():
    model = Part()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    seed_weights(model, seed=3)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert model.linear.weight.std().item() == pytest.approx(300**-0.5, rel=0.03)
    assert model.kernel.weight.std().item() == pytest.approx((3 * 2 * 8 * 8) ** -0.5, rel=0.03)
    assert model.table.weight.std().item() == pytest.approx(0.5, rel=0.03)
    assert model.norm.weight.mean().item() == pytest.approx(1, abs=0.02)
    assert model.norm.weight.std().item() == pytest.approx(0.1, rel=0.1)
    assert model.norm.bias.std().item() == pytest.approx(0.1, rel=0.1)
    assert model.gate.item() != 0


def test_seed_weights_depends_on_the_seed_alone():
    first, second, other = Part(), Part(), Part()
    before = torch.random.get_rng_state()
    seed_weights(first, seed=0)
    torch.rand(5)
    torch.random.set_rng_state(before)
    seed_weights(second, seed=0)
    seed_weights(other, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b, c in zip(first.parameters(), second.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
