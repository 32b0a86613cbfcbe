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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import zarr

from commandline import InputError
from extract.chunks import chunk_file, read_chunk
from extract.dtypes import STORED, decode, fill_value

if TYPE_CHECKING:
    from taxonomy import Taxonomy

SCHEMA_VERSION = 1
FLAT: Any = {"name": "default", "separator": "."}
"""Chunks are files `c.<layer>.<unit>.0` beside their array's zarr.json, instead of a folder for each."""
PENDING = "pending"
OK = "ok"


class SiteLike(Protocol):
    """What `Store.create` needs to know of a site; `hooks.Site` has it."""

    @property
    def name(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def layer(self) -> int | None: ...
    @property
    def module(self) -> str: ...
    @property
    def width(self) -> int: ...


@dataclass(frozen=True)
class SiteInfo:
    """A site and where its rows lie: `store.group[array][index]`, or `store.group[array]` when `index` is None."""

    name: str
    stage: str
    layer: int | None
    module: str
    width: int
    logical_dtype: str
    array: str
    index: int | None

    def chunk(self, unit: int) -> tuple[int, ...]:
        """The place in its array's grid of chunks of the site's `unit`-th chunk of rows."""
        return (unit, 0) if self.index is None else (self.index, unit, 0)


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
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise InputError(f"{path}: not a readable zarr v3 group: {error}") from error
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
        _check(path, sites, ids, leaf, split, logical_dtype, chunk_rows)
        infos = _place(sites, logical_dtype)
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
                _create_array(group, array, [info for info in infos if info.array == array], len(ids), chunk_rows)
            _create_samples(group, table | ({} if level is None else {"level": level}), len(ids), chunk_rows)
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

        Quarantined and pending rows are NaN. Whole chunks are read, one at a time: random rows of a chunked array are
        50 times slower, and no more than one chunk is held beside the result.
        """
        site = self.site(name)
        array = self.arrays[site.array]
        wanted = np.arange(len(self)) if rows is None else np.arange(len(self))[rows]
        out = np.empty((len(wanted), site.width), np.float32)
        unit_of = wanted // self.chunk_rows
        buffer = np.empty((min(self.chunk_rows, len(self)), site.width), array.dtype)
        for unit in np.unique(unit_of):
            chunk = self.read_unit(name, int(unit), buffer)
            if rows is None:
                start = unit * self.chunk_rows
                decode(chunk, site.logical_dtype, out[start : start + len(chunk)])
            else:
                here = np.flatnonzero(unit_of == unit)
                out[here] = decode(chunk[wanted[here] % self.chunk_rows], site.logical_dtype)
        return out

    def bits(self, name: str) -> np.ndarray:
        """A site's stored numbers, (sample, feature), as zarr gives them: uint16 bits where its dtype is bfloat16."""
        site = self.site(name)
        out = np.empty((len(self), site.width), self.arrays[site.array].dtype)
        for unit, rows in enumerate(units(len(self), self.chunk_rows)):
            self.read_unit(name, unit, out[rows.start : rows.stop])
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


def units(n: int, chunk_rows: int) -> list[range]:
    """The flush units of n rows: whole chunks, the last one shorter."""
    return [range(start, min(start + chunk_rows, n)) for start in range(0, n, chunk_rows)]


def read_samples(group: zarr.Group) -> Samples:
    """The sample table, read-only arrays."""
    columns: dict[str, np.ndarray] = {}
    for field in fields(Samples):
        name = f"sample/{field.name}"
        if name in group:
            values = np.asarray(group[name][:])  # pyright: ignore[reportIndexIssue, reportArgumentType]
            columns[field.name] = values if field.name == "leaf" else values.astype(object)
            columns[field.name].setflags(write=False)
    return Samples(**columns)


def _check(
    path: Path, sites: list[SiteLike], ids: Sequence[str], leaf, split, logical_dtype: str, chunk_rows: int
) -> None:
    if path.exists():
        raise InputError(f"{path} exists already; give another --store or remove it")
    if not sites:
        raise InputError(f"{path}: a store needs at least one site")
    if not len(ids):
        raise InputError(f"{path}: the dataset has no samples")
    if logical_dtype not in STORED:
        raise InputError(f"store dtype {logical_dtype!r} is not one of {', '.join(STORED)}")
    if chunk_rows < 1:
        raise InputError(f"chunk_rows must be 1 or more, not {chunk_rows}")
    if not len(ids) == len(leaf) == len(split):
        raise InputError(
            f"{len(ids)} ids, {len(leaf)} leaves and {len(split)} splits; there must be one of each per sample"
        )
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))
        raise InputError(f"{path}: the sample id {twice!r} occurs more than once; rows are found by id")


def _place(sites: list[SiteLike], logical_dtype: str) -> list[SiteInfo]:
    """Give each site its array and index: a stage is one array, or one per width when its layers differ in width."""
    widths = {stage: {site.width for site in sites if site.stage == stage} for stage in {site.stage for site in sites}}
    arrays = [site.stage if len(widths[site.stage]) == 1 else f"{site.stage}_{site.width}" for site in sites]
    infos = []
    for position, (site, array) in enumerate(zip(sites, arrays, strict=True)):
        flat = array == "projector" and arrays.count(array) == 1
        index = None if flat else arrays[:position].count(array)
        infos.append(SiteInfo(site.name, site.stage, site.layer, site.module, site.width, logical_dtype, array, index))
    return infos


def _create_array(group: zarr.Group, array: str, infos: list[SiteInfo], n: int, chunk_rows: int) -> None:
    """Dimension names are the array's own: xarray wants one size per name in a group, and stages differ in theirs."""
    layered = infos[0].index is not None
    width, rows = infos[0].width, min(chunk_rows, n)
    group.create_array(
        array,
        shape=(len(infos), n, width) if layered else (n, width),
        chunks=(1, rows, width) if layered else (rows, width),
        chunk_key_encoding=FLAT,
        dtype=STORED[infos[0].logical_dtype],
        fill_value=fill_value(infos[0].logical_dtype),
        compressors=None,
        config={"write_empty_chunks": True},
        dimension_names=((f"{array}_layer",) if layered else ()) + ("sample", f"{array}_feature"),
        attributes={"logical_dtype": infos[0].logical_dtype},
    )
    if layered:
        names = group.create_array(
            f"{array}_layer", shape=(len(infos),), dtype=str, fill_value="", dimension_names=(f"{array}_layer",)
        )
        names[:] = np.array([info.name for info in infos], object)


def _create_samples(group: zarr.Group, table: Mapping[str, Any], n: int, chunk_rows: int) -> None:
    """`sha256` and `status` are chunked by flush unit and written with it; the other columns are written now."""
    samples = group.create_group("sample")
    for name, values in table.items():
        column = samples.create_array(
            name,
            shape=(n,),
            chunks=(min(chunk_rows, n) if values is None else n,),
            chunk_key_encoding=FLAT,
            dtype="int32" if name == "leaf" else str,
            fill_value=-1 if name == "leaf" else PENDING if name == "status" else "",
            compressors=None,
            config={"write_empty_chunks": True},
            dimension_names=("sample",),
        )
        if values is not None:
            column[:] = values if name == "leaf" else np.array([str(value) for value in values], object)
