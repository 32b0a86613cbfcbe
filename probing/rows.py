"""Which rows of a store are probed, and what for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from commandline import InputError
from extract import Store
from probing.baselines import MOST_FEATURES, SIDE
from probing.config import ProbeConfig
from probing.draws import Draw
from probing.duplicates import compared_site, find_duplicates
from probing.grid import least_budget, resolve_device
from probing.memory import free_budget
from probing.plan import Plan, capped, make_plan
from probing.reading import SiteFeatures
from probing.streaming import COPIES, SiteChunks, fits
from taxonomy.splits import TEST


def open_store(config: ProbeConfig) -> Store:
    """The store that the settings name, or the one beside it with their pooling. Raises InputError for none."""
    store = Store.open(config.store)
    there = store.attrs.get("pool")
    if config.pool is None or there == config.pool:
        return store
    beside = store.path.with_name(f"{store.path.name.removesuffix('.zarr')}-{config.pool}.zarr")
    if not beside.exists():
        raise InputError(
            f"{store.path} was pooled by {there}, and there is no {beside} either; extract once more with --pool "
            f"{config.pool}, or leave --pool out"
        )
    other = Store.open(beside)
    if (found := other.attrs.get("pool")) != config.pool:
        raise InputError(f"{beside} was pooled by {found}, whatever its name says; give the store you mean")
    return other


def at_depth(names: Sequence[str], depth: float | None) -> list[str]:
    """The site that lies at this share of the way from the first to the last; all of them for None."""
    return list(names) if depth is None else [names[round(depth * (len(names) - 1))]]


def draw_rows(config: ProbeConfig, store: Store, budget: int) -> tuple[np.ndarray, list[Draw], dict[str, Any] | None]:
    """All rows that any of the seeds probes, the seeds' draws of them, and the duplicates of the first. budget: bytes.

    Seeds that draw the same rows and the same split are one draw; the first seed's comes first.
    """
    found: list[tuple[np.ndarray, Plan, list[int]]] = []
    report = None
    for seed in range(config.seed, config.seed + config.seeds):
        told = "drop" if config.duplicates == "drop" else "ignore" if found else config.duplicates
        own = config.model_copy(update={"seed": seed, "duplicates": told})
        rows, copies = choose_rows(own, store, budget)
        plan = plan_of(own, store, rows)
        report = report if found else copies
        for others, drawn, seeds in found:
            if np.array_equal(others, rows) and np.array_equal(drawn.split, plan.split):
                seeds.append(seed)
                break
        else:
            found.append((rows, plan, [seed]))
    every = np.unique(np.concatenate([rows for rows, _, _ in found]))
    return every, [Draw(plan, np.searchsorted(every, rows), tuple(seeds)) for rows, plan, seeds in found], report


def choose_rows(config: ProbeConfig, store: Store, budget: int) -> tuple[np.ndarray, dict[str, Any] | None]:
    """The rows that are probed, the usable ones less what `duplicates` and `per_leaf` take away; and the duplicates.

    budget: bytes for the features of a site, which pictures are compared by."""
    rows, samples, report = usable_rows(store, config.allow_partial), store.samples, None
    plan = plan_of(config, store, rows)
    if config.duplicates != "ignore":
        site = compared_site(store.sites.values())
        X, unseen = _pictures(config, store, site, rows, budget)
        found = find_duplicates(plan.split, samples.sha256[rows], X, config.duplicate_cosine)
        report = {"site": site, "dropped": config.duplicates == "drop"}
        report |= {} if unseen is None else {"pictures": unseen}
        report |= found.report(samples.id[rows].tolist(), plan.split, samples.leaf[rows])
        if config.duplicates == "drop" and found.near.any():
            rows = rows[~found.near]
            plan = plan_of(config, store, rows)
    if config.per_leaf is not None:
        leaf, ids = samples.leaf[rows], samples.id[rows].tolist()
        rows = rows[capped(plan.split, leaf, ids, config.per_leaf, config.seed)]
    return rows, report


def _pictures(
    config: ProbeConfig, store: Store, site: str, rows: np.ndarray, budget: int
) -> tuple[np.ndarray | None, str | None]:
    """The features that pictures are compared by, or why they are not. None of prompts: they are all nearly equal."""
    if store.samples.level is not None:
        return None, None
    shape = len(rows), store.site(site).width
    if fits(shape, 4, budget):
        return read_site(store, site, rows), None
    need = -(-COPIES * shape[0] * shape[1] * 4 >> 20)
    if config.duplicates == "drop":
        raise InputError(
            f"--duplicates drop compares pictures at {site}, whose features do not fit the memory budget "
            f"({budget >> 20:,} MiB); give --memory_budget={need}, or another --duplicates"
        )
    return None, f"only files were compared: the features at {site} do not fit the memory budget"


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


def budget_of(config: ProbeConfig) -> int:
    """Bytes for the features of a site and their probes: as given, else a half of what is free now."""
    if config.memory_budget is None:
        return free_budget(resolve_device(config.device))
    return config.memory_budget << 20


def check_budget(
    config: ProbeConfig, store: Store, sites: Sequence[str], samples: int, plan: Plan, budget: int
) -> None:
    """Raise InputError for what the budget does not allow; nothing of it is found out later.

    That is a site that streams beside an option that needs features in memory, and classes too many to be solved.
    """
    dense = next((name for name in ("description", "random_init", "pixel_shuffled") if getattr(config, name)), None)
    held = [(dense, name, store.site(name).width) for name in sites]
    held += [
        ("conditional", pair, sum(store.site(name).width for name in pair.split("+")))
        for pair in config.conditional or ()
    ]
    if config.baselines:
        held.append(("baselines", "them", 3 * SIDE**2 if store.samples.level is None else MOST_FEATURES))
    large = [each for each in held if not fits((samples, each[2]), 4, budget)]
    for option, name, width in large:
        if option:
            size = samples * width * 4
            raise InputError(
                f"--{option} needs features in memory, which takes {size / 2**20:,.1f} MiB of {name}, more than an "
                f"eighth of the memory budget ({budget >> 20:,} MiB); leave it out, or give "
                f"--memory_budget={-(-COPIES * size >> 20)}"
            )
    if not large:
        return
    _, worst, width = max(large, key=lambda each: each[2])
    classes = {level: len(plan.taxonomy.nodes(level)) for level in plan.scored}
    if plan.leaf_lookup and plan.leaf_level is None:
        classes["(leaf)"] = len(plan.taxonomy)
    finest = max(classes, key=classes.__getitem__)
    fitted = int((plan.split != TEST).sum())
    need = least_budget(fitted, width, classes[finest], min(store.chunk_rows, fitted))
    if need > budget:
        raise InputError(
            f"{worst} does not fit the memory budget ({budget >> 20:,} MiB) and is read in chunks, but the probe of "
            f"{finest} ({classes[finest]:,} classes, {fitted:,} samples) alone takes more than that; give "
            f"--memory_budget={-(-need >> 20)} or more"
        )


def features_of(store: Store, name: str, rows: np.ndarray, budget: int | None) -> SiteFeatures:
    """Features of a site, in memory if they fit the budget (bytes; None: they do). Raises as `read_site`."""
    chunks = SiteChunks(store, name, rows)
    if budget is None or fits(chunks.shape, 4, budget):
        return read_site(store, name, rows)
    for part, matrix in chunks.chunks():
        _check_finite(store, name, rows[part], matrix)
    return chunks


def read_site(store: Store, name: str, rows: np.ndarray) -> np.ndarray:
    """float32 (row, feature). Raises InputError for NaN in rows that claim to be whole."""
    X = store.matrix(name, rows)
    _check_finite(store, name, rows, X)
    return X


def _check_finite(store: Store, name: str, rows: np.ndarray, X: np.ndarray) -> None:
    broken = np.flatnonzero(~np.isfinite(X).all(1))
    if len(broken):
        raise InputError(
            f"{store.path}: {len(broken):,} rows marked ok hold NaN or infinity at {name}, the first is sample "
            f"{store.samples.id[rows[broken[0]]]!r}; `python -m extract verify` says more"
        )
