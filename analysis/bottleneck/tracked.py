"""What a verdict tells wandb: each level's stage and strength, the numbers it rests on, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from analysis.bottleneck.config import VerdictConfig
from analysis.bottleneck.found import sibling
from analysis.bottleneck.judging import Verdict
from analysis.bottleneck.writing import JSON, PARQUET, as_json
from analysis.geometry.tracked import geometry_files
from evaluation.results import AskRun
from evaluation.tracked import answer_files
from probing.results import ProbeRun
from probing.tracked import probe_files
from tracking import Files, Record, settings

RULED = ("stage", "at", "confident", "strength", "low", "high", "p_adjusted")
"""Of each level, in the summary; the table of levels has the reasons too."""
SAID = ("why", "unseen", "geometry", "would_change")


def verdict_of(config: VerdictConfig, out: Path) -> Record:
    """The record of the verdict written to `out`."""
    found = _read(out)
    levels: list[dict[str, Any]] = found["levels"]
    return Record(
        job="verdict",
        config=settings(config),
        summary={f"{level['level']}/{key}": level[key] for level in levels for key in RULED},
        tables={
            "levels": [{key: level[key] for key in ("level", *RULED, *SAID)} for level in levels],
            "also": [{"level": level["level"], **loss} for level in levels for loss in level["also"]],
            "evidence": pq.read_table(out / PARQUET).to_pylist(),
        },
        used=sources_used(found["sources"], config.parser),
        made=[_files(out, found)],
    )


def verdict_files(probes: ProbeRun, shown: Verdict) -> list[Files]:
    """The written verdict of a probe run as an artifact, if it says what is shown; none if not, or if there is none."""
    out = sibling(probes, "verdict")
    try:
        found = _read(out)
    except (OSError, ValueError):
        return []
    same = json.loads(json.dumps(as_json(shown, probes.summary["created"], {})))
    return [_files(out, found)] if all(found.get(key) == same[key] for key in ("levels", "probes_created")) else []


def sources_used(sources: Mapping[str, str], parser: str) -> list[Files]:
    """What a verdict was made from (`Verdict.sources`), each as the command that made it logs it."""
    probes = [ProbeRun.open(sources[key]) for key in ("probes", "leaf") if key in sources]
    answers = [AskRun.open(sources[key]) for key in ("images", "names") if key in sources]
    geometry = [geometry_files(Path(sources["geometry"]))] if "geometry" in sources else []
    return [*map(probe_files, probes), *(answer_files(run, parser) for run in answers), *geometry]


def _files(out: Path, found: Mapping[str, Any]) -> Files:
    about = {"judged": found["judged"], "probes_created": found["probes_created"]}
    return Files(out.name, "verdict", (out / JSON, out / PARQUET), about=about)


def _read(out: Path) -> dict[str, Any]:
    return json.loads((out / JSON).read_text(encoding="utf-8"))
