"""Patches of all images in one row without a batch axis, in the layout of Qwen's vision-language models.

Images keep their own grid of patches, 2 x 2 of which merge into one row of the language model.
"""

from __future__ import annotations

from typing import Any

from organisms.zoo.family import family
from organisms.zoo.layouts import (
    AUDIO,
    EYE,
    EYE_BLOCKS,
    IMAGE,
    MAMBA,
    VIDEO,
    WIDTH,
    experts,
    llm,
    packed,
    padded,
    rope,
    specials,
    tower,
)

_TALL_ROPE: dict[str, Any] = {"rope_parameters": rope(2, 3, 3)}
_MIXED_ROPE: dict[str, Any] = {"rope_parameters": rope(3, 3, 2, mrope_interleaved=True)}
_HALF: dict[str, Any] = {"rope_parameters": rope(3, 3, 2, mrope_interleaved=True, partial_rotary_factor=1.0)}
_WINDOWS: dict[str, Any] = {"window_size": 16, "fullatt_block_indexes": [1]}
_DEEP: dict[str, Any] = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
_EAR: dict[str, Any] = {
    "num_mel_bins": 20,
    "d_model": 32,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "max_source_positions": 60,
    "n_window": 20,
    "output_dim": WIDTH,
}
"""The tower for sound, idle on images."""


def qwen(**settings: Any) -> dict[str, Any]:
    """The tower of Qwen2.5-VL and its descendants."""
    return {
        "depth": EYE_BLOCKS,
        "num_heads": 4,
        "patch_size": 4,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "hidden_size": EYE,
        "intermediate_size": 48,
        "out_hidden_size": WIDTH,
    } | settings


@family(
    "vlm",
    what="patches of all images in one row without a batch axis; the merger is a part of the tower",
)
def qwen2_vl(tr):
    eye = qwen(embed_dim=EYE, hidden_size=WIDTH, mlp_ratio=2)
    del eye["intermediate_size"], eye["out_hidden_size"]
    config = tr.Qwen2VLConfig(vision_config=eye, text_config=llm(**_TALL_ROPE), **specials())
    return tr.Qwen2VLForConditionalGeneration(config), packed()


@family(
    "vlm",
    what="patches reordered into windows before the first block, and back again only after the merger",
)
def qwen2_5_vl(tr):
    config = tr.Qwen2_5_VLConfig(vision_config=qwen(**_WINDOWS), text_config=llm(**_TALL_ROPE), **specials())
    return tr.Qwen2_5_VLForConditionalGeneration(config), packed()


@family("vlm", "qwen2_5_vl", what="two images in the second sample and a batch padded on the left")
def qwen2_5_vl_ragged(tr):
    model, _ = qwen2_5_vl.build(tr)
    return model, padded(packed([(8, 8)], [(4, 4), (8, 12)]), "left")


@family("vlm", what="features of two inner blocks of the tower are added to the image rows after the first two blocks")
def qwen3_vl(tr):
    config = tr.Qwen3VLConfig(vision_config=qwen(**_DEEP), text_config=llm(head_dim=16, **_MIXED_ROPE), **specials())
    return tr.Qwen3VLForConditionalGeneration(config), packed()


@family("vlm", what="qwen3_vl with experts")
def qwen3_vl_moe(tr):
    text = llm(head_dim=16, **experts(), **_MIXED_ROPE)
    config = tr.Qwen3VLMoeConfig(vision_config=qwen(**_DEEP), text_config=text, **specials())
    return tr.Qwen3VLMoeForConditionalGeneration(config), packed()


@family("vlm", what="linear attention and full attention by turns")
def qwen3_5(tr):
    text = llm(head_dim=16, **_HALF, **MAMBA)
    config = tr.Qwen3_5Config(vision_config=qwen(num_position_embeddings=64), text_config=text, **specials())
    return tr.Qwen3_5ForConditionalGeneration(config), packed()


@family("vlm", what="qwen3_5 with experts")
def qwen3_5_moe(tr):
    text = llm(head_dim=16, **experts(shared_expert_intermediate_size=32), **_HALF, **MAMBA)
    config = tr.Qwen3_5MoeConfig(vision_config=qwen(num_position_embeddings=64), text_config=text, **specials())
    return tr.Qwen3_5MoeForConditionalGeneration(config), packed()


@family("vlm", what="several residual streams, mixed between blocks: hidden states are wider than the embeddings")
def qwen4_exp(tr):
    text = llm(head_dim=16, **experts(shared_expert_intermediate_size=32), **_HALF, **MAMBA) | {
        "layer_types": ["linear_attention", "indexed_attention"] * 2,
        "hc_count": 2,
        "hc_lowrank": 8,
        "ngram_vocab_size_base": 100,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
    }
    config = tr.Qwen4ExpConfig(vision_config=qwen(num_position_embeddings=64), text_config=text, **specials())
    return tr.Qwen4ExpForConditionalGeneration(config), packed()


@family("vlm", "qwen2_5_omni_thinker", what="windows as in qwen2_5_vl; a tower for sound is idle")
def qwen2_5_omni(tr):
    config = tr.Qwen2_5OmniThinkerConfig(
        vision_config=qwen(**_WINDOWS),
        audio_config=_EAR,
        text_config=llm(**_TALL_ROPE),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        audio_token_index=AUDIO,
        vision_start_token_id=specials()["vision_start_token_id"],
        vision_end_token_id=specials()["vision_end_token_id"],
    )
    return tr.Qwen2_5OmniThinkerForConditionalGeneration(config), packed(types=None)


@family("vlm", "qwen3_omni_moe_thinker", what="inner features added as in qwen3_vl; experts; a tower for sound is idle")
def qwen3_omni_moe(tr):
    config = tr.CONFIG_MAPPING["qwen3_omni_moe_thinker"](  # a class that is not exported
        vision_config=qwen(**_DEEP),
        audio_config={**_EAR, "downsample_hidden_size": 16},
        text_config=llm(head_dim=16, **experts(), **_MIXED_ROPE),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        audio_token_id=AUDIO,
        vision_start_token_id=specials()["vision_start_token_id"],
    )
    return tr.Qwen3OmniMoeThinkerForConditionalGeneration(config), packed(types=None)


@family("vlm", what="qwen3_vl's added features under Cohere's blocks")
def cohere_compass(tr):
    text = llm(rope_parameters={"full_attention": _MIXED_ROPE["rope_parameters"]})
    config = tr.CohereCompassConfig(vision_config=qwen(**_DEEP), text_config=text, **specials())
    return tr.CohereCompassForConditionalGeneration(config), packed()


@family("vlm", what="qwen3_vl's parts put together by their configurations")
def cosmos3_omni(tr):
    config = tr.Cosmos3OmniConfig(
        vision_config=qwen(model_type="qwen3_vl_vision", **_DEEP),
        text_config=llm("qwen3_vl_text", head_dim=16, **_MIXED_ROPE),
        **specials(),
    )
    return tr.Cosmos3OmniForConditionalGeneration(config), packed()


@family("vlm", what="a tower in windows with fewer keys than queries; sliding and full attention by turns")
def exaone4_5(tr):
    text = llm("exaone4", sliding_window=16, layer_types=["sliding_attention", "full_attention"] * 2)
    config = tr.Exaone4_5_Config(
        vision_config=qwen(num_key_value_heads=2, **_WINDOWS),
        text_config=text,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    return tr.Exaone4_5_ForConditionalGeneration(config), packed(types=None)


@family("vlm", what="qwen2_5_vl's tower, and a projector of its own after the merger")
def hyperclovax_vision_v2(tr):
    config = tr.HyperCLOVAXVisionV2Config(
        vision_config=qwen(model_type="qwen2_5_vl_vision", **_WINDOWS) | {"out_hidden_size": 48},
        text_config=llm("hyperclovax", head_dim=16),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    return tr.HyperCLOVAXVisionV2ForConditionalGeneration(config), packed(types=None)


def _muse(**settings: Any) -> dict[str, Any]:
    eye = tower(
        patch_size=4,
        pos_emb_height=4,
        pos_emb_width=4,
        patch_temporal=2,
        merge_size=2,
        max_position_embeddings=64,
        layer_types=["window_attention", "full_attention", "window_attention"],
    )
    del eye["image_size"]
    return {
        "vision_config": eye,
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "out_hidden_size": 4 * EYE,
        "projector_hidden_size": 64,
    } | settings


@family("vlm", what="windows; patches merge in the tower; image rows normed last; placeholders embedded as token 0")
def muse_glimmer(tr):
    config = tr.MuseGlimmerConfig(**_muse(text_config=llm(head_dim=16, sliding_window=16)))
    return tr.MuseGlimmerForConditionalGeneration(config), packed(types=None)


@family("vlm", what="muse_glimmer with gated residuals and experts at a width of their own; a tower for sound is idle")
def muse_spark(tr):
    ear = {"patch_sizes": [4, 4], "hidden_sizes": [16, 32], "depths": [1, 1], "num_hidden_layers": 2}
    text = llm(
        head_dim=16,
        sliding_window=16,
        moe_hidden_size=32,
        moe_intermediate_size=32,
        num_local_experts=4,
        num_experts_per_tok=2,
    )
    config = tr.MuseSparkConfig(
        **_muse(text_config=text, audio_config={**ear, "out_hidden_size": WIDTH}, audio_token_id=AUDIO)
    )
    return tr.MuseSparkForConditionalGeneration(config), packed(types=None)
