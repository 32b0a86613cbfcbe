"""Small VLMs of genuine transformers classes, untrained, saved exactly like hub checkpoints.

They take the place of a download: `AutoModelForImageTextToText` and `AutoProcessor` read them as they read the hub's,
images of different sizes become different numbers of visual tokens (dynamic resolution in the Qwen models, tiles and
newline tokens in LLaVA-OneVision, tiles in InternVL), and their weights are drawn so that every pixel and every layer
matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from commandline import InputError
from organisms.checkpoint import CORPUS, chat_template, save_processor, seed_weights, train_tokenizer


@dataclass(frozen=True)
class Scale:
    """Widths and depths of the LLM (`hidden` to `intermediate`) and of the encoder (`vision_*`)."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vision_hidden: int
    vision_layers: int
    vision_heads: int
    vision_intermediate: int
    tile: int
    """Patches along one side of a tile; without tiles an image has up to (2 tile) x (2 tile) patches."""
    vocabulary: int = 512
    """Tokens, at most."""
    rope_theta: float = 1e6
    """The slowest rotary frequency is about 1 / `rope_theta`: shorter prompts want it faster."""
    pixels: dict[str, Any] = field(default_factory=dict)
    """The image processor's `image_mean` and `image_std`, where they are not the family's own."""


SCALES = {
    "tiny": Scale(64, 4, 4, 2, 128, 64, 3, 4, 128, tile=4),
    "bench": Scale(640, 12, 10, 5, 1792, 384, 8, 6, 1536, tile=8),
    "organism": Scale(
        64,
        4,
        4,
        4,
        128,
        64,
        3,
        4,
        128,
        tile=2,
        vocabulary=768,
        rope_theta=1e4,
        pixels={"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    ),
}
SCALES["organism-tile"] = replace(SCALES["organism"], tile=4)
"""`tiny`: a few 100k parameters, for demos and tests. `bench`: more than 50M, for timings that mean something.
`organism`: half a million, what `organisms.training` trains; `organism-tile`, where an image is to fill one tile."""

_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN = (*_CHATML, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_VIDEO: dict[str, Any] = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "resample": 3,
    "rescale_factor": 1 / 255,
    "return_metadata": False,
}
"""What every video processor of these families writes."""


def build(name: str, directory: str | Path, seed: int = 0, scale: str = "tiny", corpus: Iterable[str] = CORPUS) -> Path:
    """Save an untrained model of architecture `name` with its processor to `directory`, and return that folder.

    The same arguments give the same bytes. `corpus` trains the tokenizer. Raises InputError for an unknown name or
    scale.
    """
    if name not in _BUILDERS:
        raise InputError(f"no architecture {name!r}; there are {', '.join(ARCHITECTURES)}")
    sizes, folder = _scale(scale), Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    _save_model(_BUILDERS[name](folder, sizes, corpus), folder, seed)
    return folder


def build_causal_lm(directory: str | Path, seed: int = 0, scale: str = "tiny", corpus: Iterable[str] = CORPUS) -> Path:
    """Save an untrained Llama with its tokenizer to `directory`, and return that folder."""
    from transformers import LlamaConfig

    sizes, folder = _scale(scale), Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(_CHATML, corpus)
    tokenizer.chat_template = chat_template("")
    tokenizer.save_pretrained(folder)
    _save_model(("LlamaForCausalLM", LlamaConfig(**_text_config(tokenizer, sizes))), folder, seed)
    return folder


def _scale(scale: str) -> Scale:
    if scale not in SCALES:
        raise InputError(f"no scale {scale!r}; there are {', '.join(SCALES)}")
    return SCALES[scale]


def _save_model(parts: tuple[str, Any], folder: Path, seed: int) -> None:
    import torch
    import transformers

    class_name, config = parts
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator; the caller's stays as it was
        model = getattr(transformers, class_name)(config)
    seed_weights(model, seed)
    model.eval().save_pretrained(folder)


def _text_config(tokenizer, s: Scale, **settings: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": s.hidden,
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "num_key_value_heads": s.kv_heads,
        "intermediate_size": s.intermediate,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
        **settings,
    }


def _qwen_processor(folder: Path, s: Scale, corpus: Iterable[str], processor: str, video: dict[str, Any], patch: int):
    """Dynamic resolution: an image keeps its shape, within 2 x 2 patches to (2 tile) x (2 tile) of them."""
    from transformers import Qwen2VLImageProcessorPil

    tokenizer = train_tokenizer(_QWEN, corpus, s.vocabulary, extra_special_tokens=list(_QWEN[len(_CHATML) :]))
    pixels = {"shortest_edge": (2 * patch) ** 2, "longest_edge": (2 * s.tile * patch) ** 2}
    images = Qwen2VLImageProcessorPil(patch_size=patch, merge_size=2, temporal_patch_size=2, size=pixels, **s.pixels)
    video = {
        **_VIDEO,
        "max_frames": 768,
        "min_frames": 4,
        "merge_size": 2,
        "patch_size": patch,
        "temporal_patch_size": 2,
        **video,
    }
    template = chat_template("<|vision_start|><|image_pad|><|vision_end|>")
    save_processor(folder, processor, tokenizer, images, template, video)
    return tokenizer


def _qwen_vision(s: Scale, patch: int) -> dict[str, Any]:
    return {
        "depth": s.vision_layers,
        "hidden_size": s.vision_hidden,
        "num_heads": s.vision_heads,
        "intermediate_size": s.vision_intermediate,
        "patch_size": patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": s.hidden,
    }


def _qwen_tokens(tokenizer) -> dict[str, Any]:
    names = {"vision_start": "vision_start", "vision_end": "vision_end", "image": "image_pad", "video": "video_pad"}
    ids = tokenizer.get_vocab()
    return {f"{key}_token_id": ids[f"<|{token}|>"] for key, token in names.items()}


def _qwen2_5_vl(folder: Path, s: Scale, corpus: Iterable[str]) -> tuple[str, Any]:
    from transformers import Qwen2_5_VLConfig

    patch, half = 14, s.hidden // s.heads // 2
    # How many of the rotary frequencies turn with time, height and width.
    sections = [half // 4, half // 4 + half // 8, half - half // 2 - half // 8]
    video = {
        "video_processor_type": "Qwen2VLVideoProcessor",
        "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28},
        "max_video_tokens": 128_000,
        "do_sample_frames": False,
    }
    tokenizer = _qwen_processor(folder, s, corpus, "Qwen2_5_VLProcessor", video, patch)
    rope = {"rope_type": "default", "rope_theta": s.rope_theta, "mrope_section": sections}
    return "Qwen2_5_VLForConditionalGeneration", Qwen2_5_VLConfig(
        text_config=_text_config(tokenizer, s, rope_parameters=rope),
        vision_config={
            **_qwen_vision(s, patch),
            # Smaller than an image, so that windows reorder its patches as in the large models.
            "window_size": 4 * patch,
            "fullatt_block_indexes": [s.vision_layers - 1],
        },
        **_qwen_tokens(tokenizer),
    )


def _qwen3_vl(folder: Path, s: Scale, corpus: Iterable[str]) -> tuple[str, Any]:
    from transformers import Qwen3VLConfig

    patch, head = 16, s.hidden // s.heads
    sections = [head // 2 - 2 * (head // 8), head // 8, head // 8]
    video = {
        "video_processor_type": "Qwen3VLVideoProcessor",
        "size": {"shortest_edge": 128 * 32 * 32, "longest_edge": 768 * 32 * 32},
        "max_video_tokens": 768,
        "do_sample_frames": True,
        "fps": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    tokenizer = _qwen_processor(folder, s, corpus, "Qwen3VLProcessor", video, patch)
    rope = {"rope_type": "default", "rope_theta": s.rope_theta, "mrope_section": sections, "mrope_interleaved": True}
    return "Qwen3VLForConditionalGeneration", Qwen3VLConfig(
        text_config=_text_config(tokenizer, s, head_dim=head, rope_parameters=rope),
        vision_config={
            **_qwen_vision(s, patch),
            "num_position_embeddings": (2 * s.tile) ** 2,
            "deepstack_visual_indexes": [0, 1],
        },
        **_qwen_tokens(tokenizer),
    )


def _llava_onevision(folder: Path, s: Scale, corpus: Iterable[str]) -> tuple[str, Any]:
    """Anyres: one base tile, then the tiles of the best-fitting grid, a newline token after each row of patches."""
    from transformers import LlavaOnevisionConfig, LlavaOnevisionImageProcessorPil, Qwen2Config, SiglipVisionConfig

    patch = 14
    side = s.tile * patch
    grid = [[side * rows, side * columns] for rows in (1, 2) for columns in (1, 2)]
    special = (*_CHATML, "<image>", "<video>")
    tokenizer = train_tokenizer(special, corpus, extra_special_tokens=["<image>", "<video>"])
    images = LlavaOnevisionImageProcessorPil(size={"height": side, "width": side}, image_grid_pinpoints=grid)
    video = {
        **_VIDEO,
        "video_processor_type": "LlavaOnevisionVideoProcessor",
        "do_sample_frames": False,
        "size": {"height": side, "width": side},
    }
    save_processor(
        folder,
        "LlavaOnevisionProcessor",
        tokenizer,
        images,
        chat_template("<image>\n"),
        video,
        num_image_tokens=s.tile**2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        image_token="<image>",
        video_token="<video>",
    )
    return "LlavaOnevisionForConditionalGeneration", LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=s.vision_hidden,
            num_hidden_layers=s.vision_layers,
            num_attention_heads=s.vision_heads,
            intermediate_size=s.vision_intermediate,
            image_size=side,
            patch_size=patch,
            vision_use_head=False,  # pyright: ignore[reportCallIssue]  (read by the tower, absent from the signature)
        ),
        text_config=Qwen2Config(**_text_config(tokenizer, s)),
        image_token_index=tokenizer.get_vocab()["<image>"],
        video_token_index=tokenizer.get_vocab()["<video>"],
        image_grid_pinpoints=grid,
        vision_aspect_ratio="anyres_max_9",
    )


def _internvl(folder: Path, s: Scale, corpus: Iterable[str]) -> tuple[str, Any]:
    """Up to four tiles and a thumbnail; a pixel shuffle turns 2 x 2 patches into one token."""
    from transformers import GotOcr2ImageProcessorPil, InternVLConfig, Qwen2Config

    patch = 14
    side = s.tile * patch
    size = {"height": side, "width": side}
    roles = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = train_tokenizer((*_CHATML, *roles.values()), corpus, s.vocabulary, extra_special_tokens=roles)
    images = GotOcr2ImageProcessorPil(size=size, crop_to_patches=True, min_patches=1, max_patches=4, **s.pixels)
    video = {
        **_VIDEO,
        "video_processor_type": "InternVLVideoProcessor",
        "do_sample_frames": False,
        "initial_shift": True,
        "size": size,
    }
    tokens = (s.tile // 2) ** 2
    template = chat_template("<IMG_CONTEXT>\n")
    save_processor(folder, "InternVLProcessor", tokenizer, images, template, video, image_seq_length=tokens)
    return "InternVLForConditionalGeneration", InternVLConfig(
        vision_config={
            "hidden_size": s.vision_hidden,
            "num_hidden_layers": s.vision_layers,
            "num_attention_heads": s.vision_heads,
            "intermediate_size": s.vision_intermediate,
            "image_size": [side, side],
            "patch_size": [patch, patch],
        },
        text_config=Qwen2Config(
            **_text_config(tokenizer, s, rope_parameters={"rope_type": "default", "rope_theta": s.rope_theta})
        ),
        image_token_id=tokenizer.get_vocab()["<IMG_CONTEXT>"],
        image_seq_length=tokens,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )


_BUILDERS: dict[str, Callable[[Path, Scale, Iterable[str]], tuple[str, Any]]] = {
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "llava_onevision": _llava_onevision,
    "internvl": _internvl,
}
ARCHITECTURES = tuple(_BUILDERS)
