"""`python -m extract verify`: is a store what it says it is?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from commandline import InputError
from extract.config import VerifyConfig
from extract.dtypes import decode
from extract.layout import OK, PENDING, units
from extract.progress import bar
from extract.store import Samples, Store
from extract.writer import damaged_chunks

SHOWN = 20


def run(config: VerifyConfig) -> int:
    """Print what is wrong and return 1, or print that nothing is and return 0."""
    store = Store.open(config.store)
    problems = damaged_table(store)
    if not problems:
        problems = [*check_samples(store.samples, len(store.taxonomy.leaves)), *check_units(store)]
        problems += check_images(store) if config.images else []
    for problem in problems[:SHOWN]:
        print(f"{store.path}: {problem}")
    if len(problems) > SHOWN:
        print(f"{store.path}: and {len(problems) - SHOWN:,} more")
    if not problems:
        ok = int(store.ok.sum())
        rest = f", {len(store) - ok:,} quarantined" if ok < len(store) else ""
        print(f"{store.path}: whole; {ok:,} samples at {len(store.sites)} sites{rest}")
    return 1 if problems else 0


def damaged_table(store: Store) -> list[str]:
    """What keeps the sample table from being read at all."""
    try:
        _ = store.samples
    except InputError as error:
        return [str(error)]
    return []


def check_samples(samples: Samples, leaves: int) -> list[str]:
    """What is wrong with the sample table."""
    problems = []
    names, counts = np.unique(samples.id, return_counts=True)
    problems += [
        f"the id {name!r} stands for {count} samples" for name, count in zip(names, counts, strict=True) if count > 1
    ]
    outside = np.flatnonzero((samples.leaf < 0) | (samples.leaf >= leaves))
    problems += [f"sample {samples.id[row]!r} has leaf {samples.leaf[row]} of {leaves}" for row in outside]
    unhashed = np.flatnonzero((samples.status == OK) & (samples.sha256 == ""))
    problems += [f"sample {samples.id[row]!r} is ok but has no sha256" for row in unhashed]
    return problems


def check_units(store: Store) -> Iterator[str]:
    """What is wrong with the units: pending, missing or short chunks, NaN in good rows, numbers in quarantined ones."""
    status = store.samples.status
    written: list[range] = []
    by_state = groupby(units(len(store), store.chunk_rows), lambda unit: PENDING in status[unit.start : unit.stop])
    for pending, neighbours in by_state:
        if not pending:
            written += neighbours
            continue
        together = list(neighbours)
        start, stop = together[0].start, together[-1].stop
        count = int((status[start:stop] == PENDING).sum())
        yield (
            f"samples {start:,} to {stop - 1:,}: {count:,} not extracted yet; the command that made the store goes on"
        )
    for unit in bar(len(written), "unit", "verify", iterable=written):
        where = f"samples {unit.start:,} to {unit.stop - 1:,}"
        if damaged := damaged_chunks(store, unit):
            yield from (f"{where}: {problem}; the command that made the store mends it" for problem in damaged)
            continue
        ok = status[unit.start : unit.stop] == OK
        for site in store.sites.values():
            values = decode(store.read_unit(site.name, unit.start // store.chunk_rows), site.logical_dtype)
            for row in np.flatnonzero(ok & ~np.isfinite(values).all(axis=1)):
                yield f"{site.name}: sample {store.samples.id[unit[row]]!r} is ok but holds NaN or infinity"
            for row in np.flatnonzero(~ok & ~np.isnan(values).all(axis=1)):
                yield f"{site.name}: sample {store.samples.id[unit[row]]!r} is quarantined but holds numbers"


def check_images(store: Store) -> list[str]:
    """Samples whose image is no longer the one that was extracted. Raises InputError when the dataset is not there."""
    from taxonomy import load_images

    arguments: dict[str, Any] = dict(store.attrs.get("dataset", {}).get("arguments") or {})
    if "dataset" not in arguments:
        raise InputError(f"{store.path} does not say which images it was made of")
    arguments.pop("limit", None)
    arguments["missing"] = "keep"
    images = load_images(**arguments)
    place = {name: index for index, name in enumerate(images.ids)}
    samples, problems = store.samples, []
    hashed = np.flatnonzero(samples.sha256 != "").tolist()
    for row in bar(len(hashed), "image", "images", iterable=hashed):
        name = str(samples.id[row])
        if name not in place:
            problems.append(f"sample {name!r} is not in the dataset any more")
            continue
        try:
            now = hashlib.sha256(images.read(place[name])).hexdigest()
        except OSError as error:
            problems.append(f"the image of {name!r} cannot be read any more: {error.strerror or error}")
            continue
        if now != samples.sha256[row]:
            problems.append(f"the image of {name!r} has changed since it was extracted")
    return problems
