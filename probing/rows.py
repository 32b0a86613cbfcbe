"""Which rows of a store are probed, and what for."""

from __future__ import annotations

from typing import Any

import numpy as np

from commandline import InputError
from extract import Store
from probing.config import ProbeConfig
from probing.duplicates import find_duplicates
from probing.plan import Plan, capped, make_plan


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
