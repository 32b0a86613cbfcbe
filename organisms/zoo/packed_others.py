"""Patches of all images in one row, in the layouts of GLM, Ernie, Kimi and others."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import (
    AUDIO,
    END,
    EYE,
    IMAGE,
    INDEXED,
    START,
    VIDEO,
    WIDTH,
    latent,
    llm,
    packed,
    rope,
    routed,
    specials,
    tower,
)
from organisms.zoo.packed import qwen

_GLM: dict[str, Any] = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "image_start_token_id": START,
    "image_end_token_id": END,
    "video_start_token_id": 254,
    "video_end_token_id": 255,
}
_GLM_ROPE: dict[str, Any] = {"rope_parameters": rope(2, 1, 1, partial_rotary_factor=0.5)}


@family("vlm", what="a convolution halves the grid between the tower's blocks and its merger")
def glm4v(tr):
    config = tr.Glm4vConfig(vision_config=qwen(image_size=32), text_config=llm(**_GLM_ROPE), **_GLM)
    return tr.Glm4vForConditionalGeneration(config), packed()


@family("vlm", what="glm4v's parts put together by their configurations")
def glm46v(tr):
    config = tr.Glm46VConfig(
        vision_config=qwen(model_type="glm4v_vision", image_size=32), text_config=llm("glm4v_text", **_GLM_ROPE), **_GLM
    )
    return tr.Glm46VForConditionalGeneration(config), packed()


@family("vlm", what="glm46v under another name")
def glmga(tr):
    eye = qwen(model_type="glm4v_vision", image_size=32)
    config = tr.GlmgaConfig(vision_config=eye, text_config=llm("glm4v_text", **_GLM_ROPE), **_GLM)
    return tr.Glm46VForConditionalGeneration(config), packed()


@family("vlm", what="glm4v with experts")
def glm4v_moe(tr):
    text = llm(**routed(), **_GLM_ROPE, first_k_dense_replace=1)
    config = tr.Glm4vMoeConfig(vision_config=qwen(image_size=32), text_config=text, **_GLM)
    return tr.Glm4vMoeForConditionalGeneration(config), packed()


@family("vlm", what="glm4v without learned positions")
def glm_ocr(tr):
    config = tr.GlmOcrConfig(vision_config=qwen(image_size=32), text_config=llm(rope_parameters=rope(2, 3, 3)), **_GLM)
    return tr.GlmOcrForConditionalGeneration(config), packed()


@family("vlm", what="two residual streams on an axis of their own; linear and indexed attention; blocks return tuples")
def glm5_next(tr):
    text = llm(
        **latent(qk_nope_head_dim=16),
        **routed(),
        **INDEXED,
        linear_head_dim=16,
        linear_num_heads=4,
        hc_mult=2,
        hc_sinkhorn_iters=3,
    )
    del text["qk_rope_head_dim"]
    config = tr.Glm5NextConfig(
        vision_config=qwen(image_size=32, projection_intermediate_size=64), text_config=text, **_GLM
    )
    return tr.Glm5NextForConditionalGeneration(config), packed()


@family("vlm", what="the merger is outside the tower; image tokens and text tokens have different experts")
def ernie4_5_vl_moe(tr):
    config = tr.Ernie4_5_VLMoeConfig(
        vision_config={
            "depth": 3,
            "hidden_size": EYE,
            "num_heads": 4,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_merge_size": 2,
            "intermediate_size": 48,
        },
        text_config=llm(
            moe_intermediate_size=[32, 16],
            moe_k=2,
            moe_num_experts=4,
            moe_num_shared_experts=1,
            rope_parameters=rope(3, 3, 2),
        ),
        tie_word_embeddings=False,
        **_GLM,
    )
    batch = packed(temporal=1)
    return tr.Ernie4_5_VLMoeForConditionalGeneration(config), batch | {
        "moe_mm_token_type_ids": batch["mm_token_type_ids"]
    }


@family("vlm", what="the projector is outside the tower")
def cosmos3_edge(tr):
    config = tr.Cosmos3EdgeConfig(
        vision_config=tower(patch_size=4, num_patches=64, spatial_merge_size=2),
        text_config=llm(head_dim=16, rope_parameters=rope(3, 3, 2)),
        projector_hidden_size=64,
        **specials(),
    )
    return tr.Cosmos3EdgeForConditionalGeneration(config), packed(temporal=1)


@family("vlm", what="experts inside the tower; a tower for sound is idle; image features only from the inner model")
def dots3_note(tr):
    config = tr.Dots3NoteConfig(
        vision_config=tower(
            patch_size=4,
            moe_intermediate_size=32,
            spatial_merge_size=2,
            mlp_layer_types=["dense", "sparse", "sparse"],
            num_local_experts=4,
            num_experts_per_tok=2,
            adapter_in_dim=EYE,
            adapter_out_dim=WIDTH,
            adapter_merge_size=2,
        ),
        audio_config={
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "feature_size": 16,
            "downsample_hidden_size": 8,
            "adapter_input_size": 32,
            "adapter_out_dim": WIDTH,
        },
        text_config=llm(
            **latent(),
            **routed(),
            **INDEXED,
            head_dim=16,
            sliding_window=64,
            shared_experts_intermediate_size=32,
            swa_num_attention_heads=4,
            swa_num_key_value_heads=4,
            swa_q_lora_rank=16,
            swa_kv_lora_rank=16,
            swa_head_dim=16,
            swa_qk_nope_head_dim=8,
            swa_v_head_dim=16,
        ),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        audio_token_id=AUDIO,
    )
    return tr.Dots3NoteForConditionalGeneration(config), packed(temporal=1, types=None)


@family("vlm", what="image placeholders are replaced by token 0 before they are embedded; latent attention and experts")
def kimi_k25(tr):
    config = tr.Kimi_K25Config(
        vision_config=tower(patch_size=4, pos_emb_height=8, pos_emb_width=8, pos_emb_time=2),
        text_config=llm("deepseek_v3", **latent(), **routed(), n_group=1, topk_group=1, first_k_dense_replace=1),
        projection_hidden_size=EYE,
        tie_word_embeddings=False,
        **specials(),
    )
    return tr.Kimi_K25ForConditionalGeneration(config), packed(square=True, types=None)


@family("vlm", what="convolutions and attention by turns, in the tower and in the language model")
def lfm3_vl(tr):
    config = tr.Lfm3VlConfig(
        vision_config=tower(patch_size=4, num_key_value_heads=2, layer_types=["conv", "full_attention", "conv"]),
        text_config=llm("lfm3"),
        projector_hidden_size=64,
        tie_word_embeddings=False,
        **specials(),
    )
    return tr.Lfm3VlForConditionalGeneration(config), packed(types=None)


@family("vlm", "minimax_m3_vl", what="patches in a batch of one; the projector merges after it projected; experts")
def minimax_m3_vl(tr):
    config = tr.MiniMaxM3VLConfig(
        vision_config=tower(hidden_size=48, patch_size=4, image_size=32),
        text_config=llm(
            head_dim=16,
            num_local_experts=4,
            num_experts_per_tok=2,
            intermediate_size=32,
            dense_intermediate_size=64,
            shared_intermediate_size=32,
            rotary_dim=8,
            index_n_heads=2,
            index_head_dim=16,
        ),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        projector_hidden_size=64,
    )
    return tr.MiniMaxM3SparseForConditionalGeneration(config), packed(types=None)


@family("vlm", what="the tower nested one level deeper; patches come as little images")
def paddleocr_vl(tr):
    config = tr.PaddleOCRVLConfig(
        vision_config=tower(image_size=32, patch_size=4),
        text_config=llm(head_dim=16, rope_parameters=rope(2, 3, 3)),
        tie_word_embeddings=False,
        **specials(),
    )
    return tr.PaddleOCRVLForConditionalGeneration(config), packed(square=True)


@family("vlm", what="patches merge after the tower by bilinear shrinking, at a rate that is an input")
def video_llama_3(tr):
    config = tr.VideoLlama3Config(
        vision_config=tower(patch_size=4), text_config=llm("qwen2"), image_token_id=IMAGE, video_token_id=VIDEO
    )
    batch = packed(temporal=1, types=None, image_merge_sizes=np.array([2, 2]))
    return tr.VideoLlama3ForConditionalGeneration(config), batch


@family(
    "vlm",
    what="begin, newline and end rows made by the merger, which runs once per image; text positions have four axes",
)
def hunyuan_vl(tr):
    config = tr.HunYuanVLConfig(
        vision_config=tower(image_size=32, patch_size=4, max_image_size=32, out_hidden_size=WIDTH),
        text_config=llm(head_dim=16, rope_parameters=rope(2, 2, 2, 2)),
        image_token_id=IMAGE,
        im_start_id=START,
        im_end_id=END,
        im_newline_id=244,
        tie_word_embeddings=False,
    )
    # 4 x 4 and 4 x 6 merged patches, a newline after each line, one row before and one behind.
    batch = packed(temporal=1, counts=(4 * 5 + 2, 4 * 7 + 2))
    return tr.HunYuanVLForConditionalGeneration(config), batch
