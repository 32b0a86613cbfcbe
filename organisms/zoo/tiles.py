"""An image becomes several tiles of a fixed size, which run through the tower as a batch of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import (
    END,
    IMAGE,
    START,
    VIDEO,
    WIDTH,
    clip,
    images,
    llm,
    normal,
    siglip,
    tokens,
    tower,
)

_GRIDS = [[28, 56], [56, 28], [56, 56]]


def anyres(first: int = 16 + 4 * 9, second: int = 16 + 8 * 7):
    """Images of 28 x 56 and 50 x 40 pixels: a thumbnail and 2 or 4 tiles of 28 x 28, taking `first` and `second` rows.

    With 4 x 4 patches a tile, the thumbnail's 16 rows are followed by 4 lines of 8 patches and a newline, or by 8 lines
    of 6 (two columns of padding are cut) and a newline.
    """
    pixels = normal(2, 5, 3, 28, 28)
    pixels[0, 3:] = 0
    sizes = np.array([[28, 56], [50, 40]])
    return tokens(first, second, pixel_values=pixels, image_sizes=sizes)


@family("vlm", what="tiles of any aspect: padding is cut out of the rows, a learned newline ends each line of patches")
def llava_next(tr):
    config = tr.LlavaNextConfig(
        vision_config=clip(), text_config=llm("llama"), image_token_index=IMAGE, image_grid_pinpoints=_GRIDS
    )
    return tr.LlavaNextForConditionalGeneration(config), anyres()


@family("vlm", what="llava_next with a pooler for video that is idle on images")
def llava_next_video(tr):
    config = tr.LlavaNextVideoConfig(
        vision_config=clip(),
        text_config=llm("llama"),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=_GRIDS,
    )
    return tr.LlavaNextVideoForConditionalGeneration(config), anyres()


@family("vlm", what="tiles of any aspect over SigLIP, all patches kept; newline rows")
def llava_onevision(tr):
    config = tr.LlavaOnevisionConfig(
        vision_config=siglip(),
        text_config=llm("qwen2"),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=_GRIDS,
    )
    return tr.LlavaOnevisionForConditionalGeneration(config), anyres()


@family("vlm", what="the projector shuffles 2 x 2 patches into one row; attention and MLP of a block side by side")
def aya_vision(tr):
    config = tr.AyaVisionConfig(
        vision_config=siglip(),
        text_config=llm("cohere2", sliding_window=32, head_dim=16),
        image_token_index=IMAGE,
    )
    return tr.AyaVisionForConditionalGeneration(config), tokens(4, 8, pixel_values=images(3))


@family("vlm", what="pixel shuffle and a gated projector")
def cohere2_vision(tr):
    config = tr.Cohere2VisionConfig(
        vision_config=siglip(),
        text_config=llm("cohere2", sliding_window=32, head_dim=16),
        image_token_id=IMAGE,
        alignment_intermediate_size=64,
    )
    return tr.Cohere2VisionForConditionalGeneration(config), tokens(4, 8, pixel_values=images(3))


_INTERN: dict[str, Any] = {"image_size": [28, 28], "patch_size": [7, 7]}


@family("vlm", what="pixel shuffle between tower and projector; 2 tiles in the second sample")
def internvl(tr):
    config = tr.InternVLConfig(
        vision_config=tower(**_INTERN),
        text_config=llm("qwen2"),
        image_token_id=IMAGE,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    return tr.InternVLForConditionalGeneration(config), tokens(4, 8, pixel_values=images(3))


@family("vlm", what="internvl over Qwen3")
def qianfan_ocr(tr):
    config = tr.QianfanOCRConfig(
        vision_config=tower(**_INTERN), text_config=llm("qwen3", head_dim=16), image_token_id=IMAGE, image_seq_length=4
    )
    return tr.QianfanOCRForConditionalGeneration(config), tokens(4, 8, pixel_values=images(3))


@family("vlm", what="the class token comes last; pixel shuffle inside the tower; experts; attention in chunks")
def llama4(tr):
    config = tr.Llama4Config(
        vision_config=tower(
            intermediate_size=128, vision_output_dim=48, projector_input_dim=48, projector_output_dim=48
        ),
        text_config=llm(
            head_dim=16,
            intermediate_size_mlp=96,
            num_local_experts=2,
            num_experts_per_tok=1,
            interleave_moe_layer_step=2,
            attention_chunk_size=64,
        ),
        image_token_index=IMAGE,
        boi_token_index=START,
        eoi_token_index=END,
    )
    return tr.Llama4ForConditionalGeneration(config), tokens(4, 8, pixel_values=images(3))


def two_images(rows: int):
    """One image in the first sample, whose second is padding that the model drops, and two in the second."""
    pixels = normal(2, 2, 3, 28, 28)
    pixels[0, 1] = 0
    return tokens([rows], [rows, rows], pixel_values=pixels)


@family(
    "vlm",
    what="an axis of images per sample, whose padding the model drops; the connector shuffles 2 x 2 patches into one",
)
def idefics3(tr):
    config = tr.Idefics3Config(vision_config=tower(), text_config=llm("llama"), image_token_id=IMAGE, scale_factor=2)
    return tr.Idefics3ForConditionalGeneration(config), two_images(4)


@family("vlm", what="idefics3 under another name")
def smolvlm(tr):
    config = tr.SmolVLMConfig(vision_config=tower(), text_config=llm("llama"), image_token_id=IMAGE, scale_factor=2)
    return tr.SmolVLMForConditionalGeneration(config), two_images(4)


@family("vlm", what="a masked language model, which reads in both directions; its embeddings are normed")
def modernvbert(tr):
    text = llm("modernbert", local_attention=32, cls_token_id=1, sep_token_id=2)
    text.pop("num_key_value_heads")
    config = tr.ModernVBertConfig(
        text_config=text, vision_config=siglip(), image_token_id=IMAGE, pixel_shuffle_factor=2
    )
    return tr.ModernVBertForMaskedLM(config), two_images(4)


@family("vlm", what="modernvbert over another bidirectional model")
def ultravbert(tr):
    text = llm("ultrabert")
    config = tr.UltraVBertConfig(text_config=text, vision_config=siglip(), image_token_id=IMAGE, pixel_shuffle_factor=2)
    return tr.UltraVBertForMaskedLM(config), two_images(4)


@family(
    "vlm",
    what="blocks of the tower called one by one, the connector inside it, features of two more blocks added deeper in",
)
def granite_docling(tr):
    config = tr.GraniteDoclingConfig(
        vision_config=tower(
            image_size=32, patch_size=4, out_hidden_size=WIDTH, scale_factor=4, deepstack_visual_indexes=[0, 1]
        ),
        text_config=llm(),
        image_token_id=IMAGE,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    real = np.array([[True, False], [True, True]])
    batch = tokens(4, 8, pixel_values=normal(2, 2, 3, 32, 32), pixel_attention_mask=real)
    return tr.GraniteDoclingForConditionalGeneration(config), batch
