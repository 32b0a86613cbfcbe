"""Image rows enter an encoder beside the question; a decoder, which reads it by cross-attention, holds none."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import BLOCKS, END, IMAGE, START, VOCAB, WIDTH, ids, images, llm, siglip, tokens


@family("vlm", what="Gemma's encoder and decoder, the tower inside the encoder; the unembedding in a wrapper")
def t5gemma2(tr):
    gemma = llm(
        head_dim=16,
        sliding_window=16,
        query_pre_attn_scalar=16,
        layer_types=["sliding_attention", "full_attention"] * 2,
    )
    config = tr.T5Gemma2Config(
        encoder={
            "text_config": dict(gemma),
            "vision_config": siglip(),
            "mm_tokens_per_image": 4,
            "boi_token_index": START,
            "eoi_token_index": END,
            "image_token_index": IMAGE,
        },
        decoder=dict(gemma),
        image_token_index=IMAGE,
    )
    batch = tokens([4], [4, 4], pixel_values=images(3), decoder_input_ids=ids(3))
    return tr.T5Gemma2ForConditionalGeneration(config), batch


def _bart(**settings: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "vocab_size": VOCAB,
        "d_model": WIDTH,
        "encoder_layers": BLOCKS,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 96,
        "decoder_ffn_dim": 96,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
    }
    return config | settings


@family(
    "vlm", what="a DaViT tower: convolutions, attention over windows and over channels, halved stage by stage; BART"
)
def florence2(tr):
    stages = 3
    config = tr.Florence2Config(
        vision_config={
            "depths": [1] * stages,
            "patch_size": [7, 3, 3],
            "patch_stride": [4, 2, 2],
            "patch_padding": [3, 1, 1],
            "patch_prenorm": [False, True, True],
            "embed_dim": [16, 24, 32],
            "num_heads": [2, 2, 4],
            "num_groups": [2, 2, 4],
            "window_size": 4,
            "projection_dim": WIDTH,
            "max_temporal_embeddings": 4,
            "max_position_embeddings": 8,
        },
        text_config=_bart(model_type="bart"),
        image_token_id=IMAGE,
    )
    # 64 pixels shrink to 4 x 4 patches, before which stands their mean.
    batch = tokens([17], [17, 17], pixel_values=images(3, 64), decoder_input_ids=ids(3))
    return tr.Florence2ForConditionalGeneration(config), batch


@family(
    "vlm",
    what="no tower: patches under a word's box are added to the word, the rest stand behind the text",
)
def udop(tr):
    config = tr.UdopConfig(
        vocab_size=VOCAB,
        d_model=WIDTH,
        d_kv=16,
        d_ff=96,
        num_layers=BLOCKS,
        num_decoder_layers=2,
        num_heads=4,
        max_2d_position_embeddings=64,
        image_size=28,
        patch_size=7,
        decoder_start_token_id=0,
    )
    corner = np.random.default_rng(6).uniform(0.05, 0.7, (2, 9, 2)).astype(np.float32)
    batch = {
        "input_ids": ids(),
        "attention_mask": np.ones((2, 9), dtype=np.int64),
        "bbox": np.concatenate([corner, corner + 0.2], axis=-1),
        "pixel_values": images(),
        "decoder_input_ids": ids(3),
    }
    return tr.UdopForConditionalGeneration(config), batch
