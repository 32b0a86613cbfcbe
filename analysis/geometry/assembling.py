"""From what was found site by site to the tables that are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis.geometry.comparing import versus
from analysis.geometry.generalising import generalising
from analysis.geometry.parts import Part, Record

RANDOM_INIT = "random init"
NULLS = ("leaves", "rows", "nested sets", RANDOM_INIT)
STATISTIC = "mean |cos|"
"""What stands beside a verdict, with its nulls; the verdict itself reads `alignment`."""
ALIGNMENT = "alignment"


def tables(found: Sequence[Part], random: Sequence[Part], held_out: Sequence[Record]) -> dict[str, list[Record]]:
    """Every table by its name. random: of the untrained model. held_out: probes of unseen leaves, a row per level."""
    untrained = {part.unit: part for part in random}
    statistics = [record for part in found for record in _statistics(part, untrained.get(part.unit))]
    verdicts = [record for part in found for record in _verdicts(part, statistics)]
    return {
        "verdicts": verdicts,
        "geometry": statistics,
        "levels": _whole(found, "levels"),
        "edges": _whole(found, "edges"),
        "siblings": _whole(found, "siblings"),
        "generalisation": generalising(verdicts, held_out),
    }


def _whole(found: Sequence[Part], kind: str) -> list[Record]:
    return [part.unit.place | record for part in found for record in part.records[kind]]


def _statistics(part: Part, untrained: Part | None) -> list[Record]:
    records = [
        part.unit.place | record
        for kind in ("table", "overlap", "explained", "tree_correlation")
        for record in part.records[kind]
    ]
    return records + (_beside(part, untrained) if untrained else [])


def _beside(part: Part, untrained: Part) -> list[Record]:
    """Every statistic once more, with the untrained model's as its null: paired, as both draw the same leaves."""
    known, others = ({_key(record): record for record in each.table} for each in (part, untrained))
    found = []
    for record in versus(part, untrained):  # pyright: ignore[reportArgumentType]
        own, other = known[_key(record)], others[_key(record)]
        null = {"null": RANDOM_INIT, "null_mean": other["value"], "null_low": other["low"], "null_high": other["high"]}
        found.append(part.unit.place | own | null | {"p_value": math.nan, "effect": record["effect"]})
    return found


def _verdicts(part: Part, statistics: Sequence[Record]) -> list[Record]:
    """A row per pair of levels: the verdict, what the rule read, and a statistic beside its nulls."""
    mine = [record for record in statistics if all(record[key] == value for key, value in part.unit.place.items())]
    found = []
    for record in part.records["verdicts"]:
        pair = [one for one in mine if (one.get("parent"), one.get("child")) == (record["parent"], record["child"])]
        read = next((one for one in pair if one["statistic"] == ALIGNMENT), {})
        row = part.unit.place | record
        row |= {ALIGNMENT: read.get("value", math.nan), "low": read.get("low", math.nan)}
        row |= {"high": read.get("high", math.nan), "edges": read.get("n", 0)}
        plain = [one for one in pair if one["statistic"] == STATISTIC]
        row |= {"mean_cos": plain[0]["value"] if plain else math.nan}
        for null in NULLS:
            beside = next((one for one in plain if one["null"] == null), {})
            if beside or null in ("leaves", "rows"):
                name = null.replace(" ", "_")
                row |= {f"{name}_{key}": beside.get(f"null_{key}", math.nan) for key in ("mean", "low", "high")}
                row |= {f"{name}_{key}": beside.get(key, math.nan) for key in ("p_value", "effect")}
        told = part.conditioning
        row |= {key: told[key] for key in ("n", "d", "n_per_d", "leaves", "effective_rank", "effective_rank_of_means")}
        row |= {"shrinkage": max(told["shrinkage"].values(), default=0.0), "refused": told["refused"]}
        found.append(row)
    return found


def _key(record: Record) -> tuple[str, str, str]:
    return record["statistic"], record.get("parent") or "", record["child"]
