"""Real, tiny image files for data sets built by tests, and the published taxonomies where they are present."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

WriteImages = Callable[..., None]


def jpeg(shade: int = 0) -> bytes:
    """A JPEG of 8 x 8 pixels of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def write_images() -> WriteImages:
    """`write_images(root, *names)` writes one JPEG per relative path, each of another grey."""

    def write(root: Path, *names: str) -> None:
        for shade, name in enumerate(names):
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(jpeg(shade))

    return write


@pytest.fixture
def published(shared: Path | None) -> Path:
    """The folder of the study's six taxonomies."""
    if shared is None:
        pytest.skip("no real data here")
    return shared / "data" / "taxonomies"
