"""Everything a report is made from: the probes, and what lies beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.bottleneck import found as beside
from analysis.bottleneck.judging import Verdict, verdict
from analysis.report.readings import Readings
from commandline import InputError
from probing.results import ProbeRun
from probing.scores import Record

if TYPE_CHECKING:
    from evaluation.results import AskRun
    from extract import Store

BASELINE = "baseline"
"""The stage of sites that no model was needed for."""


@dataclass(frozen=True)
class Material:
    """A probe run, and what else was found; None for what was not."""

    probes: ProbeRun
    verdict: Verdict | None
    unjudged: str
    """Why there is no verdict."""
    images: AskRun | None
    """The model's own answers about the images, and by name."""
    names: AskRun | None
    geometry: Path | None
    """The folder of `python -m analysis geometry`."""
    store: Store | None
    photos: Path | None
    """Where the images' paths start."""

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """The scored ones, coarse to fine."""
        return tuple(entry["level"] for entry in self.probes.summary["levels"] if not entry["unscored"])

    @cached_property
    def readings(self) -> Readings:
        return Readings.of(self.probes.predictions(), [record["site"] for record in self.probes.hca], self.levels)

    @property
    def published(self) -> bool:
        """Whether the probes are of the published protocol."""
        return self.probes.summary["protocol"] == "paper"

    @cached_property
    def model_sites(self) -> list[Record]:
        """hca.parquet without the baselines."""
        return [record for record in self.probes.hca if record["stage"] != BASELINE]

    @cached_property
    def ends(self) -> list[str]:
        """Of each stage the site whose paths are read best on validation, and the last; in the model's order. The
        published protocol has no validation to pick a site by: there it is the last alone."""
        kept: list[str] = []
        for stage in dict.fromkeys(record["stage"] for record in self.model_sites):
            members = [record for record in self.model_sites if record["stage"] == stage]
            chosen = {members[-1]["site"]}
            if not self.published:
                chosen.add(max(members, key=lambda record: record["validation_hca"])["site"])
            kept += [record["site"] for record in members if record["site"] in chosen]
        return kept

    def record(self, site: str, level: str) -> Record:
        """The row of probes.parquet."""
        return self._records[site, level]

    @cached_property
    def _records(self) -> dict[tuple[str, str], Record]:
        return {(record["site"], record["level"]): record for record in self.probes.probes}


def gather(
    probes: ProbeRun,
    *,
    leaf: Path | None = None,
    images: Path | None = None,
    names: Path | None = None,
    photos: Path | None = None,
) -> Material:
    """Look beside the probes for what was not named. Raises InputError for what was named and is not there."""
    judged, unjudged = None, ""
    try:
        judged = verdict(probes, leaf=leaf, images=images, names=names)
    except InputError as error:
        if leaf or images or names:
            raise
        unjudged = str(error)
    sources: dict[str, Any] = dict(judged.sources) if judged else {}
    answered = _answers(sources.get("images") or images)
    geometry = beside.sibling(probes, "geometry")
    store = _store(probes)
    return Material(
        probes=probes,
        verdict=judged,
        unjudged=unjudged,
        images=answered,
        names=_answers(sources.get("names") or names),
        geometry=geometry if (geometry / "verdicts.parquet").is_file() else None,
        store=store,
        photos=photos or _photos(answered, store),
    )


def _answers(path: str | Path | None) -> AskRun | None:
    from evaluation.results import AskRun

    return AskRun.open(path) if path else None


def _store(probes: ProbeRun) -> Store | None:
    """The store, where it still lies beside its probes and is the one they were fitted on."""
    from extract import Store

    path = probes.path.with_name(probes.summary["store"]["name"])
    try:
        store = Store.open(path)
    except InputError:
        return None
    return store if store.attrs["created"] == probes.summary["store"].get("created", store.attrs["created"]) else None


def _photos(answered: AskRun | None, store: Store | None) -> Path | None:
    """The folder that image paths start from, as the answers or the store noted it."""
    noted = [answered.record["about"].get("images")] if answered else []
    if store is not None:
        noted.append(((store.attrs.get("dataset") or {}).get("arguments") or {}).get("dataset"))
    for place in noted:
        path = Path(place) if place else None
        if path and path.is_file():
            path = path.parent
        if path and path.is_dir():
            return path
    return None
