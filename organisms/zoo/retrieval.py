"""Vision-language models that end in an embedding of every token instead of logits."""

from __future__ import annotations

import numpy as np

from organisms.zoo import packed, tiles, whole
from organisms.zoo.family import family


@family("vlm", what="paligemma that ends in a normed embedding of every token")
def colpali(tr):
    model, batch = whole.paligemma.build(tr)
    return tr.ColPaliForRetrieval(tr.ColPaliConfig(vlm_config=model.config, embedding_dim=16)), batch


@family(
    "vlm",
    what="qwen2_vl on patches padded to a batch, ending in a normed embedding of every token",
)
def colqwen2(tr):
    model, batch = packed.qwen2_vl.build(tr)
    pixels = batch["pixel_values"]
    batch["pixel_values"] = np.zeros((2, 96, pixels.shape[1]), dtype=np.float32)
    batch["pixel_values"][0, :64], batch["pixel_values"][1] = pixels[:64], pixels[64:]
    del batch["mm_token_type_ids"]
    return tr.ColQwen2ForRetrieval(tr.ColQwen2Config(vlm_config=model.config, embedding_dim=16)), batch


@family("vlm", what="modernvbert that ends in a normed embedding of every token")
def colmodernvbert(tr):
    model, batch = tiles.modernvbert.build(tr)
    return tr.ColModernVBertForRetrieval(tr.ColModernVBertConfig(vlm_config=model.config, embedding_dim=16)), batch
