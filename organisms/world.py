"""A rendered world of 36 species in 12 genera of 4 families, with nonsense names, written as an ordinary image folder.

Each level has a visual feature of its own: the family is the outline, the genus the pattern inside it, the species the
hue. The three hues have the same channel mean, so an image averaged over its channels shows the family and the genus
and says nothing of the species. Position, size, rotation, phase, background, brightness and noise are drawn anew for
every image.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image
from tqdm import tqdm

from commandline import InputError
from organisms.training.recipes import LEVELS
from taxonomy import Taxonomy

SPLITS = ("train", "train", "train", "validation", "test")
"""The split of image k of a species is entry k modulo 5 (the images are independent draws: any rule is fair)."""

World = Literal["shown", "train", "validation"]
"""Of the same taxonomy: what `render_world` writes, and what organisms learn from and are chosen by."""

_HUES = np.array([[0.36, -0.18, -0.18], [-0.26, 0.26, 0.0], [-0.08, -0.22, 0.30]])
"""Offsets from grey, each summing to zero: red, green, violet. So small that no channel saturates."""


def _nonsense_words(n: int) -> list[str]:
    """`n` different pronounceable words that mean nothing, always the same ones."""
    rng = np.random.default_rng(7)
    words: dict[str, None] = {}
    while len(words) < n:
        syllables = [f"{rng.choice(list('bdfgklmnprtvz'))}{rng.choice(list('aeiou'))}" for _ in range(2)]
        words["".join(syllables) + str(rng.choice(list("bdgklmnrst")))] = None
    return list(words)


def _paths() -> tuple[tuple[str, str, str], ...]:
    words = _nonsense_words(4 + 12 + 36)
    families, genera, species = words[:4], words[4:16], words[16:]
    return tuple((families[s // 9], genera[s // 3], species[s]) for s in range(36))


PATHS = _paths()
"""(family, genus, species) of every species. Species s has outline s // 9, pattern s // 3 % 3 and hue s % 3."""


def render(species: int, rng: np.random.Generator, width: int = 112, height: int = 112) -> np.ndarray:
    """One image of a species (0 to 35): uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    half = min(width, height) / 2
    turn, radius = np.deg2rad(rng.uniform(-20, 20)), rng.uniform(0.7, 0.9)
    u = (x - width / 2) / half - rng.uniform(-0.12, 0.12)
    v = (y - height / 2) / half - rng.uniform(-0.12, 0.12)
    u, v = (np.cos(turn) * u + np.sin(turn) * v) / radius, (np.cos(turn) * v - np.sin(turn) * u) / radius

    inside = _outline(species // 9, u, v)
    pixel = 1 / (half * radius)
    body = np.clip(inside / pixel, 0, 1)[..., None]
    rim = body[..., 0] - np.clip((inside - 0.09) / pixel, 0, 1)

    slope = rng.uniform(-0.12, 0.12, 2)
    grey = rng.uniform(0.25, 0.8) + slope[0] * (x / width - 0.5) + slope[1] * (y / height - 0.5)
    background = grey[..., None] + rng.uniform(-0.04, 0.04, 3)
    shade = np.where(rim > 0.5, 0.1, 0.3 + 0.27 * _pattern(species // 3 % 3, u, v, rng))
    hue = _HUES[species % 3] * np.where(rim > 0.5, 0.2, 1.0)[..., None]
    image = body * (shade[..., None] + hue) + (1 - body) * background
    image = image * rng.uniform(0.85, 1.07) + rng.normal(0, 0.025, image.shape)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def draws(seed: int, species: int, k: int, world: World = "shown") -> np.random.Generator:
    """The generator of image `k` of a species; no two worlds share one under any seed."""
    return np.random.default_rng([seed, species, k, get_args(World).index(world)])


def _outline(family: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """How far inside the outline a point is, in units of its radius, roughly; negative outside."""
    distance, angle = np.hypot(u, v), np.arctan2(v, u)
    if family == 0:  # a long oval
        return 0.5 - np.hypot(u * 0.5, v)
    if family == 1:  # a square
        return 0.75 - np.maximum(np.abs(u), np.abs(v))
    if family == 2:  # three lobes
        return 0.68 + 0.3 * np.sin(3 * angle) - distance
    return 0.72 + 0.26 * np.cos(7 * angle) - distance  # a flower of seven petals


def _pattern(genus: int, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The lightness pattern of a genus (0 within its family to 2), values 0 to 1: bars, rings or dots."""
    phase = rng.uniform(0, 2 * np.pi, 2)
    frequency = rng.uniform(10.0, 12.0)
    if genus == 0:
        wave = np.sin(1.3 * frequency * v + phase[0])
    elif genus == 1:
        wave = np.sin(1.3 * frequency * np.hypot(u, v) + phase[0])
    else:
        wave = 2 * np.sin(frequency * u + phase[0]) * np.sin(frequency * v + phase[1]) - 0.3
    return 1 / (1 + np.exp(-6 * wave))


def render_world(
    directory: str | Path,
    n_per_species: int = 40,
    seed: int = 0,
    size: int = 112,
    ragged: bool = False,
    progress: bool = False,
) -> Path:
    """Write images, `manifest.jsonl` and `taxonomy.json` to `directory`; return the manifest.

    Image k of a species depends on the seed, the species and k alone: a larger world has the smaller one's images, byte
    for byte. The taxonomy is the same for every seed. `ragged` draws each image's width and height between half of
    `size` and `size`, so that models of dynamic resolution get different numbers of tokens.
    Raises InputError when `n_per_species` or `size` is too small to show anything.
    """
    if n_per_species < 1:
        raise InputError(f"n_per_species is {n_per_species}; a world needs at least 1 image of each species")
    if size < 28:
        raise InputError(f"size is {size} pixels; below 28 nobody can tell the patterns apart")
    root = Path(directory)
    rows = []
    for k in tqdm(range(n_per_species), "rendering", unit=f"x{len(PATHS)} images", disable=not progress):
        for species, path in enumerate(PATHS):
            rng = draws(seed, species, k)
            width, height = rng.integers(size // 2, size + 1, 2).tolist() if ragged else (size, size)
            file = Path("images", *path, f"{path[-1]}_{k:04d}.png")
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(render(species, rng, width, height)).save(root / file)
            row = {"image": file.as_posix(), "label": path[-1], "split": SPLITS[k % len(SPLITS)]}
            rows.append(row | dict(zip(LEVELS, path, strict=True)))
    Taxonomy.from_paths(PATHS, LEVELS).to_json(root / "taxonomy.json")
    manifest = root / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest
