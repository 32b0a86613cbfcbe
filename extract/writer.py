"""Write a store unit by unit, so that what an interruption can leave is either a whole unit or nothing.

A flush unit is one chunk of rows across every site. Its order on disk is the protocol:

1. the chunks of every site, each a temporary file renamed into place,
2. the chunk of `sample/sha256`,
3. the chunk of `sample/status`: the commit marker. A chunk of statuses exists, and has no "pending" in it, only when
   everything before it is in place.

A kill between any two steps leaves the unit pending and it is done again. Nothing is fsynced: the page cache
outlives a killed process. After a power cut a file may be short or missing while its marker survived; chunks are not
compressed, so their exact size is known, and a unit counts as committed only if every one of its chunks has that size
and its hashes and statuses can be read.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from commandline import InputError
from extract.chunks import chunk_bytes, chunk_file, read_strings, write_chunk, write_strings
from extract.dtypes import bits, fill_value, finite_rows, to_stored
from extract.layout import OK, PENDING, units
from extract.store import Store

if TYPE_CHECKING:
    from torch import Tensor


class Writer:
    """Fills a store opened with mode "r+", one flush unit at a time: `put` rows, then `commit` the unit.

    Buffers for one unit are allocated once, (layer, chunk row, feature) per array. Hold `extract.lock.lock` meanwhile.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.units = tuple(units(len(store), store.chunk_rows))
        committed = committed_units(store)
        self.pending = tuple(unit for unit in self.units if unit not in committed)
        self._committed = sum(map(len, committed))
        try:
            remove_partial_files(store.path)
        except OSError as error:
            raise self._explained(error) from error
        self._buffers = {
            name: np.full((*array.shape[:-2], *array.chunks[-2:]), array.fill_value, array.dtype)
            for name, array in store.arrays.items()
        }
        self._rows_per_chunk = min(store.chunk_rows, len(store))
        columns = {name: store.group[name] for name in ("sample/sha256", "sample/status")}
        self._arrays: dict[str, Any] = {**store.arrays, **columns}
        self._filled = {name: np.zeros(self._rows_per_chunk, bool) for name in store.sites}

    def put(self, unit: range, rows: Sequence[int], values: Mapping[str, Tensor]) -> dict[int, str]:
        """Place activations, {site: float tensor (len(rows), feature)}, at sample indices `rows` of `unit`.

        Rows holding a NaN or an infinity after rounding to the stored dtype are returned, {row: first such site}; the
        caller quarantines them.
        """
        at = np.asarray(rows) - unit.start
        broken: dict[int, str] = {}
        for name, tensor in values.items():
            site = self.store.sites[name]
            stored = to_stored(tensor, site.logical_dtype)
            for row in np.asarray(rows)[~finite_rows(stored)]:
                broken.setdefault(int(row), name)
            self._rows(name)[at] = bits(stored)
            self._filled[name][at] = True
        return broken

    def commit(self, unit: range, sha256: Sequence[str], status: Sequence[str]) -> None:
        """Write the unit and its marker. `status` per row: "ok", or the reason of quarantine (the row becomes NaN).

        Raises InputError when the disk is full or cannot be written (everything committed before stays); ValueError if
        a row marked ok was never put.
        """
        if PENDING in status or not len(status) == len(sha256) == len(unit):
            raise ValueError(f"unit {unit}: one final status and one sha256 per row are needed")
        empty = [row for row, one in enumerate(status) if one != OK] + list(range(len(unit), self._rows_per_chunk))
        for name, filled in self._filled.items():
            filled[empty] = True
            if not filled.all():
                raise ValueError(f"unit {unit}: rows marked ok were never put at {name}")
            filled[:] = False
            self._rows(name)[empty] = fill_value(self.store.sites[name].logical_dtype)
        position = unit.start // self.store.chunk_rows
        try:
            for name, site in self.store.sites.items():
                write_chunk(self._file(site.array, *site.chunk(position)), self._rows(name))
            for column, strings in (("sha256", sha256), ("status", status)):
                write_strings(self._file(f"sample/{column}", position), strings, self._rows_per_chunk)
            self._committed += len(unit)
        except OSError as error:
            raise self._explained(error) from error

    def _explained(self, error: OSError) -> InputError:
        safe = f"the {self._committed:,} of {len(self.store):,} samples committed before are safe"
        again = "and run the same command again"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return InputError(f"the disk of {self.store.path} is full; {safe}: free some space {again}")
        file = error.filename or self.store.path
        return InputError(
            f"cannot write {file}: {error.strerror or error}; {safe}: make it possible to write there {again}"
        )

    def _rows(self, name: str) -> np.ndarray:
        site = self.store.sites[name]
        buffer = self._buffers[site.array]
        return buffer if site.index is None else buffer[site.index]

    def _file(self, array: str, *chunk: int) -> str:
        return chunk_file(self.store.path, self._arrays[array], *chunk)


def committed_units(store: Store) -> set[range]:
    """Units with a commit marker, hashes, and every chunk at its full size."""
    columns: list[Any] = [store.group["sample/sha256"], store.group["sample/status"]]
    rows = min(store.chunk_rows, len(store))
    return {
        unit
        for position, unit in enumerate(units(len(store), store.chunk_rows))
        if _settled(*(read_strings(chunk_file(store.path, column, position), rows) for column in columns))
        and not damaged_chunks(store, unit)
    }


def _settled(sha256: list[str] | None, status: list[str] | None) -> bool:
    return sha256 is not None and status is not None and PENDING not in status


def damaged_chunks(store: Store, unit: range) -> list[str]:
    """What is wrong with the unit's chunk files, one phrase each; empty when all are there at their full size."""
    problems = []
    for site in store.sites.values():
        array = store.arrays[site.array]
        file = Path(chunk_file(store.path, array, *site.chunk(unit.start // store.chunk_rows)))
        expected = chunk_bytes(array)
        if not file.is_file():
            problems.append(f"{site.name}: {file.relative_to(store.path)} is missing")
        elif file.stat().st_size != expected:
            size = file.stat().st_size
            problems.append(f"{site.name}: {file.relative_to(store.path)} has {size:,} bytes instead of {expected:,}")
    return problems


def remove_partial_files(path: Path) -> int:
    """Delete the temporary files left by a killed process; returns how many there were."""
    partial = list(path.rglob("*.partial"))
    for file in partial:
        file.unlink(missing_ok=True)
    return len(partial)
