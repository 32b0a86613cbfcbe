"""What a command tells: plain values and paths, and nothing of wandb."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """Metrics along the layers of a stage: `points` maps a layer to values by name (`genus/accuracy`)."""

    stage: str
    points: Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Files:
    """Files that a command read or wrote, as an artifact. Equal contents are one version, whichever command tells."""

    name: str
    kind: str
    """store, probes, answers, report, ..."""
    paths: tuple[Path, ...]
    """Files and folders; they lie in the artifact by their own names."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """What makes two of them the same, where the files do not go themselves: the artifact's manifest.json."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Shown beside it."""
    large: bool = False
    """Whether the files stay here and only the manifest goes, unless `--wandb.upload` is given."""


@dataclass(frozen=True)
class Record:
    """A command's run.

    config: by valid command-line keys (`settings` makes it). tables: in long format, by name. pages: HTML, by name.
    figures: picture files, by name. secret_variables: of the environment, beside those whose names give them away.
    """

    job: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any] = field(default_factory=dict)
    curves: Sequence[Curve] = ()
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)
    used: Sequence[Files] = ()
    made: Sequence[Files] = ()
    secret_variables: Sequence[str] = ()


def settings(config: BaseModel) -> dict[str, Any]:
    """A configuration by its command-line keys: `--key=value` of each gives the same configuration again."""
    return dict(_flat(config.model_dump(mode="json", exclude={"wandb"})))


@dataclass(frozen=True)
class Place:
    """Values at one site; `layer` is None for those that stand alone, such as the projector."""

    site: str
    stage: str
    layer: int | None
    values: Mapping[str, float | None]


def along(places: Iterable[Place]) -> tuple[list[Curve], dict[str, float | None]]:
    """The curves of sites that are layers of a stage, and the values of all others by `<site>/<name>`."""
    points: dict[str, dict[int, dict[str, float]]] = {}
    alone: dict[str, float | None] = {}
    for place in places:
        if place.layer is None:
            alone |= {f"{place.site}/{name}": value for name, value in place.values.items()}
            continue
        found = {name: value for name, value in place.values.items() if value is not None}
        points.setdefault(place.stage, {}).setdefault(place.layer, {}).update(found)
    return [Curve(stage, layers) for stage, layers in points.items()], alone


def long(records: Iterable[Row], place: Sequence[str], nulls: Mapping[str, str], n: str = "n_test") -> list[Row]:
    """Wide records as rows `*place, measure, value, low, high, null, n`: a row of every measure that has an interval.

    nulls: the key of a measure's null, where it has one. A measure's interval stands under `<measure>_low` and
    `_high`; what is NaN in a record has no row.
    """
    rows = []
    for record in records:
        for key in record:
            if not key.endswith("_low"):
                continue
            measure = key.removesuffix("_low")
            value = record.get(measure, record.get(f"{measure}_accuracy"))
            if value is None or not math.isfinite(value):
                continue
            rows.append(
                {name: record.get(name) for name in place}
                | {"measure": measure, "value": value, "low": record[key], "high": record.get(f"{measure}_high")}
                | {"null": record.get(nulls.get(measure, "")), "n": record.get(n)}
            )
    return rows


def _flat(values: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
