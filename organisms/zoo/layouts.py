"""What families share: token ids, the layout of a batch, and fragments of configurations. Arrays are numpy's.

A batch is two samples that differ in all they may differ in: pixels, texts, where the image starts and, where the
family allows, how many rows it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

VOCAB, WIDTH, BLOCKS = 256, 64, 4
"""Of the language models."""
EYE, EYE_BLOCKS = 32, 3
"""Width and depth of the vision towers."""

AUDIO, IMAGE, VIDEO, START, END = 249, 250, 251, 252, 253
"""Placeholders, and what stands before and after an image. Texts are drawn from 10 to 199."""

MAMBA: dict[str, Any] = {
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}
"""Linear attention and full attention by turns, as Qwen3.5 does."""

INDEXED: dict[str, Any] = {"index_topk": 64, "index_head_dim": 16, "index_n_heads": 2}
"""Attention to as many tokens as an index picks."""


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    """Standard normal float32, as normalised pixels are."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def images(count: int = 2, side: int = 28, seed: int = 1) -> np.ndarray:
    """`count` square images, (count, 3, side, side)."""
    return normal(count, 3, side, side, seed=seed)


def ids(length: int = 9, samples: int = 2, low: int = 10, high: int = 200, seed: int = 3) -> np.ndarray:
    """Texts without special tokens, (samples, length) int64."""
    return np.random.default_rng(seed).integers(low, high, (samples, length))


def tokens(
    *counts: int | Sequence[int], image: int = IMAGE, types: str | None = None, high: int = 200, **inputs: Any
) -> dict[str, Any]:
    """A batch: of each sample the rows of its image, or of each of its images, between texts; then `inputs`.

    A row is text, `START`, placeholders, `END` (once per image) and text up to the length of the longest, so that
    nothing is padded. `types` names the input that marks placeholders with 1, for families that read one.
    """
    blocks = [[count] if isinstance(count, int) else list(count) for count in counts]
    length = max(3 + row + sum(n + 2 for n in block) + 5 for row, block in enumerate(blocks))
    rows = ids(length, len(blocks), high=high, seed=2)
    for row, block in enumerate(blocks):
        at = 3 + row
        for n in block:
            rows[row, at], rows[row, at + 1 : at + 1 + n], rows[row, at + 1 + n] = START, image, END
            at += n + 2
    batch: dict[str, Any] = {"input_ids": rows, "attention_mask": np.ones_like(rows)}
    if types:
        batch[types] = (rows == image).astype(np.int64)
    return batch | inputs


def padded(batch: dict[str, Any], side: str, pads: int = 4, pad: int = 0) -> dict[str, Any]:
    """The batch with `pads` masked tokens on one `side` ("left", "right") of its second sample, text on the first."""
    shape = batch["input_ids"].shape
    extra = ids(pads, shape[0], seed=5)
    extra[1] = pad
    seen = np.ones_like(extra)
    seen[1] = 0
    more = {"input_ids": extra, "attention_mask": seen}

    def widen(name: str, value: Any) -> Any:
        if not isinstance(value, np.ndarray) or value.shape != shape:
            return value
        added = more.get(name, np.zeros_like(extra))
        return np.concatenate([added, value] if side == "left" else [value, added], axis=1)

    return {name: widen(name, value) for name, value in batch.items()}


def llm(model_type: str | None = None, **settings: Any) -> dict[str, Any]:
    """The configuration of a decoder in the spelling that Llama's descendants share."""
    config: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
    }
    return ({"model_type": model_type} if model_type else {}) | config | settings


def rope(*sections: int, **settings: Any) -> dict[str, Any]:
    """Rotary frequencies split over time, height and width."""
    return {"rope_type": "default", "rope_theta": 1e4, "mrope_section": list(sections), **settings}


def experts(**settings: Any) -> dict[str, Any]:
    """Four experts, two of them asked per token, in the most common spelling."""
    return {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2} | settings


def routed(**settings: Any) -> dict[str, Any]:
    """The same in DeepSeek's spelling, with one expert that all tokens share."""
    return {
        "moe_intermediate_size": 32,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
    } | settings


def latent(**settings: Any) -> dict[str, Any]:
    """Multi-head latent attention."""
    return {
        "num_key_value_heads": 4,
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 16,
    } | settings


def tower(model_type: str | None = None, **settings: Any) -> dict[str, Any]:
    """A vision transformer in the common spelling: 4 x 4 patches of 7 pixels unless `settings` say otherwise."""
    config: dict[str, Any] = {
        "hidden_size": EYE,
        "intermediate_size": 48,
        "num_hidden_layers": EYE_BLOCKS,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
    }
    return ({"model_type": model_type} if model_type else {}) | config | settings


def clip(**settings: Any) -> dict[str, Any]:
    """OpenAI CLIP's tower: a class token before 4 x 4 patches."""
    return tower("clip_vision_model", **{"projection_dim": EYE} | settings)


def siglip(**settings: Any) -> dict[str, Any]:
    """SigLIP's tower without its pooling head: 4 x 4 patches."""
    return tower("siglip_vision_model", **{"vision_use_head": False} | settings)


def pixtral(**settings: Any) -> dict[str, Any]:
    """Pixtral's tower: the patches of all images in one row, rotary positions in two dimensions."""
    return tower("pixtral", **{"image_size": 56, "head_dim": 8} | settings)


def sam(**settings: Any) -> dict[str, Any]:
    """Segment Anything's tower: channels last, windows, 16 x 16 patches shrunk to 4 x 4 by convolutions."""
    config: dict[str, Any] = {
        "hidden_size": EYE,
        "output_channels": 16,
        "num_hidden_layers": EYE_BLOCKS,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 4,
        "window_size": 4,
        "global_attn_indexes": [1],
        "mlp_dim": 48,
    }
    return config | settings


def specials() -> dict[str, int]:
    """The special tokens of `tokens`, as the configurations of Qwen's descendants name them."""
    return {
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": START,
        "vision_end_token_id": END,
    }


def packed(
    *grids: Sequence[tuple[int, int]],
    merge: int = 2,
    temporal: int = 2,
    square: bool = False,
    types: str | None = "mm_token_type_ids",
    counts: Sequence[int | Sequence[int]] | None = None,
    **inputs: Any,
) -> dict[str, Any]:
    """A batch of images given as grids (height, width) of 4 x 4 pixel patches, all patches in one row.

    `pixel_values` is (patches, 3 temporal 4 4), or (patches, 3, 4, 4) when `square`; `image_grid_thw` (images, 3);
    `merge` x `merge` patches take one row of the language model, unless `counts` tells the rows of each sample.
    """
    samples = grids or ([(8, 8)], [(8, 12)])
    shapes = np.array([(1, *grid) for sample in samples for grid in sample])
    patches = int(shapes.prod(axis=1).sum())
    pixels = normal(patches, 3, 4, 4) if square else normal(patches, 3 * temporal * 16)
    merged = [[height * width // merge**2 for height, width in sample] for sample in samples]
    return tokens(*(counts or merged), types=types, pixel_values=pixels, image_grid_thw=shapes, **inputs)


def flattened(first: int = 0) -> np.ndarray:
    """Two images of 4 x 6 patches of 48 values, as Pix2Struct takes them: (2, 24, 50), row and column in front."""
    patch = np.arange(24)
    place = np.stack([patch // 6, patch % 6], axis=-1).astype(np.float32) + first
    return np.concatenate([np.stack([place, place]), normal(2, 24, 48)], axis=-1)


def listed() -> dict[str, Any]:
    """Images of 4 x 4 and 4 x 6 patches as SigLIP 2 takes them: lists of 48 numbers, padded with zeros to 24."""
    real = np.arange(24) < np.array([[16], [24]])
    return {
        "pixel_values": normal(2, 24, 48) * real[..., None].astype(np.float32),
        "pixel_attention_mask": real.astype(np.int64),
        "spatial_shapes": np.array([[4, 4], [4, 6]]),
    }
