"""Models of the hooks tests: the tiny checkpoints loaded once, and images of different sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hooks import Loaded, load
from hooks.encoding import encode
from organisms.architectures import ARCHITECTURES

PROMPT = "Describe this image."
SIZES = ((100, 60), (56, 140), (80, 80))


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise: no two patches alike."""
    pixels = np.random.default_rng([seed, width, height]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def loaded_of(checkpoints: dict[str, Path]) -> Callable[[str], Loaded]:
    models: dict[str, Loaded] = {}

    def get(name: str) -> Loaded:
        if name not in models:
            models[name] = load(checkpoints[name], "cpu")
        return models[name]

    return get


@pytest.fixture(params=ARCHITECTURES)
def loaded(request: pytest.FixtureRequest, loaded_of: Callable[[str], Loaded]) -> Loaded:
    return loaded_of(request.param)


@pytest.fixture
def sample(loaded: Loaded) -> dict:
    return encode(loaded.processor, picture(*SIZES[0]), PROMPT)


@pytest.fixture
def batch(loaded: Loaded) -> dict:
    """Three images of different sizes in one padded batch, made by the processor itself."""
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}]
    text = loaded.processor.apply_chat_template(turn, add_generation_prompt=True)
    images = [[picture(*size)] for size in SIZES]
    return dict(loaded.processor(text=[text] * len(SIZES), images=images, return_tensors="pt", padding=True))
