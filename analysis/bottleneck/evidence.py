"""The numbers that a verdict rests on, in long form: each with n, its interval and its null."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.bottleneck.bits import Bits
from analysis.bottleneck.found import Probes, Record, number
from analysis.bottleneck.losses import ANSWERS, Way, max_t
from analysis.bottleneck.readable import interval, most_common_child
from analysis.bottleneck.ruling import of


@dataclass(frozen=True)
class Number:
    """A number that a verdict rests on."""

    level: str
    quantity: str
    place: str
    """A site, two of them, or the answers."""
    value: float
    low: float
    high: float
    n: int
    """Test samples whose node has a sibling in test: others tell nothing of the level."""
    leaves: int
    null: float
    """What it would be if there were nothing."""
    p_adjusted: float = math.nan
    """That it is no larger than its null, adjusted for all of its kind in the run."""


def numbers(probes: Probes, ways: Sequence[Way], bits: Mapping[str, Bits]) -> list[Number]:
    """Of every level: what its probes reach, what of it can be read and kept, and what is lost."""
    falls = {way.level: -np.diff(np.array([way.curves[site] for site in probes.sites]), axis=0) for way in ways}
    flat = np.concatenate(list(falls.values()))
    adjusted = max_t(flat, np.zeros(len(flat))).reshape(len(ways), -1) if len(flat) else np.zeros((len(ways), 0))
    found: list[Number] = []
    for column, way in enumerate(ways):
        n, leaves = _size(probes, column)
        level = way.level
        for site in probes.sites:
            record = probes.records[site, level]
            for quantity, null in (("accuracy", "shuffled"), ("above_rehung", None), ("usable_bits", None)):
                value, low, high = (number(record.get(f"{quantity}{end}")) for end in ("", "_low", "_high"))
                if math.isfinite(value):
                    floor = number(record.get(null)) if null else 0.0
                    p = number(record.get("p_adjusted")) if quantity == "accuracy" else math.nan
                    found.append(Number(level, quantity, site, value, low, high, n, leaves, floor, p))
            found.append(_of(level, "readable", site, way.curves[site], n, leaves))
        pairs = zip(probes.sites, probes.sites[1:], strict=False)
        for (before, after), fall, p in zip(pairs, falls[level], adjusted[column], strict=True):
            found.append(_of(level, "fall", f"{before}, {after}", fall, n, leaves, float(p)))
        for place, kept in zip(way.places, way.kept, strict=True):
            found.append(_of(level, "kept", place.name, kept, n, leaves))
        for stage in way.stages:
            found.append(_of(level, "lost", stage, of(way.lost(stage), way.there(stage)), n, leaves))
            found.append(_of(level, "lost of the whole", stage, way.lost(stage), n, leaves))
        found.append(_of(level, "never there", way.places[0].name, way.never_there, n, leaves))
        told = (("answered", ANSWERS, way.answered), ("answered by name", ANSWERS, way.named))
        found += [
            _of(level, quantity, place, values, n, leaves) for quantity, place, values in told if values is not None
        ]
        if way.recovery is not None:
            gap = way.recovery
            quantity = "recovery, at least" if gap.bound else "recovery"
            found.append(Number(level, quantity, gap.site, gap.value, gap.low, gap.high, gap.n, leaves, 0.0))
        if level in bits:
            share = bits[level]
            where = f"{share.source}, {share.later_site}"
            null = max(share.null, 0.0)
            found.append(Number(level, "bits lost", where, share.share, share.low, share.high, share.n, leaves, null))
    return found


def of_unseen(unseen: Probes, curves: Mapping[str, Mapping[str, np.ndarray]]) -> list[Number]:
    """What can be read of leaves that no probe was fitted on, at every site."""
    found = []
    for column, level in enumerate(unseen.levels):
        n, leaves = _size(unseen, column)
        found += [
            _of(level, "readable of unseen leaves", site, values, n, leaves) for site, values in curves[level].items()
        ]
    return found


def of_angles(rows: Sequence[Record]) -> list[Number]:
    """How far a level's directions are from orthogonal to those of the level above.

    No null: the rule compares it with a margin, and what dealing the leaves anew gives is of another statistic.
    """
    return [
        Number(
            level=row["child"],
            quantity="alignment with the level above",
            place=row["site"],
            value=number(row["alignment"]),
            low=number(row["low"]),
            high=number(row["high"]),
            n=row["n"],
            leaves=row["leaves"],
            null=math.nan,
        )
        for row in rows
    ]


def _of(level: str, quantity: str, place: str, values: np.ndarray, n: int, leaves: int, p: float = math.nan) -> Number:
    return Number(
        level,
        quantity,
        place,
        float(values[0]),
        *interval(values, None if quantity == "fall" else leaves),
        n,
        leaves,
        0.0,
        p,
    )


def _size(probes: Probes, column: int) -> tuple[int, int]:
    """The samples, and their leaves, that tell something of a level: whose node has siblings in test."""
    counted = most_common_child(probes.truth[:, column], probes.parent_of) < 1
    return int(counted.sum()), len(np.unique(probes.leaf[counted]))
