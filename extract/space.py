"""How much disk a store takes, and whether it is there."""

from __future__ import annotations

import shutil
from pathlib import Path

from commandline import InputError
from extract.config import ExtractConfig
from extract.store import Store
from extract.writer import committed_units


def require(folder: Path, needed: int) -> None:
    """Raise InputError when the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"the disk of {folder} has {free / 1e9:.2f} GB free and {needed / 1e9:.2f} GB are needed: "
            "free some, or choose fewer --sites or another --store"
        )


def of_store(n: int, chunk_rows: int, per_sample: int) -> int:
    """Bytes of a whole store's activations: every chunk is as long as the first."""
    return -(-n // chunk_rows) * min(n, chunk_rows) * per_sample


def foretold(config: ExtractConfig, n: int, chunk_rows: int) -> int:
    """Bytes of the store these settings make, from the model's configuration; 0 for a model that cannot be foretold."""
    from extract.plan import bytes_per_sample, expected_sites

    try:
        return of_store(n, chunk_rows, bytes_per_sample(*expected_sites(config)))
    except InputError:  # what is wrong with the model is said where it is loaded
        return 0


def left(store: Store) -> int:
    """Bytes still to be written to a store."""
    per_sample = sum(array.dtype.itemsize * array.size for array in store.arrays.values()) // len(store)
    done = sum(map(len, committed_units(store)))
    return per_sample * (len(store) - done)
