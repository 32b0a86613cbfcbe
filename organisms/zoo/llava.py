"""LLaVA, its nearest relatives, and the batches that it may get."""

from __future__ import annotations

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import (
    BLOCKS,
    IMAGE,
    VIDEO,
    WIDTH,
    clip,
    images,
    llm,
    normal,
    padded,
    pixtral,
    tokens,
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
    return tr.VipLlavaForConditionalGeneration(config), tokens([16], [16, 16], pixel_values=images(3))


@family("vlm", what="two towers, of which the one for video is idle on images")
def video_llava(tr):
    config = tr.VideoLlavaConfig(
        vision_config=clip(), text_config=llm("llama"), image_token_index=IMAGE, video_token_index=VIDEO
    )
    return tr.VideoLlavaForConditionalGeneration(config), tokens([16], [16, 16], pixel_values=images(3))
