"""Going on with a store: whether it is this extraction's, whether it is complete, and who has worked on it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from commandline import InputError
from extract import identity, space
from extract.layout import OK
from extract.store import Store


def reopen(path: Path, settings: Mapping[str, Any], mode: str = "r+") -> Store | None:
    """The store at `path`, to go on with; None where there is nothing yet.

    Raises InputError when something else is there, or the store of other settings.
    """
    if not path.exists():
        return None
    if not (path / "zarr.json").is_file():
        raise InputError(f"{path} exists and is not a store; choose another --store")
    store = Store.open(path, mode)
    identity.require_same(store, settings)
    return store


def finished(store: Store, settings: Mapping[str, Any]) -> bool:
    """Whether nothing is left to do, as far as can be told without the model: see `hooks.fingerprints.files_stamp`."""
    return space.done(store) == len(store) and store.attrs.get("asked") == settings["asked"]


def go_on(store: Store, header: Mapping[str, Any], sites: Mapping[str, Any]) -> Store:
    """The store, once the model is known to be the one it was begun with. Another device or library is only noted."""
    identity.require_same(store, header)
    identity.require_same_sites(store, sites)
    there, here = ({"device": attrs["device"], **attrs["versions"]} for attrs in (store.attrs, header))
    for key, value in here.items():
        if there.get(key) != value:
            print(
                f"note: {store.path} was begun with {key} {there.get(key)}, and goes on with {value}", file=sys.stderr
            )
    return store


def record_run(store: Store, header: Mapping[str, Any]) -> None:
    """Append who goes on with the store to its attribute `runs`: when, device, versions and batch size."""
    run = {"when": datetime.now(UTC).isoformat(timespec="seconds")}
    run |= {key: header[key] for key in ("device", "versions", "batch_size")}
    store.group.attrs["runs"] = [*_runs(store), run]  # zarr writes a file of metadata anew and renames it into place


def record_batch_size(store: Store, batch_size: int) -> None:
    """Note that the run at hand could not use batches as large as it was asked to."""
    *before, run = _runs(store)
    if run["batch_size"] != batch_size:
        store.group.attrs["runs"] = [*before, {**run, "batch_size": batch_size}]


def _runs(store: Store) -> list[Any]:
    runs: Any = store.group.attrs.get("runs", [])
    return runs


def report(store: Store, noun: str) -> None:
    """Print the counts and the reasons of quarantine. Raises InputError when no sample is good."""
    reasons = Counter(reason for reason in store.samples.status if reason != OK)
    good = int(store.ok.sum())
    print(f"{store.path}: {good:,} of {len(store):,} {noun}s at {len(store.sites)} sites")
    for reason, count in reasons.most_common():
        example = store.samples.id[np.flatnonzero(store.samples.status == reason)[0]]
        print(f"  quarantined {count:,}: {reason} (such as {example})")
    if not good:
        raise InputError(f"{store.path}: not one {noun} is good; the reasons are above")
