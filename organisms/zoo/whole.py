"""Every image is one picture of a fixed size, and its patches (or a grid pooled from them) replace the placeholders."""

from __future__ import annotations

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import (
    BLOCKS,
    END,
    EYE,
    IMAGE,
    START,
    VIDEO,
    VOCAB,
    WIDTH,
    clip,
    images,
    llm,
    normal,
    padded,
    pixtral,
    sam,
    siglip,
    tokens,
    tower,
)


@family(
    "vlm",
    what="the tower is read at its second to last block, without the class token; its last block is idle",
)
def llava(tr):
    config = tr.LlavaConfig(vision_config=clip(), text_config=llm("llama"), image_token_index=IMAGE)
    return tr.LlavaForConditionalGeneration(config), tokens(16, 16, pixel_values=images())


@family("vlm", "llava", what="tower and language model have the same width, depth and number of heads")
def llava_twins(tr):
    eye = clip(hidden_size=WIDTH, num_hidden_layers=BLOCKS, intermediate_size=96)
    config = tr.LlavaConfig(vision_config=eye, text_config=llm("llama"), image_token_index=IMAGE)
    return tr.LlavaForConditionalGeneration(config), tokens(16, 16, pixel_values=images())


@family("vlm", "llava", what="two images in the second sample, one in the first")
def llava_two_images(tr):
    model, _ = llava.build(tr)
    return model, tokens([16], [16, 16], pixel_values=images(3))


@family("vlm", "llava", what="a batch padded on the left")
def llava_left_padded(tr):
    model, batch = llava.build(tr)
    return model, padded(batch, "left")


@family("vlm", "llava", what="a batch padded on the right")
def llava_right_padded(tr):
    model, batch = llava.build(tr)
    return model, padded(batch, "right")


@family(
    "vlm",
    "llava",
    what="Pixtral's tower: the patches of all images in one row of batch size 1; images of different size",
)
def llava_pixtral(tr):
    config = tr.LlavaConfig(
        vision_config=pixtral(),
        text_config=llm("mistral"),
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    sizes = np.array([[28, 28], [28, 42]])
    batch = tokens(16, 24, pixel_values=normal(2, 3, 28, 42), image_sizes=sizes)
    return tr.LlavaForConditionalGeneration(config), batch


@family("vlm", what="three blocks of the tower, one beside the other, enter the projector")
def vipllava(tr):
    config = tr.VipLlavaConfig(
        vision_config=clip(), text_config=llm("llama"), image_token_index=IMAGE, vision_feature_layer=[-1, -2, 1]
    )
    return tr.VipLlavaForConditionalGeneration(config), tokens(16, 16, pixel_values=images())


@family("vlm", what="two towers, of which the one for video is idle on images")
def video_llava(tr):
    config = tr.VideoLlavaConfig(
        vision_config=clip(), text_config=llm("llama"), image_token_index=IMAGE, video_token_index=VIDEO
    )
    return tr.VideoLlavaForConditionalGeneration(config), tokens(16, 16, pixel_values=images())


def _gemma3(tr):
    gemma = llm(head_dim=16, sliding_window=16, query_pre_attn_scalar=16)
    return tr.Gemma3Config(
        vision_config=siglip(),
        text_config=gemma,
        image_token_index=IMAGE,
        mm_tokens_per_image=4,
        boi_token_index=START,
        eoi_token_index=END,
    )


@family(
    "vlm",
    what="embeddings scaled inside the table; image tokens attend to each other in both directions; pooled to 4 rows",
)
def gemma3(tr):
    batch = tokens([4], [4, 4], types="token_type_ids", pixel_values=images(3))
    return tr.Gemma3ForConditionalGeneration(_gemma3(tr)), batch


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
    return tr.JanusForConditionalGeneration(config), tokens(16, 16, pixel_values=images())


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
    batch = tokens(16, 16, pixel_values=images(), high_res_pixel_values=images(2, 64, seed=9))
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
    return tr.FastVlmForConditionalGeneration(config), tokens(16, 16, pixel_values=images(2, 64))


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
    return tr.PerceptionLMForConditionalGeneration(config), tokens(4, 4, pixel_values=normal(2, 1, 3, 28, 28))
