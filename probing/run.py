"""`python -m probing`: from a store to tables."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Iterable
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
from probing.baselines import baselines
from probing.calibration import BINS
from probing.certified import overview, uncertified
from probing.choices import choice_records
from probing.config import ProbeConfig
from probing.duplicates import find_duplicates
from probing.grid import resolve_device
from probing.nulls import NULL_DRAWS, mark_chance
from probing.plan import Plan, capped, make_plan
from probing.protocol import Settings, SiteProbes, probe_site
from probing.questions import Questions, read_questions
from probing.results import PredictionWriter, check_out, default_out, write_summary, write_table, writing
from probing.scores import Record, Scorer
from probing.table import table
from probing.versus import Rival

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
    out = Path(config.out) if config.out else default_out(config.store, config.split)
    check_out(out)
    settings = settings_of(config)
    rows, copies = choose_rows(config, store)
    plan = plan_of(config, store, rows)
    ids = store.samples.id[rows].tolist()
    rivals = [
        Rival.open(name, path, ids)
        for name, path in (("random_init", config.random_init), ("pixel_shuffled", config.pixel_shuffled))
        if path
    ]
    scorer = Scorer(plan, draws=config.bootstrap, seed=config.seed, refit=config.refit)
    names = _unit_names(store, rows, plan)
    questions = _questions(config, plan, names, scorer)
    sources = [*_baselines(config, store, ids), *((site, None) for site in sites)]
    probes: list[Record] = []
    hca: list[Record] = []
    nulls: list[np.ndarray] = []
    with writing(out) as folder:
        predictions = PredictionWriter(folder)
        for site, given in bar(len(sources), "site", "probing", iterable=sources):
            found = probe_site(read_site(store, site.name, rows) if given is None else given, plan, settings)
            nulls.append(scorer.nulls(found))
            levels, whole = scorer.score(found, nulls[-1])
            more = [rival.records(site.name, plan, settings, scorer, found) for rival in rivals]
            more += [choice_records(scorer, found, questions)] if questions else []
            place = {"site": site.name, "stage": site.stage, "layer": site.layer, "width": site.width}
            place["certified"] = site.name not in refused
            probes += [place | record | _merged(by.get(record["level"], {}) for by, _ in more) for record in levels]
            hca.append(place | whole | _merged(record for _, record in more))
            predictions.write(_predictions(site.name, plan, found, names))
        predictions.close()
        mark_chance(probes, hca, nulls)
        write_table(folder, "probes", probes)
        write_table(folder, "hca", hca)
        summary = _summary(config, store, plan, rows, settings, time.monotonic() - started)
        summary |= {"certificate": overview(store), "uncertified": refused, "duplicates": copies}
        write_summary(folder, summary)
    print(table(probes, hca, summary, wide=config.wide))
    print(f"\n{out}: probes.parquet, hca.parquet, predictions.parquet, summary.json")


def choose_rows(config: ProbeConfig, store: Store) -> tuple[np.ndarray, dict[str, Any] | None]:
    """The rows that are probed, the usable ones less what `duplicates` and `per_leaf` take away; and the duplicates."""
    rows, samples, report = usable_rows(store, config.allow_partial), store.samples, None
    plan = plan_of(config, store, rows)
    if config.duplicates != "ignore":
        site = next(iter(store.sites))
        X = read_site(store, site, rows) if samples.level is None else None  # prompts are all nearly equal
        found = find_duplicates(plan.split, samples.sha256[rows], X, config.duplicate_cosine)
        report = {"site": site, "dropped": config.duplicates == "drop"}
        report |= found.report(samples.id[rows].tolist(), plan.split, samples.leaf[rows])
        if config.duplicates == "drop" and found.near.any():
            rows = rows[~found.near]
            plan = plan_of(config, store, rows)
    if config.per_leaf is not None:
        leaf, ids = samples.leaf[rows], samples.id[rows].tolist()
        rows = rows[capped(plan.split, leaf, ids, config.per_leaf, config.seed)]
    return rows, report


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


def _questions(config: ProbeConfig, plan: Plan, names: np.ndarray, scorer: Scorer) -> Questions | None:
    if config.questions is None:
        return None
    return read_questions(config.questions, names.tolist(), plan.taxonomy, plan.scored, scorer.truth)


def _baselines(config: ProbeConfig, store: Store, ids: list[str]) -> list[tuple[SiteInfo, np.ndarray]]:
    """Sites that no model was needed for, with their features."""
    if not config.baselines:
        return []
    return [
        (SiteInfo(name, "baseline", None, "images", "output", X.shape[1], "float32", "", None), X)
        for name, X in baselines(store, ids).items()
    ]


def _merged(records: Iterable[Record]) -> Record:
    return {key: value for record in records for key, value in record.items()}


def _unit_names(store: Store, rows: np.ndarray, plan: Plan) -> np.ndarray:
    """The id of each test unit: the sample's, or in a text store the leaf's label."""
    if store.samples.level is not None:
        return np.array([plan.taxonomy.leaves[leaf] for leaf in plan.leaf[plan.test_units]])
    return store.samples.id[rows].astype(str)[plan.test_units]


def _predictions(site: str, plan: Plan, found: SiteProbes, names: np.ndarray) -> dict[str, Any]:
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
                "site": [site] * int(has.sum()),
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
