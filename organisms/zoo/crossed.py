"""The language model looks at the image by cross-attention: its sequence holds no visual rows."""

from __future__ import annotations

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import (
    BLOCKS,
    EYE,
    EYE_BLOCKS,
    IMAGE,
    VOCAB,
    WIDTH,
    flattened,
    ids,
    images,
    llm,
    normal,
    sam,
    tokens,
    tower,
)


@family(
    "vlm", what="gated cross-attention blocks among the others; tiles; a tower of two stages read at several depths"
)
def mllama(tr):
    config = tr.MllamaConfig(
        vision_config={
            "hidden_size": EYE,
            "num_hidden_layers": EYE_BLOCKS,
            "num_global_layers": 2,
            "attention_heads": 4,
            "intermediate_size": 48,
            "vision_output_dim": EYE * 3,
            "image_size": 28,
            "patch_size": 7,
            "max_num_tiles": 4,
            "intermediate_layers_indices": [0, 1],
        },
        text_config=llm(cross_attention_layers=[1, 3]),
        image_token_index=IMAGE,
    )
    batch = tokens(1, 1)
    tiles = np.array([[[1, 0, 0, 0]], [[1, 1, 0, 0]]])  # a square image, and one twice as wide
    seen = np.zeros((*batch["input_ids"].shape, 1, 4), dtype=np.int64)
    for row in range(2):
        seen[row, 4 + row :] = tiles[row]
    batch |= {
        "pixel_values": normal(2, 1, 4, 3, 28, 28) * tiles[..., None, None, None].astype(np.float32),
        "aspect_ratio_ids": np.array([[1], [2]]),
        "aspect_ratio_mask": tiles,
        "cross_attention_mask": seen,
    }
    return tr.MllamaForConditionalGeneration(config), batch


@family(
    "vlm",
    what="every block reads the tower by cross-attention, keys and values at its width; no projector",
)
def blip(tr):
    text = llm(encoder_hidden_size=EYE, projection_dim=WIDTH, sep_token_id=2)
    del text["num_key_value_heads"]
    config = tr.BlipConfig(vision_config=tower(), text_config=text)
    return tr.BlipForConditionalGeneration(config), {
        "pixel_values": images(),
        "input_ids": ids(),
        "attention_mask": np.ones((2, 9), dtype=np.int64),
    }


@family(
    "vlm",
    "vision-encoder-decoder",
    what="a captioner: ViT and GPT-2 with cross-attention in every block; texts are named decoder inputs",
)
def vision_encoder_decoder(tr):
    config = tr.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        tr.ViTConfig(**tower()),
        tr.GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=WIDTH, n_layer=BLOCKS, n_head=4),
    )
    return tr.VisionEncoderDecoderModel(config=config), {"pixel_values": images(), "decoder_input_ids": ids()}


@family(
    "vlm",
    what="patches with their coordinates in front instead of pixels; no projector; blocks return tuples; no input ids",
)
def pix2struct(tr):
    t5 = {"d_kv": 16, "d_ff": 96, "num_heads": 4}
    eye = {"d_kv": 16, "d_ff": 96, "num_attention_heads": 4}
    config = tr.Pix2StructConfig(
        text_config={"vocab_size": VOCAB, "hidden_size": WIDTH, "num_layers": BLOCKS, **t5},
        vision_config={
            "hidden_size": WIDTH,
            "patch_embed_hidden_size": 48,
            "num_hidden_layers": EYE_BLOCKS,
            "seq_len": 32,
            **eye,
        },
    )
    seen = np.ones((2, 24), dtype=np.float32)
    return tr.Pix2StructForConditionalGeneration(config), {
        "flattened_patches": flattened(first=1),
        "attention_mask": seen,
        "decoder_input_ids": ids(),
    }


@family("vlm", what="Segment Anything's tower with the projector inside it, read by cross-attention in every block")
def pp_formulanet(tr):
    config = tr.PPFormulaNetConfig(
        vision_config=sam(
            post_conv_in_channels=16, post_conv_out_channels=32, post_conv_mid_channels=24, decoder_hidden_size=WIDTH
        ),
        text_config={
            "vocab_size": VOCAB,
            "encoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_layers": BLOCKS,
            "decoder_ffn_dim": 96,
            "decoder_attention_heads": 4,
            "d_model": WIDTH,
            "max_position_embeddings": 128,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
    )
    batch = {"pixel_values": images(2, 64), "decoder_input_ids": ids()}
    return tr.PPFormulaNetForConditionalGeneration(config), batch


@family("vlm", what="gated cross-attention blocks in a list of their own, run before every second block; a perceiver")
def idefics(tr):
    eye = tower(embed_dim=EYE)
    del eye["hidden_size"]
    text = llm(additional_vocab_size=0, cross_layer_interval=2, use_resampler=True, alpha_initializer="ones")
    del text["num_key_value_heads"]
    config = tr.IdeficsConfig(
        **text,
        vision_config=eye,
        perceiver_config={
            "use_resampler": True,
            "resampler_n_latents": 4,
            "resampler_depth": 2,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
        },
    )
    batch = tokens([1], [1, 1])
    seen = np.zeros((*batch["input_ids"].shape, 2), dtype=np.int64)  # a text attends to the image that it follows
    for row, starts in enumerate([[3], [4, 7]]):
        for image, at in enumerate(starts):
            seen[row, at:, :] = 0
            seen[row, at:, image] = 1
    batch |= {"pixel_values": normal(2, 2, 3, 28, 28), "image_attention_mask": seen}
    return tr.IdeficsForVisionText2Text(config), batch


@family("vlm", "vision-encoder-decoder", what="a Swin tower, whose windows merge stage by stage, under MBart")
def donut(tr):
    eye = tr.DonutSwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[2, 2, 2], num_heads=[2, 2, 4], window_size=4
    )
    text = tr.MBartConfig(
        vocab_size=VOCAB,
        d_model=WIDTH,
        decoder_layers=BLOCKS,
        decoder_attention_heads=4,
        decoder_ffn_dim=96,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = tr.VisionEncoderDecoderConfig.from_encoder_decoder_configs(eye, text)
    batch = {"pixel_values": images(2, 32), "decoder_input_ids": ids()}
    return tr.VisionEncoderDecoderModel(config=config), batch
