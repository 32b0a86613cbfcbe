"""How a store is laid out: which array a site lies in, which shapes, chunks and names the arrays have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mode
from typing import Any, Protocol

import numpy as np
import zarr

from commandline import InputError
from extract.dtypes import STORED, fill_value

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
    def reads(self) -> str: ...
    @property
    def width(self) -> int: ...


@dataclass(frozen=True)
class SiteInfo:
    """A site and where its rows lie: `store.group[array][index]`, or `store.group[array]` when `index` is None."""

    name: str
    stage: str
    layer: int | None
    module: str
    reads: str
    """Which side of the module: input or output."""
    width: int
    logical_dtype: str
    array: str
    index: int | None

    def chunk(self, unit: int) -> tuple[int, ...]:
        """The place in its array's grid of chunks of the site's `unit`-th chunk of rows."""
        return (unit, 0) if self.index is None else (self.index, unit, 0)


def units(n: int, chunk_rows: int) -> list[range]:
    """The flush units of n rows: whole chunks, the last one shorter."""
    return [range(start, min(start + chunk_rows, n)) for start in range(0, n, chunk_rows)]


def check(
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


def place(sites: list[SiteLike], logical_dtype: str) -> list[SiteInfo]:
    """Give each site its array and index: a stage is one array, and sites of other widths than most of it has lie in
    arrays of their own, `<stage>_<width>`."""
    stages = {site.stage for site in sites}
    usual = {stage: mode(site.width for site in sites if site.stage == stage) for stage in stages}
    arrays = [site.stage if site.width == usual[site.stage] else f"{site.stage}_{site.width}" for site in sites]
    infos = []
    for position, (site, array) in enumerate(zip(sites, arrays, strict=True)):
        flat = array == "projector" and arrays.count(array) == 1
        index = None if flat else arrays[:position].count(array)
        where = (site.name, site.stage, site.layer, site.module, site.reads)
        infos.append(SiteInfo(*where, site.width, logical_dtype, array, index))
    return infos


def create_array(group: zarr.Group, array: str, infos: list[SiteInfo], n: int, chunk_rows: int) -> None:
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


def create_samples(group: zarr.Group, table: Mapping[str, Any], n: int, chunk_rows: int) -> None:
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
