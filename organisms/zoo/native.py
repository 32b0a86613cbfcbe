"""Images keep their own size, in a rectangle, a strip of patches or lists of patches that is padded or packed."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import (
    END,
    EYE,
    IMAGE,
    INDEXED,
    MAMBA,
    START,
    VIDEO,
    latent,
    listed,
    llm,
    normal,
    pixtral,
    rope,
    routed,
    tokens,
    tower,
)


def _pixtral_batch(rows=(4, 6)):
    sizes = np.array([[28, 28], [28, 42]])
    return tokens(*rows, pixel_values=normal(2, 3, 28, 42), image_sizes=sizes)


@family("vlm", what="Pixtral's tower; the projector gathers 2 x 2 patches of each image before it projects")
def mistral3(tr):
    config = tr.Mistral3Config(
        vision_config=pixtral(),
        text_config=llm("mistral", head_dim=16),
        image_token_index=IMAGE,
        spatial_merge_size=2,
    )
    return tr.Mistral3ForConditionalGeneration(config), _pixtral_batch()


@family("vlm", what="mistral3's eye over Qwen3")
def lighton_ocr(tr):
    config = tr.LightOnOcrConfig(
        vision_config=pixtral(),
        text_config=llm("qwen3", head_dim=16),
        image_token_id=IMAGE,
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )
    return tr.LightOnOcrForConditionalGeneration(config), _pixtral_batch()


@family("vlm", what="mistral3's eye; latent attention to an indexed choice of tokens; experts; blocks return tuples")
def mistral_large4(tr):
    config = tr.MistralLarge4Config(
        vision_config=pixtral(),
        text_config=llm(**latent(), **routed(), **INDEXED),
        image_token_index=IMAGE,
        spatial_merge_size=2,
    )
    return tr.MistralLarge4ForConditionalGeneration(config), _pixtral_batch()


def _minicpm(mode: str, **settings: Any) -> dict[str, Any]:
    """Qwen3.5's language model under a tower that merges 2 x 2 patches after its first block."""
    half = rope(3, 3, 2, mrope_interleaved=True, partial_rotary_factor=1.0)
    return {
        "vision_config": tower(image_size=32, patch_size=4),
        "text_config": llm("qwen3_5_text", head_dim=16, rope_parameters=half, **MAMBA),
        "insert_layer_id": 0,
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "downsample_mode": mode,
        "tie_word_embeddings": False,
    } | settings


def _strip(first: int, second: int, **settings: Any) -> dict[str, Any]:
    """Images of 8 x 8 and 8 x 12 patches, side by side in one strip a patch high."""
    sizes = np.array([[8, 8], [8, 12]])
    return tokens(first, second, pixel_values=normal(1, 3, 4, 4 * 160), target_sizes=sizes, **settings)


@family("vlm", what="patches in one strip; a merger between the tower's blocks; the projector runs once per image")
def minicpmv4_6(tr):
    return tr.MiniCPMV4_6ForConditionalGeneration(tr.MiniCPMV4_6Config(**_minicpm("16x"))), _strip(4, 6)


@family("vlm", what="minicpmv4_6 with positions on a canvas, laid out between marker tokens")
def minicpmv4_7(tr):
    markers = {
        "image_start_id": START,
        "image_end_id": END,
        "slice_start_id": 244,
        "slice_end_id": 245,
        "newline_id": 246,
    }
    config = tr.MiniCPMV4_7Config(**_minicpm("16x", **markers))
    return tr.MiniCPMV4_7ForConditionalGeneration(config), _strip(4, 6, types="mm_token_type_ids")


@family("vlm", what="minicpmv4_6 without its window merger")
def minicpm_ocr(tr):
    return tr.MiniCPMOcrForConditionalGeneration(tr.MiniCPMOcrConfig(**_minicpm("4x"))), _strip(16, 24)


@family("vlm", what="SigLIP 2 on padded lists of patches; the projector runs once per image; convolutions by turns")
def lfm2_vl(tr):
    eye = tower("siglip2_vision_model", patch_size=4, num_patches=64, vision_use_head=False)
    del eye["image_size"]
    config = tr.Lfm2VlConfig(
        vision_config=eye,
        text_config=llm("lfm2", layer_types=["conv", "full_attention"] * 2),
        image_token_id=IMAGE,
        projector_hidden_size=64,
        tie_word_embeddings=False,
    )
    return tr.Lfm2VlForConditionalGeneration(config), tokens(4, 6, **listed())


@family(
    "vlm", what="RADIO's tower with class and register tokens; state space, experts, attention and MLP blocks by turns"
)
def nemotron_h_omni(tr):
    config = tr.NemotronH_Omni_Reasoning_V3_Config(
        vision_config={
            "model_type": "radio",
            "hidden_size": EYE,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "mlp_ratio": 2.0,
            "patch_size": 4,
            "image_size": 32,
            "max_img_size": 64,
            "num_cls_tokens": 1,
            "num_registers": 3,
            "video_temporal_patch_size": 2,
            "summary_idxs": [0],
        },
        text_config=nemotron_text(model_type="nemotron_h"),
        audio_config=None,
        vision_hidden_size=EYE,
        projector_hidden_size=64,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        video_temporal_patch_size=2,
    )
    config.audio_config = None  # the constructor puts a default there
    batch = tokens(16, 24, pixel_values=normal(160, 48), image_grid_hw=np.array([[8, 8], [8, 12]]))
    return tr.NemotronH_Omni_Reasoning_V3(config), batch


def nemotron_text(**settings: Any) -> dict[str, Any]:
    """Nemotron-H: a block each of state space, experts, attention and MLP."""
    config = llm(
        head_dim=16,
        use_mamba_kernels=False,
        ssm_state_size=16,
        mamba_num_heads=4,
        mamba_head_dim=16,
        n_groups=2,
        chunk_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        moe_shared_expert_intermediate_size=32,
        layers_block_type=["linear_attention", "moe", "full_attention", "mlp"],
        **settings,
    )
    del config["num_hidden_layers"]
    return config
