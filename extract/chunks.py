"""Chunks as files: read and written directly, in one copy.

An uncompressed chunk of a zarr v3 array is one file of raw little-endian numbers, so a whole chunk needs no codec.
Through zarr it takes two more copies and a hand-over between three threads, which on a busy machine lasts longer than
the chunk itself (measured 0.1 to 2.6 GB/s; directly 2 to 5 GB/s). zarr lays the arrays out, and reads them as any.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr
from numcodecs.vlen import VLenUTF8

from commandline import InputError


def chunk_file(store: Path, array: zarr.Array, *coordinates: int) -> str:
    """The file of a chunk, given by its place in the grid of chunks."""
    return f"{store}/{array.path}/{array.metadata.encode_chunk_key(coordinates)}"


def chunk_bytes(array: zarr.Array) -> int:
    """The size of every chunk file of an array of numbers: the last one is as long as the others."""
    return int(np.prod(array.chunks)) * array.dtype.itemsize


def write_chunk(file: str, values: np.ndarray) -> None:
    """Write a whole chunk of numbers, contiguous (see `write_file`)."""
    write_file(file, (values if sys.byteorder == "little" else values.byteswap()).data.cast("B"))


def write_strings(file: str, values: Sequence[str], chunk_rows: int) -> None:
    """Write a whole chunk of strings, in zarr's `vlen-utf8`; a last, shorter one is filled up with empty strings."""
    padded = [*values, *[""] * (chunk_rows - len(values))]
    write_file(file, memoryview(VLenUTF8().encode(np.array(padded, object))))


def read_strings(file: str, chunk_rows: int) -> list[str] | None:
    """The strings of a chunk; None where it is missing or damaged."""
    try:
        data = Path(file).read_bytes()
        if int.from_bytes(data[:4], "little") != chunk_rows:  # the codec would make room for any number it is told
            return None
        return VLenUTF8().decode(data).tolist()
    except Exception:  # whatever is wrong with the bytes, they hold no strings
        return None


def write_file(file: str, data: memoryview) -> None:
    """Write a file under a temporary name, then give it its own: it is there whole or not at all. Raises OSError."""
    temporary = f"{file}.partial"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        try:
            while len(data):  # a write may be short: never more than 2 GiB on Linux, and less when the disk fills up
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
        os.replace(temporary, file)  # noqa: PTH105 (a store has a hundred thousand files: pathlib would cost seconds)
    except OSError as error:
        error.filename = file  # a failed write does not say of which file
        Path(temporary).unlink(missing_ok=True)
        raise


def read_chunk(file: str, out: np.ndarray) -> None:
    """Fill `out`, contiguous (row, feature), from the first rows of a chunk. Raises InputError when it is cut short."""
    view = out.data.cast("B")
    with open(file, "rb", buffering=0) as handle:  # noqa: PTH123
        while len(view):
            count = handle.readinto(view)
            if not count:
                raise InputError(
                    f"{file} ends {len(view):,} bytes early: `python -m extract verify` says what else is damaged, and "
                    "the command that made the store mends it"
                )
            view = view[count:]
    if sys.byteorder == "big":
        out.byteswap(inplace=True)
