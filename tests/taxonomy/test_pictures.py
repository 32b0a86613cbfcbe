"""Every odd kind of image is either decoded as a viewer would show it, or refused with one clear reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from taxonomy.pictures import UnreadableImage, decode, size

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
"""Not symmetric in any way: a flip or a swapped channel shows."""


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def sixteen_bit_png(values: np.ndarray, colour_type: int) -> bytes:
    """A PNG of sixteen-bit samples, written chunk by chunk (PIL writes no sixteen-bit RGB)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_rgb_is_left_alone() -> None:
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(PICTURE))), PICTURE)


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, PICTURE),
        (2, PICTURE[:, ::-1]),
        (3, PICTURE[::-1, ::-1]),
        (4, PICTURE[::-1]),
        (5, PICTURE.transpose(1, 0, 2)),
        (6, np.rot90(PICTURE, -1)),
        (7, PICTURE.transpose(1, 0, 2)[::-1, ::-1]),
        (8, np.rot90(PICTURE, 1)),
    ],
)
def test_exif_orientation_is_applied(orientation: int, shown: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(PICTURE), exif=exif)), shown)


def test_grey_and_bilevel_and_palette() -> None:
    grey = PICTURE[..., 0]
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(grey))), np.stack([grey] * 3, axis=-1))
    bilevel = grey > 127
    expected = np.stack([bilevel * np.uint8(255)] * 3, axis=-1)
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(bilevel))), expected)
    palette = Image.fromarray(PICTURE).quantize(16)
    np.testing.assert_array_equal(pixels(saved(palette)), np.asarray(palette.convert("RGB")))


def test_cmyk_jpeg() -> None:
    smooth = np.tile(np.linspace(40, 200, 32, dtype=np.uint8)[:, None, None], (1, 32, 3)) * [1, 0.8, 0.5]
    image = Image.fromarray(smooth.astype(np.uint8)).convert("CMYK")
    data = saved(image, "JPEG", quality=100, subsampling=0)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(pixels(data).astype(int) - smooth.astype(int)).max() < 8


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_transparency_shows_white(mode: str) -> None:
    """Three ways to be transparent: an alpha channel, a transparent palette entry, a transparent colour."""
    black = {"RGBA": (0, 0, 0, 0), "LA": (0, 0), "P": 0, "RGB": (0, 0, 0), "L": 0}[mode]
    image = Image.new(mode, (4, 4), black)
    options = {"P": {"transparency": 0}, "RGB": {"transparency": (0, 0, 0)}, "L": {"transparency": 0}}.get(mode, {})
    assert (pixels(saved(image, **options)) == 255).all()


def test_half_transparent_is_mixed_with_white() -> None:
    shown = pixels(saved(Image.new("RGBA", (2, 2), (200, 0, 100, 128))))[0, 0]
    np.testing.assert_allclose(shown, [227, 127, 177], atol=1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 257 * 10, 257 * 128], [257 * 200, 65535 - 257, 65535]], np.uint16)
    shown = pixels(saved(Image.fromarray(values), kind))
    np.testing.assert_array_equal(shown[..., 0], [[0, 10, 128], [200, 254, 255]])
    np.testing.assert_array_equal(shown[..., 0], shown[..., 2])


def test_sixteen_bit_rgb() -> None:
    values = PICTURE.astype(np.uint16) * 257
    np.testing.assert_array_equal(pixels(sixteen_bit_png(values, colour_type=2)), PICTURE)


def test_float_images() -> None:
    values = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(
        pixels(saved(Image.fromarray(values), "TIFF"))[..., 1], [[0, 51, 102], [153, 204, 255]]
    )
    with pytest.raises(UnreadableImage, match="pixel values from 0 to 40 have no known scale"):
        decode(saved(Image.fromarray(values * 40), "TIFF"))
    values[0, 0] = np.nan
    with pytest.raises(UnreadableImage, match="NaN"):
        decode(saved(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    assert (pixels(data) == [255, 0, 0]).all()


def test_one_pixel_is_an_image() -> None:
    assert pixels(saved(Image.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1, 2, 3]]]


def test_truncated_and_broken_files() -> None:
    jpeg = saved(Image.fromarray(PICTURE).resize((200, 200)), "JPEG")
    with pytest.raises(UnreadableImage, match="truncated JPEG"):
        decode(jpeg[: len(jpeg) // 2])
    png = saved(Image.fromarray(PICTURE))
    with pytest.raises(UnreadableImage, match="PNG"):
        decode(png[: len(png) // 2])
    broken = bytearray(png)
    broken[len(png) // 2] ^= 0xFF
    with pytest.raises(UnreadableImage, match="PNG"):
        decode(bytes(broken))


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"<html>not found</html>", "not an image"), (b"\xff\xd8\xff", "not an image|header|truncated")],
)
def test_files_that_are_no_images(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        decode(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 20_000])
def test_decompression_bombs_are_refused_before_they_are_decoded(side: int) -> None:
    """Between PIL's limit (90 million pixels, where it only warns) and twice that, and beyond (where it raises)."""
    row = zlib.compressobj(9)
    body = b"".join(row.compress(bytes(1 + side // 8 + 1)) for _ in range(3)) + row.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    with pytest.raises(UnreadableImage, match="too many pixels"):
        decode(bomb)


def test_size_reads_the_header_and_never_raises() -> None:
    data = saved(Image.fromarray(PICTURE))
    assert size(data) == (30, 20)
    assert size(data[: len(data) // 2]) == (30, 20)
    assert size(b"") == size(b"junk") == (0, 0)
