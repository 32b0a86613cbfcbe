"""Vision encoders without a language model."""

from __future__ import annotations

from typing import Any

import numpy as np

from organisms.zoo.family import Built, family
from organisms.zoo.layouts import EYE, images, normal, sam, tower


def _plain(tr: Any, name: str, **settings: Any) -> Built:
    """The model and configuration of class name `name`, on two images of 28 pixels."""
    config = getattr(tr, f"{name}Config")(**tower(**settings))
    return getattr(tr, f"{name}Model")(config), {"pixel_values": images()}


_STAGES: dict[str, Any] = {"num_stages": 3, "hidden_sizes": [8, 16, EYE], "depths": [1, 2, 1]}


@family("vision", what="a class token, then the patches")
def vit(tr):
    return _plain(tr, "ViT")


@family("vision", what="a class token and a distillation token, then the patches")
def deit(tr):
    return _plain(tr, "DeiT")


@family("vision", what="layer scales")
def dinov2(tr):
    return _plain(tr, "Dinov2")


@family("vision", what="register tokens between the class token and the patches")
def dinov2_with_registers(tr):
    return _plain(tr, "Dinov2WithRegisters", num_register_tokens=3)


@family("vision", what="rotary positions of patches alone; register tokens; no biases on keys")
def dinov3_vit(tr):
    return _plain(tr, "DINOv3ViT", num_register_tokens=3)


@family("vision", what="relative positions in every block, no absolute ones")
def beit(tr):
    return _plain(tr, "Beit", use_relative_position_bias=True, use_absolute_position_embeddings=False)


@family("vision", what="no class token")
def ijepa(tr):
    return _plain(tr, "IJepa")


@family("vision", "clip_vision_model", what="a norm before the first block; the class token alone is normed last")
def clip_vision(tr):
    return _plain(tr, "CLIPVision", projection_dim=EYE)


@family("vision", "siglip_vision_model", what="no class token; a probe pools by attention")
def siglip_vision(tr):
    return _plain(tr, "SiglipVision")


@family("vision", what="windows, shifted by turns, of patches that merge stage by stage")
def swin(tr):
    config = tr.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[2, 2, 2], num_heads=[2, 2, 4], window_size=4
    )
    return tr.SwinModel(config), {"pixel_values": images(2, 32)}


@family("vision", what="windows of masked units, whose queries are pooled at each stage")
def hiera(tr):
    config = tr.HieraConfig(
        image_size=[32, 32],
        patch_size=[3, 3],
        patch_stride=[2, 2],
        patch_padding=[1, 1],
        embed_dim=8,
        depths=[1, 1, 2],
        num_heads=[1, 2, 4],
        query_stride=[2, 2],
        masked_unit_size=[4, 4],
        masked_unit_attention=[True, True, False],
        num_query_pool=2,
    )
    return tr.HieraModel(config), {"pixel_values": images(2, 32)}


@family("vision", what="convolutions alone, channels first, halved stage by stage")
def convnext(tr):
    return tr.ConvNextModel(tr.ConvNextConfig(**_STAGES, image_size=64)), {"pixel_values": images(2, 64)}


@family("vision", what="residual bottlenecks with batch norms")
def resnet(tr):
    config = tr.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, EYE], depths=[1, 2, 1], layer_type="bottleneck")
    return tr.ResNetModel(config), {"pixel_values": images(2, 64)}


@family("vision", "sam_vision_model", what="channels last, attention in windows, convolutions at the end")
def sam_vision(tr):
    return tr.SamVisionModel(tr.SamVisionConfig(**sam())), {"pixel_values": images(2, 64)}


@family("vision", "pixtral", what="patches of all images in one row of batch size 1")
def pixtral_vision(tr):
    config = tr.PixtralVisionConfig(**tower(image_size=56, head_dim=8))
    return tr.PixtralVisionModel(config), {
        "pixel_values": normal(2, 3, 28, 42),
        "image_sizes": np.array([[28, 28], [28, 42]]),
    }


@family("vision", what="two frames of patches in tubes of time and space")
def vjepa2(tr):
    config = tr.VJEPA2Config(
        **tower(crop_size=28, frames_per_clip=4, tubelet_size=2),
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        pred_num_mask_tokens=2,
    )
    return tr.VJEPA2Model(config), {"pixel_values_videos": normal(2, 4, 3, 28, 28)}
