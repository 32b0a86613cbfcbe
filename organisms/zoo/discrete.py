"""Images are turned into words of a codebook, which the language model looks up in its own table of embeddings."""

from __future__ import annotations

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import END, EYE, EYE_BLOCKS, IMAGE, START, VOCAB, images, llm, normal, packed, rope, tokens

_CODES = 32
_FIRST = 200
"""Token id of the first code; texts stay below it."""


@family("vlm", what="a convolutional encoder with codes for tokens; no gradient from the features to the pixels")
def chameleon(tr):
    letters = [f"{chr(65 + code // 10)}{chr(65 + code % 10)}" for code in range(_CODES)]
    vocabulary = {"<image>": IMAGE} | {f"IMGIMG{name}Z": _FIRST + code for code, name in enumerate(letters)}
    config = tr.ChameleonConfig(
        **llm(num_key_value_heads=4),
        vq_config={
            "embed_dim": 8,
            "num_embeddings": _CODES,
            "latent_channels": 8,
            "resolution": 16,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
        },
        vocabulary_map=vocabulary,
    )
    return tr.ChameleonForConditionalGeneration(config), tokens([64], [64, 64], pixel_values=images(3, 16))


@family("vlm", what="codes for tokens, and an end-of-line token after each row of them; images of different height")
def emu3(tr):
    vocabulary = {"<image>": IMAGE, "<|extra_200|>": _FIRST - 1}
    vocabulary |= {f"<|visual token {code:06d}|>": _FIRST + code for code in range(_CODES)}
    config = tr.Emu3Config(
        vq_config={
            "codebook_size": _CODES,
            "embed_dim": 4,
            "latent_channels": 4,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "hidden_size": 32,
            "attn_resolutions": [3],
            "temporal_downsample_factor": 1,
        },
        text_config=llm(),
        vocabulary_map=vocabulary,
    )
    # 8 x 8 and 12 x 8 pixels become 4 and 6 rows of 4 codes and an end of line.
    sizes = np.array([[8, 8], [12, 8]])
    batch = tokens(20, 30, high=_FIRST - 1, pixel_values=normal(2, 3, 12, 8), image_sizes=sizes)
    return tr.Emu3ForConditionalGeneration(config), batch


@family(
    "vlm",
    what="a vision transformer's patches become codes, which are token ids; each sample ends with a grid to paint",
)
def glm_image(tr):
    config = tr.GlmImageConfig(
        vision_config={
            "depth": EYE_BLOCKS,
            "hidden_size": EYE,
            "num_heads": 4,
            "image_size": 32,
            "patch_size": 4,
            "intermediate_size": 48,
        },
        vq_config={"embed_dim": 8, "num_embeddings": 200, "latent_channels": EYE},
        text_config=llm(rope_parameters=rope(2, 3, 3), vision_vocab_size=VOCAB),
        image_token_id=IMAGE,
        image_start_token_id=START,
        image_end_token_id=END,
    )
    batch = packed(temporal=1, merge=1, types=None)
    batch["image_grid_thw"] = np.array([[1, 8, 8], [1, 4, 4], [1, 8, 12], [1, 4, 4]])  # seen, to paint, twice
    return tr.GlmImageForConditionalGeneration(config), batch | {"images_per_sample": np.array([2, 2])}
