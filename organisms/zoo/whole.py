"""Every image is one picture of a fixed size, and its patches (or a grid pooled from them) replace the placeholders."""

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
    images,
    llm,
    normal,
    sam,
    siglip,
    tokens,
    tower,
)


def _gemma3() -> dict[str, Any]:
    gemma = llm(head_dim=16, sliding_window=16, query_pre_attn_scalar=16)
    return {
        "vision_config": siglip(),
        "text_config": gemma,
        "image_token_index": IMAGE,
        "mm_tokens_per_image": 4,
        "boi_token_index": START,
        "eoi_token_index": END,
    }


@family(
    "vlm",
    what="embeddings scaled inside the table; image tokens attend to each other in both directions; pooled to 4 rows",
)
def gemma3(tr):
    batch = tokens([4], [4, 4], types="token_type_ids", pixel_values=images(3))
    return tr.Gemma3ForConditionalGeneration(tr.Gemma3Config(**_gemma3())), batch


@family("vlm", what="gemma3 that judges images, asked for one token")
def shieldgemma2(tr):
    batch = tokens([4], [4, 4], types="token_type_ids", pixel_values=images(3))
    return tr.Gemma3ForConditionalGeneration(tr.ShieldGemma2Config(**_gemma3())), batch


@family(
    "vlm", "shieldgemma2", what="gemma3 inside a classifier, which returns the last token's logits of yes and no alone"
)
def shieldgemma2_classifier(tr):
    _, batch = shieldgemma2.build(tr)
    config = tr.ShieldGemma2Config(**_gemma3(), yes_token_index=20, no_token_index=21)
    return tr.ShieldGemma2ForImageClassification(config), batch


@family("vlm", what="the language model scales all its inputs, image rows included")
def paligemma(tr):
    config = tr.PaliGemmaConfig(
        vision_config=siglip(),
        text_config=llm("gemma", head_dim=16, num_key_value_heads=1),
        image_token_index=IMAGE,
        projection_dim=WIDTH,
        hidden_size=WIDTH,
    )
    batch = tokens(16, 16, pixel_values=images())
    batch["token_type_ids"] = np.zeros_like(batch["input_ids"])
    return tr.PaliGemmaForConditionalGeneration(config), batch


@family(
    "vlm",
    "pi0",
    what="acts instead of talking: a second language model reads the first one's key-value cache; no unembedding",
)
def pi0(tr):
    gemma = {"num_key_value_heads": 1, "head_dim": 16}
    config = tr.PI0Config(
        vlm_config={
            "model_type": "paligemma",
            "text_config": llm("gemma", **gemma),
            "vision_config": siglip(),
            "projection_dim": WIDTH,
            "image_token_index": IMAGE,
            "hidden_size": WIDTH,
        },
        dit_config=llm("gemma", hidden_size=32, intermediate_size=48, **gemma),
        chunk_size=5,
        max_state_dim=6,
        max_action_dim=6,
    )
    batch = tokens(
        16,
        16,
        pixel_values=normal(2, 1, 3, 28, 28),
        pixel_attention_mask=np.ones((2, 1), dtype=bool),
        state=normal(2, 6, seed=4),
        noise=normal(2, 5, 6, seed=5),
        timestep=np.array([0.3, 0.6], dtype=np.float32),
    )
    return tr.PI0ForConditionalGeneration(config), batch


@family("vlm", what="Segment Anything's tower: channels last, attention in windows, a projector that convolves")
def got_ocr2(tr):
    config = tr.GotOcr2Config(
        vision_config=sam(), text_config=llm("qwen2"), image_token_index=IMAGE, image_seq_length=16
    )
    return tr.GotOcr2ForConditionalGeneration(config), tokens([16], [16, 16], pixel_values=images(3, 64))


@family("vlm", what="got_ocr2 for charts")
def pp_chart2table(tr):
    config = tr.PPChart2TableConfig(
        vision_config=sam(), text_config=llm("qwen2"), image_token_index=IMAGE, image_seq_length=16
    )
    return tr.GotOcr2ForConditionalGeneration(config), tokens([16], [16, 16], pixel_values=images(3, 64))


@family("vlm", what="an image generator lies idle beside the tower")
def janus(tr):
    config = tr.JanusConfig(
        vision_config=tower(projection_dim=WIDTH, num_image_tokens=16, depth=2),
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 16,
            "latent_channels": 32,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "projection_dim": WIDTH,
            "image_token_embed_dim": WIDTH,
        },
        text_config=llm("llama"),
        image_token_id=IMAGE,
        tie_word_embeddings=False,
    )
    return tr.JanusForConditionalGeneration(config), tokens([16], [16, 16], pixel_values=images(3))


@family("vlm", what="SigLIP and a two-layer aligner")
def deepseek_vl(tr):
    config = tr.DeepseekVLConfig(vision_config=siglip(), text_config=llm("llama"), image_token_id=IMAGE)
    return tr.DeepseekVLForConditionalGeneration(config), tokens([16], [16, 16], pixel_values=images(3))


@family("vlm", what="two towers read two copies of the image, coarse and fine, and meet in the aligner")
def deepseek_vl_hybrid(tr):
    config = tr.DeepseekVLHybridConfig(
        vision_config=siglip(),
        high_res_vision_config=sam(model_type="sam_vision_model", global_attn_indexes=[1, 2]),
        text_config=llm("llama"),
        image_token_id=IMAGE,
    )
    batch = tokens([16], [16, 16], pixel_values=images(3), high_res_pixel_values=images(3, 64, seed=9))
    return tr.DeepseekVLHybridForConditionalGeneration(config), batch


@family(
    "vlm", what="the projector is a table of visual words read softly; the tokens around the image are rows of it too"
)
def ovis2(tr):
    config = tr.Ovis2Config(
        vision_config=tower(vocab_size=40, hidden_stride=2),
        text_config=llm("qwen2"),
        image_token_id=IMAGE,
        visual_indicator_token_ids=[START, END, 243, 244, 245],
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        tie_word_embeddings=False,
    )
    return tr.Ovis2ForConditionalGeneration(config), tokens([4], [4, 4], pixel_values=images(3))


@family("vlm", what="a ConvNeXt tower in place of the timm one it ships with: channels first, halved stage by stage")
def fast_vlm(tr):
    eye = {
        "model_type": "convnext",
        "num_stages": 3,
        "hidden_sizes": [8, 16, EYE],
        "depths": [1, 2, 1],
        "image_size": 64,
        "hidden_size": EYE,
    }
    config = tr.FastVlmConfig(vision_config=eye, text_config=llm("qwen2"), image_token_index=IMAGE)
    return tr.FastVlmForConditionalGeneration(config), tokens([16], [16, 16], pixel_values=images(3, 64))


@family(
    "vlm", what="a SigLIP tower in place of the timm one it ships with; the projector pools after its MLP; a tile axis"
)
def perception_lm(tr):
    config = tr.PerceptionLMConfig(
        vision_config=siglip(),
        text_config=llm("llama"),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_use_cls_token=False,
        projector_pooling_ratio=2,
    )
    config.vision_config.model_args = {"embed_dim": EYE}
    return tr.PerceptionLMForConditionalGeneration(config), tokens([4], [4, 4], pixel_values=normal(3, 1, 3, 28, 28))


@family(
    "vlm",
    what="a ConvNeXt tower in place of the timm one it ships with; four residual streams in front of the batch axis",
)
def gemma3n(tr):
    config = tr.Gemma3nConfig(
        text_config=llm(
            head_dim=16,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"] * 2,
            vocab_size_per_layer_input=240,
            hidden_size_per_layer_input=8,
            altup_num_inputs=4,
            laurel_rank=8,
            num_kv_shared_layers=0,
            activation_sparsity_pattern=[0.95, 0.95, 0.0, 0.0],
        ),
        audio_config={
            "hidden_size": 32,
            "vocab_offset": 400,
            "conf_num_hidden_layers": 1,
            "conf_num_attention_heads": 2,
            "sscp_conv_channel_size": [8, 4],
            "vocab_size": 8,
        },
        image_token_id=IMAGE,
        boi_token_id=START,
        eoi_token_id=END,
        audio_token_id=AUDIO,
        vision_soft_tokens_per_image=16,
    )
    eye = tr.ConvNextConfig(num_stages=3, hidden_sizes=[8, 16, EYE], depths=[1, 2, 1], image_size=64)
    eye.update({"hidden_size": EYE, "vocab_size": 16, "vocab_offset": 240, "rms_norm_eps": 1e-6})
    object.__setattr__(config, "vision_config", eye)  # its type check admits only timm's
    return tr.Gemma3nForConditionalGeneration(config), tokens([16], [16, 16], pixel_values=images(3, 64))
