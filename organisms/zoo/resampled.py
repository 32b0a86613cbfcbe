"""Learned queries read the patches: an image takes as many rows as there are queries, whatever its size."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import BLOCKS, IMAGE, VIDEO, VOCAB, WIDTH, flattened, ids, images, llm, normal, tokens, tower
from organisms.zoo.tiles import two_images

_QUERIES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "cross_attention_frequency": 1,
}
_OPT: dict[str, Any] = {
    "model_type": "opt",
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": BLOCKS,
    "ffn_dim": 96,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "word_embed_proj_dim": WIDTH,
    "pad_token_id": 0,
}
_QUESTION: dict[str, Any] = {
    "qformer_input_ids": np.array([[5, 6, 7], [8, 9, 10]]),
    "qformer_attention_mask": np.ones((2, 3), dtype=np.int64),
}


@family("vlm", "blip-2", what="a Q-Former between tower and projection; OPT adds learned positions to the image rows")
def blip2(tr):
    config = tr.Blip2Config(
        vision_config=tower(), qformer_config=_QUERIES, text_config=_OPT, num_query_tokens=6, image_token_index=IMAGE
    )
    return tr.Blip2ForConditionalGeneration(config), tokens(6, 6, pixel_values=images())


@family("vlm", "blip-2", what="encoder and decoder: image rows enter T5's encoder, the decoder has none")
def blip2_t5(tr):
    t5 = {
        "model_type": "t5",
        "vocab_size": VOCAB,
        "d_model": WIDTH,
        "d_kv": 16,
        "d_ff": 96,
        "num_layers": BLOCKS,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
        "feed_forward_proj": "gated-gelu",
    }
    config = tr.Blip2Config(
        vision_config=tower(), qformer_config=_QUERIES, text_config=t5, num_query_tokens=6, image_token_index=IMAGE
    )
    batch = tokens(6, 6, pixel_values=images(), decoder_input_ids=ids(3))
    return tr.Blip2ForConditionalGeneration(config), batch


@family("vlm", what="the Q-Former reads the question too")
def instructblip(tr):
    config = tr.InstructBlipConfig(
        vision_config=tower(), qformer_config=_QUERIES, text_config=_OPT, num_query_tokens=6, image_token_index=IMAGE
    )
    return tr.InstructBlipForConditionalGeneration(config), tokens(6, 6, pixel_values=images(), **_QUESTION)


@family(
    "vlm", what="two frames under the name of pixel values, each through the Q-Former; the placeholder is the video's"
)
def instructblipvideo(tr):
    config = tr.InstructBlipVideoConfig(
        vision_config=tower(), qformer_config=_QUERIES, text_config=_OPT, num_query_tokens=3, video_token_index=VIDEO
    )
    batch = tokens(6, 6, image=VIDEO, pixel_values=normal(2, 2, 3, 28, 28), **_QUESTION)
    return tr.InstructBlipVideoForConditionalGeneration(config), batch


@family("vlm", what="a perceiver of 4 latents in the connector; padding images are dropped by the model")
def idefics2(tr):
    perceiver = {
        "hidden_size": WIDTH,
        "resampler_n_latents": 4,
        "resampler_depth": 2,
        "resampler_n_heads": 4,
        "resampler_head_dim": 8,
        "num_key_value_heads": 2,
    }
    config = tr.Idefics2Config(
        vision_config=tower(), perceiver_config=perceiver, text_config=llm("mistral"), image_token_id=IMAGE
    )
    return tr.Idefics2ForConditionalGeneration(config), two_images(4)


@family("vlm", what="4 queries read 16 patches in the projector; experts")
def aria(tr):
    config = tr.AriaConfig(
        vision_config=tower("idefics3_vision"),
        text_config=llm(moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1),
        image_token_index=IMAGE,
        projector_patch_to_query_dict={16: 4},
    )
    return tr.AriaForConditionalGeneration(config), tokens([4], [4, 4], pixel_values=images(3))


def _kosmos_text() -> dict[str, Any]:
    return {
        "vocab_size": VOCAB,
        "max_position_embeddings": 256,
        "embed_dim": WIDTH,
        "layers": BLOCKS,
        "ffn_dim": 96,
        "attention_heads": 4,
        "pad_token_id": 1,
    }


def _masked(batch: dict[str, Any]) -> dict[str, Any]:
    return batch | {"image_embeds_position_mask": (batch["input_ids"] == IMAGE).astype(np.int64)}


@family(
    "vlm",
    "kosmos-2",
    what="a mask says where image rows go; the tower's last norm runs twice; the projector returns a tuple",
)
def kosmos2(tr):
    config = tr.Kosmos2Config(
        text_config=_kosmos_text(), vision_config=tower(), latent_query_num=5, tie_word_embeddings=False
    )
    return tr.Kosmos2ForConditionalGeneration(config), _masked(tokens(5, 5, pixel_values=images()))


@family(
    "vlm",
    "kosmos-2.5",
    what="patches with their coordinates in front instead of pixels; a mask says where the image rows go",
)
def kosmos2_5(tr):
    eye = tower(patch_embed_hidden_size=48, head_dim=8, max_num_patches=32)
    del eye["image_size"], eye["patch_size"]
    config = tr.Kosmos2_5Config(
        text_config=_kosmos_text(), vision_config=eye, latent_query_num=5, tie_word_embeddings=False
    )
    size: dict[str, Any] = {"width": np.array([6, 6]), "height": np.array([4, 4])}
    return tr.Kosmos2_5ForConditionalGeneration(config), _masked(tokens(5, 5, flattened_patches=flattened(), **size))
