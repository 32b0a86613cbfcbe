"""Tiny dual encoders, saved like hub checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers
from tokenizers.processors import TemplateProcessing

from organisms.checkpoint import train_tokenizer

SIDE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
EYE = {**SIDE, "image_size": 32, "patch_size": 8}
SIZE = {"height": 32, "width": 32}
LENGTH = 24


def tokens_of(folder: Path, processor: str, length: int = LENGTH) -> dict[str, int]:
    """A tokenizer is written; what a text tower's configuration has to know of it."""
    tokenizer = train_tokenizer(("<pad>", "<unk>", "<bos>", "<eos>"))
    tokenizer._set_processor_class(processor)
    tokenizer.model_max_length = length
    tokenizer.padding_side, tokenizer.eos_token = "right", "<eos>"
    end = ("<eos>", tokenizer.convert_tokens_to_ids("<eos>"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[end])
    tokenizer.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": processor}))
    return {"vocab_size": len(tokenizer), "max_position_embeddings": length, "eos_token_id": tokenizer.eos_token_id}


def clip(folder: Path) -> Any:
    """Its processor and tokenizer are written; the model, of torch's weights, is the caller's to save."""
    tokens = tokens_of(folder, "CLIPProcessor")
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIZE).save_pretrained(folder)
    return transformers.CLIPModel(
        transformers.CLIPConfig(vision_config=EYE, text_config={**SIDE, **tokens}, projection_dim=24)
    )


def siglip(folder: Path) -> Any:
    """Likewise."""
    tokens = tokens_of(folder, "SiglipProcessor")
    transformers.SiglipImageProcessorPil(size=SIZE).save_pretrained(folder)
    return transformers.SiglipModel(
        transformers.SiglipConfig(vision_config=EYE, text_config={**SIDE, **tokens, "projection_size": 32})
    )
