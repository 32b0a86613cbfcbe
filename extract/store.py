"""The store: one zarr v3 group = one model x one dataset x one prompt, readable with plain zarr or xarray.

    <name>.zarr/
      attributes          schema_version, model, processor_hash, prompt, dataset, taxonomy, sites, chunk_rows, ...
      encoder             (layer, sample, feature)     encoder_layer   the site names along its first axis
      projector           (sample, feature)
      llm                 (layer, sample, feature)     llm_layer       the last one is `llm.final`
      text                (layer, sample, feature)     text_layer
      sample/             id, leaf, split, sha256, status   one entry per row

A stage whose layers differ in width has one array per width (`encoder_96`, `encoder_192`). The attribute `sites` maps
every site name to its array and index, so nothing has to be guessed. Row i of every array is sample i.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from commandline import InputError
from extract import layout
from extract.chunks import chunk_file, read_chunk
from extract.dtypes import decode
from extract.layout import OK, SCHEMA_VERSION, SiteInfo, SiteLike, units

if TYPE_CHECKING:
    from taxonomy import Taxonomy


READERS = 4
"""Threads that read a matrix: as many as a disk or a network file system profits from."""


@dataclass(frozen=True)
class Samples:
    """One entry per row. Strings are object arrays, `leaf` is int32 (an index into the taxonomy's leaves).

    `status` is "ok", "pending" (not extracted yet) or the reason of quarantine. `level` exists in text stores only:
    the taxonomy level a row's prompt asks about.
    """

    id: np.ndarray
    leaf: np.ndarray
    split: np.ndarray
    sha256: np.ndarray
    status: np.ndarray
    level: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True)
class Store:
    """Read activations; `Store.open` and `Store.create` make one."""

    path: Path
    group: zarr.Group

    @classmethod
    def open(cls, path: str | Path, mode: str = "r") -> Store:
        """Open an existing store (`mode` "r", or "r+" for a writer). Raises InputError when there is none."""
        path = Path(path)
        if not (path / "zarr.json").is_file():
            hint = " (it is not a directory holding a zarr.json)" if path.exists() else ""
            raise InputError(f"{path}: no store here{hint}; `python -m extract` makes one")
        try:
            group = zarr.open_group(path, mode=mode, zarr_format=3)  # pyright: ignore[reportArgumentType]
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise InputError(f"{path}: not a readable zarr v3 group ({error}); remove it and extract again") from error
        version = group.attrs.get("schema_version")
        if version != SCHEMA_VERSION:
            raise InputError(f"{path}: schema version {version!r}; this taxoprobe reads version {SCHEMA_VERSION}")
        return cls(path, group)

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        sites: Iterable[SiteLike],
        ids: Sequence[str],
        leaf: np.ndarray,
        split: Sequence[str] | np.ndarray,
        taxonomy: Taxonomy,
        attrs: Mapping[str, Any] | None = None,
        level: Sequence[str] | None = None,
        logical_dtype: str = "bfloat16",
        chunk_rows: int = 1024,
    ) -> Store:
        """Lay out an empty store: every array at its full shape, every row pending.

        It is built under another name and renamed, so `path` either does not exist or is whole. `sites` keep their
        order along the layer axis; `attrs` must be JSON-able. Raises InputError on repeated ids or an existing path.
        """
        path, sites = Path(path), list(sites)
        layout.check(path, sites, ids, leaf, split, logical_dtype, chunk_rows)
        infos = layout.place(sites, logical_dtype)
        building = path.with_name(path.name + ".new")
        shutil.rmtree(building, ignore_errors=True)
        header = dict(attrs or {}) | {
            "schema_version": SCHEMA_VERSION,
            "taxonomy": taxonomy.to_dict(),
            "sites": {info.name: asdict(info) for info in infos},
            "chunk_rows": chunk_rows,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        table = {"id": ids, "leaf": np.asarray(leaf, np.int32), "split": split, "sha256": None, "status": None}
        try:
            group = zarr.create_group(building, attributes={"certificate": None} | header)
            for array in dict.fromkeys(info.array for info in infos):
                layout.create_array(group, array, [info for info in infos if info.array == array], len(ids), chunk_rows)
            layout.create_samples(group, table | ({} if level is None else {"level": level}), len(ids), chunk_rows)
            building.rename(path)
        except OSError as error:
            shutil.rmtree(building, ignore_errors=True)
            raise InputError(f"cannot write {path}: {error.strerror}; give another --store") from error
        return cls.open(path, mode="r+")

    @cached_property
    def attrs(self) -> Mapping[str, Any]:
        """The group's attributes, as written at creation."""
        return MappingProxyType(self.group.attrs.asdict())

    @cached_property
    def sites(self) -> Mapping[str, SiteInfo]:
        """Site name -> where it lies, in the order the model runs them."""
        return MappingProxyType({name: SiteInfo(**info) for name, info in self.attrs["sites"].items()})

    @cached_property
    def taxonomy(self) -> Taxonomy:
        from taxonomy import Taxonomy

        return Taxonomy.from_dict(self.attrs["taxonomy"])

    @property
    def chunk_rows(self) -> int:
        """Rows per chunk, which is also the flush unit: what an interruption can lose."""
        return self.attrs["chunk_rows"]

    @cached_property
    def samples(self) -> Samples:
        """The sample table as of the first look; open the store again to see what was written since."""
        return read_samples(self.group)

    @cached_property
    def ok(self) -> np.ndarray:
        """(n,) bool: rows that hold activations (neither pending nor quarantined)."""
        ok = self.samples.status == OK
        ok.setflags(write=False)
        return ok

    def __len__(self) -> int:
        return self.group["sample/leaf"].shape[0]  # pyright: ignore[reportAttributeAccessIssue]

    def site(self, name: str) -> SiteInfo:
        """The site of that name. Raises InputError naming the sites there are."""
        if name not in self.sites:
            raise InputError(f"{self.path} has no site {name!r}; it has {', '.join(self.sites)}")
        return self.sites[name]

    @cached_property
    def arrays(self) -> Mapping[str, zarr.Array]:
        """Array name -> zarr array, for the arrays that hold activations."""
        names = dict.fromkeys(site.array for site in self.sites.values())
        return MappingProxyType({name: self.group[name] for name in names})  # pyright: ignore[reportReturnType]

    def matrix(self, name: str, rows: np.ndarray | Sequence[int] | slice | None = None) -> np.ndarray:
        """Activations of a site, float32 (sample, feature); `rows` picks and orders (indices, a slice or a mask).

        Quarantined and pending rows are NaN. Whole chunks are read: random rows of a chunked array are 50 times slower.
        No more than READERS chunks are held beside the result.
        """
        site = self.site(name)
        wanted = np.arange(len(self)) if rows is None else np.arange(len(self))[rows]
        unit_of = wanted // self.chunk_rows
        out = np.empty((len(wanted), site.width), np.float32)

        def read(part: np.ndarray) -> None:
            buffer = np.empty((min(self.chunk_rows, len(self)), site.width), self.arrays[site.array].dtype)
            for unit in part:
                chunk = self.read_unit(name, int(unit), buffer)
                if rows is None:
                    start = unit * self.chunk_rows
                    decode(chunk, site.logical_dtype, out[start : start + len(chunk)])
                else:
                    here = np.flatnonzero(unit_of == unit)
                    out[here] = decode(chunk[wanted[here] % self.chunk_rows], site.logical_dtype)

        _in_parts(read, np.unique(unit_of))
        return out

    def bits(self, name: str) -> np.ndarray:
        """A site's stored numbers, (sample, feature), as zarr gives them: uint16 bits where its dtype is bfloat16."""
        site = self.site(name)
        out = np.empty((len(self), site.width), self.arrays[site.array].dtype)
        rows = units(len(self), self.chunk_rows)

        def read(part: np.ndarray) -> None:
            for unit in part:
                self.read_unit(name, int(unit), out[rows[unit].start : rows[unit].stop])

        _in_parts(read, np.arange(len(rows)))
        return out

    def read_unit(self, name: str, unit: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """The stored numbers (bfloat16 as bits) of a site's `unit`-th chunk, (row, feature), NaN where never written.

        `buffer` is filled if given, (chunk_rows, feature) of the array's dtype; the result is a view of it. Raises
        InputError for a chunk that is cut short.
        """
        site = self.site(name)
        array = self.arrays[site.array]
        count = min(self.chunk_rows, len(self) - unit * self.chunk_rows)
        out = np.empty((count, site.width), array.dtype) if buffer is None else buffer[:count]
        try:
            read_chunk(chunk_file(self.path, array, *site.chunk(unit)), out)
        except FileNotFoundError:
            out[...] = array.fill_value
        return out


def _in_parts(read: Callable[[np.ndarray], None], every: np.ndarray) -> None:
    """`read` in parts, in a few threads: reading, copying and decoding leave the interpreter lock."""
    parts = [part for part in np.array_split(every, READERS) if len(part)]
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, parts))


def read_samples(group: zarr.Group) -> Samples:
    """The sample table, read-only arrays. Raises InputError when a chunk of it cannot be read."""
    columns: dict[str, np.ndarray] = {}
    for field in fields(Samples):
        name = f"sample/{field.name}"
        if name not in group:
            continue
        try:
            values = np.asarray(group[name][:])  # pyright: ignore[reportIndexIssue, reportArgumentType]
        except Exception as error:  # zarr's codecs fail in their own ways on a damaged chunk
            raise InputError(
                f"{group.store_path}/{name} is damaged ({error}); the command that made the store mends it"
            ) from error
        columns[field.name] = values if field.name == "leaf" else values.astype(object)
        columns[field.name].setflags(write=False)
    return Samples(**columns)
