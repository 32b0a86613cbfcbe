"""Language models without eyes."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import Built, family
from organisms.zoo.layouts import BLOCKS, MAMBA, VOCAB, WIDTH, experts, ids, llm, padded
from organisms.zoo.native import nemotron_text


def _batch(length: int = 12) -> dict[str, Any]:
    texts = ids(length)
    return padded({"input_ids": texts, "attention_mask": np.ones_like(texts)}, "left")


def _causal(tr: Any, name: str, **settings: Any) -> Built:
    """The causal model and configuration of class name `name`, on two texts, one of them padded on the left."""
    config = getattr(tr, f"{name}Config")(**llm(**settings))
    return getattr(tr, f"{name}ForCausalLM")(config), _batch()


@family("text", what="the plain decoder")
def llama(tr):
    return _causal(tr, "Llama")


@family("text", what="queries and keys normed per head")
def qwen3(tr):
    return _causal(tr, "Qwen3", head_dim=16)


@family("text", what="experts")
def qwen3_moe(tr):
    return _causal(tr, "Qwen3Moe", head_dim=16, **experts())


@family("text", "qwen3_5_text", what="qwen3_5's language model alone")
def qwen3_5_text(tr):
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 2]}
    config = tr.Qwen3_5TextConfig(**llm(head_dim=16, rope_parameters=rope, **MAMBA))
    return tr.Qwen3_5ForCausalLM(config), _batch()


@family("text", what="embeddings scaled outside the table; the unembedding is tied to it")
def gemma(tr):
    return _causal(tr, "Gemma", head_dim=16, num_key_value_heads=1, tie_word_embeddings=True)


@family("text", what="norms before and after attention and MLP; logits capped")
def gemma2(tr):
    return _causal(tr, "Gemma2", head_dim=16, sliding_window=16, query_pre_attn_scalar=16)


@family("text", what="learned positions, one matrix for queries, keys and values, stored transposed")
def gpt2(tr):
    config = tr.GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=WIDTH, n_layer=BLOCKS, n_head=4)
    return tr.GPT2LMHeadModel(config), _batch()


@family("text", what="attention and MLP of a block side by side; rotary positions on a part of each head")
def gpt_neox(tr):
    return _causal(tr, "GPTNeoX")


@family("text", what="learned positions with an offset; projections around the decoder")
def opt(tr):
    config = tr.OPTConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        ffn_dim=96,
        num_attention_heads=4,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
        pad_token_id=0,
    )
    return tr.OPTForCausalLM(config), _batch()


@family("text", what="state spaces, no attention")
def mamba(tr):
    config = tr.MambaConfig(vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=BLOCKS, state_size=8)
    return tr.MambaForCausalLM(config), _batch()


@family("text", what="a block each of state space, experts, attention and MLP")
def nemotron_h(tr):
    return tr.NemotronHForCausalLM(tr.NemotronHConfig(**nemotron_text())), _batch()


@family("text", what="encoder and decoder; relative positions kept by the first block of each")
def t5(tr):
    config = tr.T5Config(
        vocab_size=VOCAB,
        d_model=WIDTH,
        d_kv=16,
        d_ff=96,
        num_layers=BLOCKS,
        num_decoder_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )
    return tr.T5ForConditionalGeneration(config), _batch() | {"decoder_input_ids": ids(3)}
