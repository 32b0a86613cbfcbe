"""`python -m analysis geometry STORE`: the geometry of every site, as tables, figures and one page."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.geometry.config import DIRECTIONS, INNER_PRODUCTS, GeometryConfig, chosen
from analysis.geometry.judging import orthogonality
from analysis.geometry.parts import Part, Parts, Record, Unit
from analysis.geometry.ruling import Rule
from analysis.geometry.tracked import geometry_of
from analysis.geometry.writing import KIND, write
from commandline import InputError
from extract import Store
from extract.progress import bar
from hooks.sites import select_names
from probing.certified import uncertified
from probing.grid import resolve_device
from probing.results import check_out, default_out
from probing.rows import read_site, usable_rows
from tracking import track

SCHEMA_VERSION = 1


def run(config: GeometryConfig) -> None:
    """Measure, write and print. Raises InputError before any work where that can be seen."""
    started = time.monotonic()
    store, out = Store.open(config.store), out_of(config)
    check_out(out, KIND)
    if store.samples.level is not None:
        raise InputError(f"{store.path} is a text store, a row per prompt; geometry is measured on images")
    sites = select_names(list(store.sites), config.sites)  # pyright: ignore[reportArgumentType]
    units = units_of(config, store, sites)
    refused = uncertified(store, sites, config.allow_uncertified)
    resolve_device(config.device)
    rows = rows_of(config, store)
    untrained = Store.open(config.random_init) if config.random_init else None
    there = same_rows(store, untrained, rows) if untrained else None
    leaf_probes(config)
    parts = Parts.of(out.with_name(f".{out.name}.parts"), _question(config, store, rows))
    vectors = unembedding_of(config, store, [unit for unit in units if parts.read(unit) is None])
    found = list(measured(config, store, rows, units, parts, "geometry", vectors))
    random = []
    if untrained is not None and there is not None:
        shared = [unit for unit in units if unit.site in untrained.sites and unit.inner_product != "causal"]
        other = Parts.of(parts.folder, [_question(config, untrained, there), "random init"])
        random = list(measured(config, untrained, there, shared, other, "random init", vectors))
    summary = {
        "geometry_version": SCHEMA_VERSION,
        "store": about_store(store),
        "config": config.model_dump(mode="json", exclude={"wandb"}),
        "rule": found[0].rule,
        "sites": [{"site": name, "stage": store.sites[name].stage, "layer": store.sites[name].layer} for name in sites],
        "levels": list(store.taxonomy.levels),
        "rows": len(rows),
        "uncertified": refused,
        "random_init": untrained and about_store(untrained),
        "seconds": round(time.monotonic() - started, 1),
    }
    write(out, found, random, leaf_probes(config), summary)
    shutil.rmtree(parts.folder, ignore_errors=True)
    track(config.wandb, lambda: geometry_of(config, out, store))


def out_of(config: GeometryConfig) -> Path:
    path = Path(config.store)
    return Path(config.out) if config.out else path.with_name(f"{path.name.removesuffix('.zarr')}.geometry")


def units_of(config: GeometryConfig, store: Store, sites: Sequence[str]) -> list[Unit]:
    """Site by site; the causal inner product at the language model's sites alone.

    Raises InputError for directions or an inner product that there is not.
    """
    directions = chosen(config.directions, DIRECTIONS, "directions")
    products = chosen(config.inner_products, INNER_PRODUCTS, "inner_products")
    units = [
        Unit(site, way, product)
        for site in sites
        for way in directions
        for product in products
        if product != "causal" or store.sites[site].stage == "llm"
    ]
    if not units:
        raise InputError("the causal inner product is of a language model's residual stream; choose sites llm.*")
    return units


def unembedding_of(config: GeometryConfig, store: Store, units: Sequence[Unit]) -> np.ndarray | None:
    """The model's unembedding, where a unit needs it. Raises InputError for a model without one, or of other width."""
    needed = [unit.site for unit in units if unit.inner_product == "causal"]
    if not needed:
        return None
    from analysis.geometry.unembedding import unembedding

    model = config.model or (store.attrs.get("model") or {}).get("id")
    if model is None:
        raise InputError(f"{store.path} does not say what model it is of; name it with --model")
    vectors = unembedding(str(model))[0]
    if vectors.shape[1] != (width := store.sites[needed[0]].width):
        raise InputError(f"{model} has unembedding vectors of {vectors.shape[1]} features, and {needed[0]} has {width}")
    return vectors


def rows_of(config: GeometryConfig, store: Store) -> np.ndarray:
    """int (row,): the usable rows of the split. Raises InputError where there is none."""
    rows = usable_rows(store, config.allow_partial)
    if config.split is None:
        return rows
    splits = store.samples.split[rows].astype(str)
    if not (splits == config.split).any():
        there = ", ".join(sorted(set(splits.tolist())))
        raise InputError(f"{store.path} has no usable row of the split {config.split!r}; it has {there}")
    return rows[splits == config.split]


def same_rows(store: Store, other: Store, rows: np.ndarray) -> np.ndarray:
    """The rows of another store that hold the same samples. Raises InputError where one is missing."""
    place = {name: row for row, name in enumerate(other.samples.id.tolist()) if other.ok[row]}
    missing = [name for name in store.samples.id[rows].tolist() if name not in place]
    if missing:
        raise InputError(f"{other.path} lacks {len(missing):,} of the {len(rows):,} samples, {missing[0]!r} for one")
    return np.array([place[name] for name in store.samples.id[rows].tolist()])


def leaf_probes(config: GeometryConfig) -> list[Record]:
    """What probes of unseen leaves found, if anything. Raises InputError for a folder that was named and is none."""
    folder = Path(config.leaf_probes) if config.leaf_probes else default_out(config.store, "leaf")
    file = folder / "probes.parquet"
    if not file.is_file():
        if config.leaf_probes:
            raise InputError(f"{folder}: no probe results here; `python -m probing STORE --split leaf` makes them")
        return []
    try:
        return pq.read_table(file).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file} is damaged ({error}); run `python -m probing` again") from error


def measured(
    config: GeometryConfig,
    store: Store,
    rows: np.ndarray,
    units: Sequence[Unit],
    parts: Parts,
    what: str,
    unembedding: np.ndarray | None,
) -> Iterator[Part]:
    """Every unit's part, as kept or as measured now. unembedding: float32 (token, feature) for causal units."""
    kept = {unit: part for unit in units if (part := parts.read(unit))}
    leaf, device = store.samples.leaf[rows], str(resolve_device(config.device))
    site, X = None, np.zeros((0, 0), np.float32)
    with bar(len(units), "measurement", what, done=len(kept)) as progress:
        for unit in units:
            if unit in kept:
                yield kept[unit]
                continue
            if unit.site != site:
                site, X = unit.site, read_site(store, unit.site, rows)
            found = orthogonality(
                X,
                leaf,
                store.taxonomy,
                config.seed,
                directions=unit.directions,  # pyright: ignore[reportArgumentType]
                inner_product=unit.inner_product,  # pyright: ignore[reportArgumentType]
                unembedding=unembedding if unit.inner_product == "causal" else None,
                rule=Rule(margin=config.margin, draws=config.draws),
                device=device,
            )
            part = Part.of(unit, found)
            try:
                parts.write(part)
            except OSError as error:
                raise InputError(f"cannot write {parts.folder}: {error.strerror}; give another --out") from error
            progress.update()
            yield part


def _question(config: GeometryConfig, store: Store, rows: np.ndarray) -> dict[str, Any]:
    """Everything that a part depends on beside its unit."""
    ids = store.samples.id[rows].tolist()
    settings = {name: getattr(config, name) for name in ("draws", "margin", "seed")}
    return {"version": SCHEMA_VERSION, "store": about_store(store), "rows": ids, "settings": settings}


def about_store(store: Store) -> dict[str, Any]:
    """What a reader needs to find it again, and a part to know that it is still the same."""
    attrs = dict(store.attrs)
    text = json.dumps(attrs, sort_keys=True, ensure_ascii=False, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    kept = {key: attrs.get(key) for key in ("model", "dataset", "prompt", "pool", "created")}
    return {"name": store.path.name, "attributes_sha256": digest} | kept
