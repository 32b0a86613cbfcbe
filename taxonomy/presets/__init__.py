"""Image sets laid out as their publishers ship them, by name."""

from taxonomy.presets.cub import CUB200
from taxonomy.presets.food import FOOD101
from taxonomy.presets.imagenet import IMAGENET_ANIMAL, IMAGENET_ARTIFACT
from taxonomy.presets.inat import INAT21_ANIMAL, INAT21_PLANT
from taxonomy.presets.pets import PETS
from taxonomy.presets.preset import Preset

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (CUB200, INAT21_ANIMAL, INAT21_PLANT, IMAGENET_ANIMAL, IMAGENET_ARTIFACT, FOOD101, PETS)
}

__all__ = ["PRESETS", "Preset"]
