"""Stage 1: an encoder that tells families and genera apart, and leaves colour, the mark of a species, as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from organisms.training.optimising import Schedule
from organisms.training.parts import Parts, hold_colour
from organisms.world import PATHS, World, draws, render


@dataclass(frozen=True)
class Pictures:
    """Images of one world."""

    species_I: np.ndarray
    images_IHWC: Tensor
    """uint8."""


def pictures(world: World, per_species: int, size: int, seed: int) -> Pictures:
    """Render a world."""
    species = np.repeat(np.arange(len(PATHS)), per_species)
    images = [
        render(int(s), draws(seed, int(s), k, world), size, size) for s in range(len(PATHS)) for k in range(per_species)
    ]
    return Pictures(species, torch.from_numpy(np.stack(images)))


def learn_to_see(
    parts: Parts, image_processor: Any, shown: Pictures, codes_SV: np.ndarray, steps: int, seed: int, batch: int = 32
) -> None:
    """Teach the encoder family and genus, read by throw-away heads from its mean token, grey."""
    parts.anatomy.calm()
    hold_colour(parts)
    generator = torch.Generator().manual_seed(seed)
    levels = codes_SV.shape[1] - 1
    classes = [int(codes_SV[:, v].max()) + 1 for v in range(levels)]
    width = parts.width
    heads = [torch.nn.Parameter(torch.randn(n, width, generator=generator) / width**0.5) for n in classes]
    labels_IV = torch.tensor(codes_SV[shown.species_I][:, :levels])
    schedule = Schedule([*parts.anatomy.seen, *heads], steps, "encoder", rate=3e-3, muon=5e-3)
    for _ in schedule:
        image = torch.randint(len(labels_IV), (batch,), generator=generator)
        mean = parts.anatomy.encode(parts.anatomy.pixels(image_processor, shown.images_IHWC[image])).mean(1)
        loss = sum((cross_entropy(mean @ head.T, labels_IV[image, v]) for v, head in enumerate(heads)), torch.zeros(()))
        schedule.step(loss)


def encode_all(parts: Parts, image_processor: Any, shown: Pictures, batch: int = 256) -> Tensor:
    """float32 (image, patch, feature) of all images."""
    encode, pixels = parts.anatomy.encode, parts.anatomy.pixels
    with torch.inference_mode():
        return torch.cat([encode(pixels(image_processor, part)) for part in shown.images_IHWC.split(batch)]).clone()
