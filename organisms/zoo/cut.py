"""Patches cut beforehand, as rows of numbers: images of different size have different numbers of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import (
    AUDIO,
    END,
    EYE,
    IMAGE,
    START,
    VIDEO,
    VOCAB,
    WIDTH,
    experts,
    ids,
    llm,
    normal,
    routed,
    tokens,
    tower,
)

_GEMMA: dict[str, Any] = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "boi_token_id": START,
    "eoi_token_id": END,
    "audio_token_id": AUDIO,
}
_SLIDING: dict[str, Any] = {
    "head_dim": 16,
    "global_head_dim": 16,
    "sliding_window": 16,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}


def _placed(*counts: int) -> dict[str, Any]:
    """Images of 4 x 4 and 4 x 6 patches, padded to 24 with the place (-1, -1)."""
    places = np.full((2, 24, 2), -1)
    for image, width in enumerate((4, 6)):
        y, x = np.divmod(np.arange(4 * width), width)
        places[image, : 4 * width] = np.stack([x, y], axis=-1)
    pixels = np.random.default_rng(1).random((2, 24, 48), dtype=np.float32) * (places[..., :1] >= 0)
    return tokens(*counts, types="mm_token_type_ids", pixel_values=pixels.astype(np.float32), image_position_ids=places)


def _gemma4_eye(**settings: Any) -> dict[str, Any]:
    eye = tower(
        num_key_value_heads=4, head_dim=8, patch_size=4, pooling_kernel_size=2, position_embedding_size=32, **settings
    )
    del eye["image_size"]
    return eye


@family(
    "vlm",
    what="patches dropped and pooled by their place; placeholders replaced before they are embedded; inputs per block",
)
def gemma4(tr):
    config = tr.Gemma4Config(
        vision_config=_gemma4_eye(),
        text_config=llm(
            **_SLIDING, vocab_size_per_layer_input=VOCAB, hidden_size_per_layer_input=8, num_kv_shared_layers=0
        ),
        audio_config=None,
        **_GEMMA,
    )
    return tr.Gemma4ForConditionalGeneration(config), _placed(4, 6)


@family("vlm", what="no encoder: patches pass an MLP and enter the language model")
def gemma4_unified(tr):
    config = tr.Gemma4UnifiedConfig(
        vision_config={
            "patch_size": 2,
            "pooling_kernel_size": 2,
            "mm_embed_dim": 48,
            "mm_posemb_size": 32,
            "output_proj_dims": 48,
        },
        text_config=llm(**_SLIDING),
        audio_config=None,
        **_GEMMA,
    )
    return tr.Gemma4UnifiedForConditionalGeneration(config), _placed(16, 24)


@family(
    "vlm",
    what="a causal stack fills a cache, a second one with the same weights denoises a block of text that reads it",
)
def diffusion_gemma(tr):
    config = tr.DiffusionGemmaConfig(
        vision_config=_gemma4_eye(model_type="gemma4_vision"),
        text_config=llm(**_SLIDING, **experts(num_experts=2), num_global_key_value_heads=2, top_k_experts=1),
        image_token_id=IMAGE,
        boi_token_id=START,
        eoi_token_id=END,
        canvas_length=6,
    )
    return tr.DiffusionGemmaForBlockDiffusion(config), _placed(4, 6) | {"decoder_input_ids": ids(6)}


@family("vlm", what="no encoder: one linear layer maps patches into the language model")
def fuyu(tr):
    config = tr.FuyuConfig(
        text_config=llm("persimmon", num_key_value_heads=4),
        image_token_id=IMAGE,
        patch_size=4,
        image_size=16,
        num_channels=3,
    )
    return tr.FuyuForCausalLM(config), tokens([6], [6, 6], pixel_values=normal(3, 6, 48))


def _inkling_text(**settings: Any) -> dict[str, Any]:
    return llm(
        head_dim=16,
        swa_num_attention_heads=4,
        swa_num_key_value_heads=2,
        swa_head_dim=16,
        sliding_window_size=32,
        d_rel=4,
        rel_extent=32,
        conv_kernel_size=4,
        layer_types=["hybrid_sliding", "hybrid"] * 2,
        **routed(),
        **settings,
    )


@family(
    "vlm",
    "inkling_mm_model",
    what="the tower folds patches in space and time by MLPs up to the language model's width; states of convolutions",
)
def inkling(tr):
    config = tr.InklingConfig(
        text_config=_inkling_text(mlp_layer_types=["dense", "sparse"] * 2),
        vision_config={
            "text_hidden_size": WIDTH,
            "patch_size": 4,
            "temporal_patch_size": 2,
            "num_channels": 3,
            "num_hidden_layers": 3,
        },
        audio_config={"text_hidden_size": WIDTH},
        image_token_id=IMAGE,
        audio_token_id=AUDIO,
    )
    return tr.InklingForConditionalGeneration(config), tokens(6, 9, pixel_values=normal(15, 2, 4, 4, 3))


@family(
    "vlm",
    what="a class token put before each image of the packed row; blocks read a mixture of earlier blocks' outputs",
)
def inkling2(tr):
    config = tr.Inkling2Config(
        text_config=_inkling_text(unpadded_vocab_size=VOCAB, n_layers_per_attn_res_block=2),
        vision_config={
            "hidden_size": EYE,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "posemb_grid_size": 8,
            "projection_hidden_dim": 64,
            "text_hidden_size": WIDTH,
        },
        image_token_id=IMAGE,
    )
    grids = np.array([[1, 2, 2], [1, 2, 3]])
    batch = tokens(4, 6, pixel_values=normal(10, 8, 8, 3), image_grid_thw=grids)
    return tr.Inkling2ForConditionalGeneration(config), batch


@family("vlm", what="no encoder and no causal mask; blocks read the normed embeddings again beside the hidden states")
def neomme(tr):
    text = llm(
        head_dim=16,
        embedding_rank=32,
        patch_size=4,
        layer_types=["full_attention", "sliding_attention"] * 2,
        sliding_window=16,
        document_token_id=5,
        image_token_id=IMAGE,
    )
    del text["tie_word_embeddings"]
    batch = tokens(16, 24, pixel_values=normal(40, 48))
    return tr.NeoMMEForMaskedLM(tr.NeoMMEConfig(**text)), batch


@family("vlm", what="gemma4's tower under a bidirectional model that ends in embeddings instead of logits")
def embedding_gemma2(tr):
    text = llm(**_SLIDING, num_global_key_value_heads=2, hidden_size_per_layer_input=8, embedding_dim=32)
    config = tr.EmbeddingGemma2Config(
        vision_config=_gemma4_eye(model_type="gemma4_vision"), text_config=text, audio_config=None, **_GEMMA
    )
    return tr.EmbeddingGemma2Model(config), _placed(4, 6)
