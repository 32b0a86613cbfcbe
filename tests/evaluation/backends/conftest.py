"""Photographs of noise, and questions on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.asks import Ask

LEVELS = ("order", "family of it", "genus", "species, in Latin")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four images, of which two have one size."""
    folder = tmp_path_factory.mktemp("photographs")
    for number, (width, height) in enumerate([(120, 90), (90, 160), (120, 90), (40, 40)]):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def questions(image: Path | None, max_new_tokens: int = 1, system: str | None = None, name: str = "") -> list[Ask]:
    """A question per level, as a bank has them."""
    return [
        Ask(
            f"{image and image.stem}#{level}#{max_new_tokens}#{system}#{name}",
            image,
            f"What is the {level}?\n\nA. one {level}\nB. two\nC. three\nD. four\n\nAnswer with the letter.",
            ("A", "B", "C", "D"),
            system,
            max_new_tokens,
        )
        for level in LEVELS
    ]
