"""What is compared: of every run, which sample is right where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.intervals import HCA
from analysis.report.examples import replies
from analysis.report.material import Material
from commandline import InputError

ANSWERS = "answers"
CHOSEN = "site"
"""The place of a site that was named."""


@dataclass(frozen=True, eq=False)
class Scores:
    """One place of one run."""

    site: str
    """Which one it is; of answers, the run they are from."""
    right: Mapping[str, np.ndarray]
    """Per level and for HCA, float (sample,): 1 right, 0 wrong, NaN where a sample does not count."""
    null: Mapping[str, tuple[float, float]]
    """What chance reaches: of probes the middle 95 % of shuffled labels, of answers a blind pick."""


@dataclass(frozen=True, eq=False)
class Side:
    """One run, by a name that tells it from the others."""

    name: str
    ids: tuple[str, ...]
    leaf: np.ndarray
    """int (sample,)."""
    truth: Mapping[str, np.ndarray]
    """Per level, object (sample,): the path of the true node, empty where there is none."""
    places: Mapping[str, Scores]


def side(name: str, material: Material, site: str | None) -> Side:
    """At the best site of each stage by validation, and in the answers; or at one site. Raises InputError."""
    readings = material.readings
    if site is not None and site not in readings.sites:
        raise InputError(f"{material.probes.path} has no site {site!r}; it has {', '.join(readings.sites)}")
    chosen = {CHOSEN: site} if site else _picked(material)
    places = {place: _probes(material, where) for place, where in chosen.items()}
    if site is None and material.images is not None and (told := replies(material)):
        places[ANSWERS] = _answers(material, told)
    nodes = np.array([*readings.nodes, ""], dtype=object)
    truth = {level: nodes[readings.truth[:, column]] for column, level in enumerate(readings.levels)}
    return Side(name, readings.ids, readings.leaf, truth, places)


def names(materials: Sequence[Material], sites: Sequence[str | None]) -> list[str]:
    """The model's name; with the site where one was named; with the run's folder where that is not enough."""
    models = [(material.probes.summary["store"].get("model") or {}).get("name") or "model" for material in materials]
    found = [f"{model} at {site}" if site else model for model, site in zip(models, sites, strict=True)]
    if len(set(found)) < len(found):
        found = [f"{name} ({material.probes.path})" for name, material in zip(found, materials, strict=True)]
    if len(set(found)) < len(found):
        raise InputError(
            f"{next(name for name in found if found.count(name) > 1)} is named twice; compare two different runs"
        )
    return found


def _picked(material: Material) -> dict[str, str]:
    """Of each stage the site whose paths are read best on validation; the last one as published."""
    stages: dict[str, str] = {}
    for stage in dict.fromkeys(record["stage"] for record in material.model_sites):
        members = [record for record in material.model_sites if record["stage"] == stage]
        best = members[-1] if material.published else max(members, key=lambda record: record["validation_hca"])
        stages[stage] = best["site"]
    return stages


def _probes(material: Material, site: str) -> Scores:
    right = material.readings.right(site)
    null = {
        level: (record["shuffled_low"], record["shuffled_high"])
        for level in material.levels
        for record in [material.record(site, level)]
    }
    whole = next(record for record in material.probes.hca if record["site"] == site)
    null[HCA] = (whole["shuffled_low"], whole["shuffled_high"])
    return Scores(site, _with_path(right, material.levels), null)


def _answers(material: Material, told: Mapping[tuple[str, str], tuple[str, bool]]) -> Scores:
    assert material.images is not None
    asked = material.images.answers()
    offered = {
        (image, level): len(options)
        for image, level, options in zip(
            *(asked[name].to_pylist() for name in ("image", "level", "options")), strict=True
        )
    }
    right = np.full(material.readings.truth.shape, np.nan)
    chance = right.copy()
    for row, image in enumerate(material.readings.ids):
        for column, level in enumerate(material.levels):
            if (image, level) in told:
                right[row, column] = told[image, level][1]
                chance[row, column] = 1 / offered[image, level]
    null = {}
    for level, column in zip(material.levels, chance.T, strict=True):
        blind = float(column[np.isfinite(column)].mean()) if np.isfinite(column).any() else float("nan")
        null[level] = (blind, blind)
    asked_all = np.isfinite(chance).all(1)
    whole = float(chance[asked_all].prod(1).mean()) if asked_all.any() else float("nan")
    null[HCA] = (whole, whole)
    return Scores(str(material.images.path), _with_path(right, material.levels), null)


def _with_path(right: np.ndarray, levels: Sequence[str]) -> dict[str, np.ndarray]:
    path = np.where(np.isnan(right), 1, right).min(1)
    path[np.isnan(right).all(1)] = np.nan
    return {level: right[:, column] for column, level in enumerate(levels)} | {HCA: path}
