"""Two encoders, of images and of texts, that meet in one space of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import family
from organisms.zoo.layouts import EYE, VOCAB, WIDTH, ids, images, listed, llm, tower


def _texts(**inputs: Any) -> dict[str, Any]:
    """Two images and three texts, which end with the highest token: CLIP pools there."""
    texts = ids(8, 3)
    texts[:, -1] = VOCAB - 1
    return {"input_ids": texts, "attention_mask": np.ones_like(texts), "pixel_values": images()} | inputs


def _bert(model_type: str | None = None, **settings: Any) -> dict[str, Any]:
    config = llm(model_type, eos_token_id=VOCAB - 1, **settings)
    del config["num_key_value_heads"], config["tie_word_embeddings"]
    return config


_SPACE: dict[str, Any] = {"projection_dim": 24}


@family("dual", "clip", what="the class token is pooled, the text's end token too; a causal text encoder")
def clip(tr):
    return tr.CLIPModel(tr.CLIPConfig(vision_config=tower(), text_config=_bert(), **_SPACE)), _texts()


@family("dual", what="several languages under CLIP's tower")
def metaclip_2(tr):
    return tr.MetaClip2Model(tr.MetaClip2Config(vision_config=tower(), text_config=_bert(), **_SPACE)), _texts()


@family("dual", what="a probe pools the patches by attention; the text's last token is pooled, whatever it is")
def siglip(tr):
    config = tr.SiglipConfig(vision_config=tower(), text_config=_bert(projection_size=EYE) | {"hidden_size": EYE})
    return tr.SiglipModel(config), _texts()


@family("dual", what="lists of patches padded to the longest, pooled by a probe that skips the padding")
def siglip2(tr):
    eye = tower(patch_size=4, num_patches=64)
    del eye["image_size"]
    config = tr.Siglip2Config(vision_config=eye, text_config=_bert(projection_size=EYE) | {"hidden_size": EYE})
    return tr.Siglip2Model(config), _texts(**listed())


@family("dual", what="an EfficientNet tower, convolutional and halved stage by stage, beside BERT")
def align(tr):
    eye = {
        "image_size": 32,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "depth_divisor": 8,
        "kernel_sizes": [3, 3],
        "in_channels": [32, 16],
        "out_channels": [16, EYE],
        "depthwise_padding": [],
        "strides": [1, 2],
        "num_block_repeats": [1, 2],
        "expand_ratios": [1, 2],
        "hidden_dim": EYE,
    }
    config = tr.AlignConfig(vision_config=eye, text_config=_bert(), projection_dim=EYE)
    return tr.AlignModel(config), _texts(pixel_values=images(2, 32))


@family("dual", what="Chinese BERT, whose class token is pooled, beside CLIP's tower")
def chinese_clip(tr):
    config = tr.ChineseCLIPConfig(vision_config=tower(), text_config=_bert(), **_SPACE)
    return tr.ChineseCLIPModel(config), _texts()


@family("dual", what="XLM-RoBERTa beside CLIP's tower")
def altclip(tr):
    config = tr.AltCLIPConfig(vision_config=tower(), text_config=_bert(project_dim=24), **_SPACE)
    return tr.AltCLIPModel(config), _texts()


@family("dual", what="group tokens join the patches and replace them stage by stage")
def groupvit(tr):
    eye = tower(depths=[1, 1, 1], num_group_tokens=[8, 4, 0], num_output_groups=[8, 4, 4])
    config = tr.GroupViTConfig(
        vision_config=eye, text_config=_bert(), projection_dim=24, projection_intermediate_dim=48
    )
    return tr.GroupViTModel(config), _texts()


@family("dual", what="CLIP whose patches keep their own class scores; texts as queries")
def owlvit(tr):
    config = tr.OwlViTConfig(vision_config=tower(), text_config=_bert(), **_SPACE)
    return tr.OwlViTModel(config), _texts()


@family("dual", what="rotary positions and gated MLPs in the tower, which is read by an attention pool")
def aimv2(tr):
    eye = tower(use_head=True)
    config = tr.Aimv2Config(vision_config=eye, text_config=_bert(), **_SPACE)
    return tr.Aimv2Model(config), _texts()


@family("dual", "vision-text-dual-encoder", what="ViT and BERT, put together from two models of their own")
def vision_text_dual_encoder(tr):
    config = tr.VisionTextDualEncoderConfig.from_vision_text_configs(
        tr.ViTConfig(**tower()), tr.BertConfig(**_bert()), **_SPACE
    )
    return tr.VisionTextDualEncoderModel(config), _texts()


@family("dual", what="register tokens in the tower; the text is pooled by its mean; one width and no projections")
def tipsv2(tr):
    eye = tower(mlp_ratio=2)
    del eye["intermediate_size"]
    config = tr.Tipsv2Config(vision_config=eye, text_config=_bert() | {"hidden_size": EYE})
    return tr.Tipsv2Model(config), _texts()


@family("dual", "blip", what="BLIP for retrieval: the text encoder beside the tower without looking at it")
def blip_pair(tr):
    text = _bert(encoder_hidden_size=EYE, projection_dim=WIDTH, sep_token_id=2)
    return tr.BlipModel(tr.BlipConfig(vision_config=tower(), text_config=text, **_SPACE)), _texts()
