"""Image rows are put before or behind the text: the sequence is longer than the input ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import ids, images, llm, normal, tower


def _bert(**settings: Any) -> dict[str, Any]:
    config = llm(**settings)
    del config["num_key_value_heads"]
    return config


def _text() -> dict[str, Any]:
    return {"input_ids": ids(), "attention_mask": np.ones((2, 9), dtype=np.int64)}


@family("vlm", what="patches with their class token stand before the text; they see each other, the text is causal")
def git(tr):
    config = tr.GitConfig(vision_config=tower(), **_bert())
    return tr.GitForCausalLM(config), {**_text(), "pixel_values": images()}


@family("vlm", "git", what="two frames through the tower one after the other, a learned time added to each")
def git_video(tr):
    config = tr.GitConfig(vision_config=tower(), num_image_with_embedding=2, **_bert())
    return tr.GitForCausalLM(config), {**_text(), "pixel_values": normal(2, 2, 3, 28, 28)}


@family("other", what="no tower: words with their boxes and then patches in one bidirectional stack")
def layoutlmv3(tr):
    text = _bert(
        coordinate_size=8,
        shape_size=16,
        max_2d_position_embeddings=128,
        max_rel_pos=16,
        max_rel_2d_pos=16,
        rel_pos_bins=8,
        rel_2d_pos_bins=8,
        input_size=28,
        patch_size=7,
    )
    boxes = np.random.default_rng(6).integers(0, 50, (2, 9, 2))
    batch = {**_text(), "bbox": np.concatenate([boxes, boxes + 20], axis=-1), "pixel_values": images()}
    return tr.LayoutLMv3ForTokenClassification(tr.LayoutLMv3Config(**text)), batch
