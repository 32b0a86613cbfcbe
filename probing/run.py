"""`python -m probing`: from a store to tables."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from commandline import InputError
from extract import SiteInfo, Store
from extract.progress import bar
from hooks.sites import select_names
from probing.calibration import BINS
from probing.certified import overview, uncertified
from probing.config import ProbeConfig
from probing.grid import resolve_device
from probing.nulls import NULL_DRAWS, mark_chance
from probing.plan import Plan, make_plan
from probing.protocol import Settings, SiteProbes, probe_site
from probing.results import PredictionWriter, check_out, default_out, write_summary, write_table, writing
from probing.scores import Record, Scorer
from probing.table import table

STATISTICS = {
    "intervals": "95 %, percentiles of a bootstrap over leaf classes, the same draws at every site",
    "multiple_comparisons": "p_adjusted: step-down max-T (Westfall & Young 1993) over every accuracy and HCA of the "
    "run against its shuffled-label null",
    "null_draws": NULL_DRAWS,
    "ece_bins": BINS,
}


def run(config: ProbeConfig) -> None:
    """Probe a store, write the results and print them. Raises InputError before any work where that can be seen."""
    started = time.monotonic()
    store = Store.open(config.store)
    chosen = select_names(list(store.sites), config.sites)  # pyright: ignore[reportArgumentType]
    sites = [store.sites[name] for name in chosen]
    refused = uncertified(store, chosen, config.allow_uncertified)
    rows = usable_rows(store, config.allow_partial)
    out = Path(config.out) if config.out else default_out(config.store, config.split)
    check_out(out)
    plan = plan_of(config, store, rows)
    settings = settings_of(config)
    scorer = Scorer(plan, draws=config.bootstrap, seed=config.seed, refit=config.refit)
    probes: list[Record] = []
    hca: list[Record] = []
    nulls: list[np.ndarray] = []
    with writing(out) as folder:
        predictions = PredictionWriter(folder)
        names = _unit_names(store, rows, plan)
        for site in bar(len(sites), "site", "probing", iterable=sites):
            found = probe_site(read_site(store, site.name, rows), plan, settings)
            nulls.append(scorer.nulls(found))
            levels, whole = scorer.score(found, nulls[-1])
            place = {"site": site.name, "stage": site.stage, "layer": site.layer, "width": site.width}
            place["certified"] = site.name not in refused
            probes += [place | record for record in levels]
            hca.append(place | whole)
            predictions.write(_predictions(site, plan, found, names))
        predictions.close()
        mark_chance(probes, hca, nulls)
        write_table(folder, "probes", probes)
        write_table(folder, "hca", hca)
        summary = _summary(config, store, plan, rows, settings, time.monotonic() - started) | {"certificate": overview(store), "uncertified": refused}
        write_summary(folder, summary)
    print(table(probes, hca, summary, wide=config.wide))
    print(f"\n{out}: probes.parquet, hca.parquet, predictions.parquet, summary.json")


def plan_of(config: ProbeConfig, store: Store, rows: np.ndarray) -> Plan:
    """What the usable rows of a store are probed for. Raises InputError where nothing can be."""
    samples = store.samples
    return make_plan(
        store.taxonomy,
        samples.leaf[rows],
        samples.split[rows].astype(str),
        samples.id[rows].tolist(),
        asked=None if samples.level is None else samples.level[rows].astype(str),
        levels=config.levels,  # pyright: ignore[reportArgumentType]
        kind=config.split,
        validation_fraction=config.validation_fraction,
        leaf_fraction=config.leaf_fraction,
        seed=config.seed,
    )


def settings_of(config: ProbeConfig) -> Settings:
    """How its probes are fitted. Raises InputError for a device that is not there."""
    return Settings(
        penalties=tuple(config.penalties),
        select=config.select,
        refit=config.refit,
        shuffles=config.shuffles,
        controls=config.controls,
        tol=config.tol,
        max_iter=config.max_iter,
        seed=config.seed,
        device=str(resolve_device(config.device)),
    )


def usable_rows(store: Store, allow_partial: bool) -> np.ndarray:
    """The rows that hold activations. Raises InputError for an unfinished extraction, unless allowed, and for none."""
    pending = int((store.samples.status == "pending").sum())
    if pending and not allow_partial:
        raise InputError(
            f"{store.path}: {pending:,} of {len(store):,} rows are still pending; finish the extraction "
            "(the same `python -m extract` command goes on), or probe what there is with --allow_partial=true"
        )
    rows = np.flatnonzero(store.ok)
    if not len(rows):
        raise InputError(f"{store.path}: none of its {len(store):,} rows holds activations")
    return rows


def read_site(store: Store, name: str, rows: np.ndarray) -> np.ndarray:
    """float32 (row, feature). Raises InputError for NaN in rows that claim to be whole."""
    X = store.matrix(name, rows)
    broken = np.flatnonzero(~np.isfinite(X).all(1))
    if len(broken):
        raise InputError(
            f"{store.path}: {len(broken):,} rows marked ok hold NaN or infinity at {name}, the first is sample "
            f"{store.samples.id[rows[broken[0]]]!r}; `python -m extract verify` says more"
        )
    return X


def _unit_names(store: Store, rows: np.ndarray, plan: Plan) -> np.ndarray:
    """The id of each test unit: the sample's, or in a text store the leaf's label."""
    if store.samples.level is not None:
        return np.array([plan.taxonomy.leaves[leaf] for leaf in plan.leaf[plan.test_units]])
    return store.samples.id[rows].astype(str)[plan.test_units]


def _predictions(site: SiteInfo, plan: Plan, found: SiteProbes, names: np.ndarray) -> dict[str, Any]:
    """Columns of predictions.parquet: a row per test unit and scored level that it has."""
    units = plan.test_units
    parts: list[dict[str, Any]] = []
    for column, level in enumerate(plan.scored):
        truth = plan.scored_path[units, column]
        has = truth >= 0
        nodes = pa.array([" / ".join(node) for node in plan.taxonomy.nodes(level)])
        guesses = found.levels[level].predicted[has]
        parts.append(
            {
                "site": [site.name] * int(has.sum()),
                "id": names[has],
                "leaf": plan.leaf[units][has],
                "level": [level] * int(has.sum()),
                "true": truth[has],
                "predicted": guesses,
                "true_name": nodes.take(pa.array(truth[has])),
                "predicted_name": nodes.take(pa.array(guesses)),
            }
        )
    return {
        field.name: pa.concat_arrays([pa.array(part[field.name]) for part in parts]).cast(field.type)
        for field in PredictionWriter.SCHEMA
    }


def _summary(
    config: ProbeConfig, store: Store, plan: Plan, rows: np.ndarray, settings: Settings, seconds: float
) -> dict[str, Any]:
    """Where the numbers come from."""
    attrs = dict(store.attrs)
    text = json.dumps(attrs, sort_keys=True, ensure_ascii=False, default=str)
    status = Counter("quarantined" if s not in ("ok", "pending") else s for s in store.samples.status)
    return {
        "protocol": "strict",
        "store": {
            "name": store.path.name,
            "attributes_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "kind": attrs.get("kind", "images"),
            **{key: attrs.get(key) for key in ("model", "dataset", "prompt", "system", "pool", "template", "created")},
            "rows": dict(status),
        },
        "levels": [
            {"level": level, "nodes": len(plan.taxonomy.nodes(level)), "unscored": plan.unscored.get(level)}
            for level in plan.levels
        ],
        "split": {
            "kind": config.split,
            "source": plan.split_source,
            "rows": dict(Counter(plan.split.tolist())),
            "leaves": {part: len(set(plan.leaf[plan.unit[plan.split == part]].tolist())) for part in set(plan.split)},
        },
        "statistics": STATISTICS | {"bootstrap_draws": config.bootstrap},
        "config": config.model_dump(mode="json"),
        "device": settings.device,
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "zarr", "pyarrow")}
        | {"taxoprobe": _own_version(), "python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
    }


def _own_version() -> str:
    try:
        return metadata.version("taxoprobe")
    except metadata.PackageNotFoundError:
        return "not installed"
