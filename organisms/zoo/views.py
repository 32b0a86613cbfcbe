"""An image is shown twice: as a whole, and in crops of higher resolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import AUDIO, EYE, IMAGE, WIDTH, images, llm, normal, routed, sam, tokens, tower
from organisms.zoo.tiles import anyres


@family("vlm", what="tower and projector run twice, over the whole image and over its crops, whose rows come first")
def step3p7(tr):
    config = tr.Step3p7Config(
        vision_config={
            "hidden_size": EYE,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 4,
            "mlp_ratio": 2.0,
        },
        text_config=llm(
            **routed(num_local_experts=4),
            head_dim=16,
            share_expert_dim=32,
            sliding_window=32,
            layer_types=["full_attention", "sliding_attention"] * 2,
            mlp_layer_types=["dense", "sparse"] * 2,
        ),
        image_token_id=IMAGE,
    )
    crops = images(2, 16, seed=7)  # of 4 x 4 patches, one row each; the whole image takes four
    batch = tokens(2 + 4, 4, pixel_values=images(2, 32), pixel_values_local=crops, num_local_patches=[2, 0])
    return tr.Step3p7ForConditionalGeneration(config), batch


@family(
    "vlm",
    what="Segment Anything feeds CLIP, both enter the projector; the tower runs twice; newline and separator rows",
)
def unlimited_ocr(tr):
    config = tr.UnlimitedOcrConfig(
        vision_config={
            "sam_config": sam(downsample_channels=[24, EYE]),
            "encoder_config": tower(image_size=64, patch_size=16),
        },
        text_config=llm(**routed(), sliding_window=512),
        image_token_id=IMAGE,
    )
    # The whole image: 4 lines of 4 patches and a newline, then a separator. Two crops side by side: 2 lines of 5.
    batch = tokens(
        10 + 21,
        21,
        pixel_values=images(2, 64),
        pixel_values_local=images(2, 32, seed=7),
        num_local_patches=[2, 0],
        patches_grid=[[2, 1], [1, 1]],
    )
    return tr.UnlimitedOcrForConditionalGeneration(config), batch


@family(
    "vlm",
    what="144 queries per view read Segment Anything's patches inside a causal stack; the tower runs twice",
)
def deepseek_ocr2(tr):
    config = tr.DeepseekOcr2Config(
        vision_config={
            "sam_config": sam(downsample_channels=[24, EYE]),
            "encoder_config": llm(hidden_size=EYE, intermediate_size=48, num_hidden_layers=3),
        },
        text_config=llm(**routed(), mlp_layer_types=["dense", *["sparse"] * 3]),
        image_token_id=IMAGE,
    )
    batch = tokens(
        2 * 144 + 144 + 1,
        144 + 1,
        pixel_values=images(2, 64),
        pixel_values_local=images(2, 32, seed=7),
        num_local_patches=[2, 0],
    )
    return tr.DeepseekOcr2ForConditionalGeneration(config), batch


@family(
    "vlm",
    what="image placeholders start as zeros; six projectors add features before six blocks; tiles and newline rows",
)
def granite4_vision(tr):
    eye = tower("clip_vision_model", hidden_size=64, num_attention_heads=4)
    config = tr.Granite4VisionConfig(
        vision_config=eye,
        text_config=llm(num_hidden_layers=7),
        qformer_config={
            "model_type": "blip_2_qformer",
            "num_hidden_layers": 1,
            "intermediate_size": 64,
            "cross_attention_frequency": 1,
            "max_position_embeddings": 64,
            "use_qformer_text_input": False,
        },
        image_token_index=IMAGE,
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
        downsample_rate="1/2",
        deepstack_layer_map=[[-2, 0], [0, 1]],
        spatial_target_layers=[2, 3, 4, 5],
    )
    # A tile has 2 x 2 rows: 2 lines of 4, and 4 lines of 2 (the padded columns are cut), each ended by a newline.
    return tr.Granite4VisionForConditionalGeneration(config), anyres(4 + 2 * 5, 4 + 4 * 5)


@family(
    "vlm",
    what="image rows are added to the placeholders' embeddings, pooled by attention from patches listed in an input",
)
def molmo2(tr):
    eye: dict[str, Any] = {"hidden_size": EYE, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8}
    config = tr.Molmo2Config(
        vision_config={
            **eye,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "image_size": [28, 28],
            "patch_size": 7,
        },
        adapter_config={**eye, "vision_feature_layer": [2, 0], "intermediate_size": 64, "text_hidden_size": WIDTH},
        text_config=llm(head_dim=16, additional_vocab_size=8),
        image_patch_id=IMAGE,
    )
    # A whole image and, in the second sample, two crops side by side, 2 x 2 patches of each pooled into a row.
    blocks = np.arange(16).reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    crops = [blocks[:2] + 32, blocks[:2] + 48, blocks[2:] + 32, blocks[2:] + 48]
    pooling = np.concatenate([blocks, blocks + 16, *crops])
    batch = tokens(
        4,
        4 + 8,
        types="mm_token_type_ids",
        pixel_values=normal(4, 16, 147),
        image_token_pooling=pooling,
        image_grids=np.array([[2, 2, 0, 0], [2, 2, 2, 4]]),
        image_num_crops=np.array([1, 3]),
    )
    return tr.Molmo2ForConditionalGeneration(config), batch


@family(
    "vlm",
    what="tower and projector inside the language model's embeddings; crops masked and cut; newline and separator rows",
)
def phi4_multimodal(tr):
    ear = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_blocks": 2,
        "num_attention_heads": 2,
        "ext_pw_out_channel": 32,
        "depthwise_separable_out_channel": 32,
        "nemo_conv_channels": 16,
        "audio_token_id": AUDIO,
    }
    config = tr.Phi4MultimodalConfig(
        **llm(rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0}),
        vision_config=tower(crop_size=28, image_token_id=IMAGE),
        audio_config=ear,
    )
    # Crops of 28 pixels give 2 x 2 rows: one crop; two side by side, of which the last column is padding.
    seen = np.ones((2, 3, 4, 4), dtype=np.int64)
    seen[0, 2] = seen[1, 2, :, 2:] = 0
    batch = tokens(
        (2 * 3) + 1 + 6,
        (2 * 4) + 1 + 6,
        image_pixel_values=normal(2, 3, 3, 28, 28),
        image_sizes=np.array([[28, 28], [28, 56]]),
        image_attention_mask=seen,
    )
    return tr.Phi4MultimodalForCausalLM(config), batch
