"""How much disk a store takes, and whether it is there."""

from __future__ import annotations

import shutil
from pathlib import Path

from commandline import InputError
from extract.config import ExtractConfig, TextConfig
from extract.expected import bytes_per_sample, expected_sites
from extract.store import Store
from extract.writer import committed_units


def require(folder: Path, needed: int) -> None:
    """Raise InputError when the disk of `folder` (which need not exist yet) has less than `needed` bytes free."""
    free = shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.exists())).free
    if needed > free:
        raise InputError(
            f"the disk of {folder} has {readable(free)} free and {readable(needed)} are needed: "
            "free some, or choose fewer --sites or another --store"
        )


def needed(store: Store | None, config: ExtractConfig | TextConfig, n: int, chunk_rows: int) -> int:
    """Bytes that an extraction is going to write."""
    return left(store) if store else foretold(config, n, chunk_rows)


def of_store(n: int, chunk_rows: int, per_sample: int) -> int:
    """Bytes of a whole store's activations: every chunk is as long as the first."""
    return -(-n // chunk_rows) * min(n, chunk_rows) * per_sample


def foretold(config: ExtractConfig | TextConfig, n: int, chunk_rows: int) -> int:
    """Bytes of the store these settings make, from the model's configuration; 0 for a model that cannot be foretold."""
    try:
        return of_store(n, chunk_rows, bytes_per_sample(*expected_sites(config)))
    except InputError:  # what is wrong with the model is said where it is loaded
        return 0


def left(store: Store) -> int:
    """Bytes still to be written to a store."""
    per_sample = sum(array.dtype.itemsize * array.size for array in store.arrays.values()) // len(store)
    return per_sample * (len(store) - done(store))


def done(store: Store) -> int:
    """Samples committed."""
    return sum(map(len, committed_units(store)))


def readable(count: float) -> str:
    """Bytes in the unit that suits them: `61.4 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
