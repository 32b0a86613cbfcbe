"""From the bytes of an image file to RGB pixels, or one clear reason why not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from commandline import first_line

WHITE = (255, 255, 255, 255)
SIXTEEN_BITS = 65_535


class UnreadableImage(ValueError):
    """Why an image cannot be used; the message becomes the sample's status."""


def decode(data: bytes) -> Image.Image:
    """The picture as RGB, 8 bits a channel, upright.

    The EXIF orientation is applied; transparency is composited on white; grey and palette images become RGB;
    sixteen-bit and float images are scaled to eight bits, not clipped; CMYK is converted without its colour profile; an
    animation gives its first frame. Raises UnreadableImage for a file that is truncated, of no known format, or has
    more pixels than PIL's limit against decompression bombs.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise UnreadableImage("not an image of a format PIL knows") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"too many pixels: {error}") from None
    except Exception as error:
        raise UnreadableImage(f"broken image header: {first_line(error)}") from error
    with image:
        _check_pixels(image)
        try:
            image.load()
        except Exception as error:  # each of PIL's decoders fails in its own way on a broken file
            kind = "truncated" if "truncated" in str(error).lower() else "undecodable"
            raise UnreadableImage(f"{kind} {image.format}: {first_line(error)}") from error
        try:
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
        except UnreadableImage:
            raise
        except Exception as error:
            raise UnreadableImage(f"{image.format} image of mode {image.mode}: {first_line(error)}") from error


def read(path: Path) -> Image.Image:
    """The picture in a file, as `decode`. Raises UnreadableImage, which names the file."""
    try:
        return decode(path.read_bytes())
    except UnreadableImage as error:
        raise UnreadableImage(f"{path}: {error}") from error
    except OSError as error:
        raise UnreadableImage(f"{path} cannot be read: {error.strerror}") from error


def size(data: bytes) -> tuple[int, int]:
    """(width, height) from the header alone, as stored; (0, 0) where there is none to read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except Exception:  # `decode` says why
        return 0, 0


def _check_pixels(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise UnreadableImage(f"too many pixels: {image.width} x {image.height}, the limit is {limit:,} in all")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, WHITE), picture).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> np.ndarray:
    """One channel of more than eight bits, scaled: sixteen-bit integers by 255 / 65,535, floats in [0, 1] by 255."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise UnreadableImage("its pixels hold NaN or infinity")
    low, high = float(values.min()), float(values.max())
    top = 1.0 if image.mode == "F" else float(SIXTEEN_BITS)
    if low < 0 or high > top:
        raise UnreadableImage(
            f"pixel values from {low:g} to {high:g} have no known scale ({image.mode}, expected 0 to {top:g})"
        )
    return np.rint(values * (255 / top)).astype(np.uint8)
