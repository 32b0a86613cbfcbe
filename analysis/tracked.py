"""What a report tells wandb: the page and its figures, and what they were made from."""

from __future__ import annotations

from pathlib import Path

from analysis.bottleneck.tracked import sources_used, verdict_files
from analysis.config import ReportConfig
from analysis.geometry.tracked import geometry_files
from analysis.report.material import Material
from evaluation.tracked import answer_files
from probing.tracked import best, probe_files
from tracking import Files, Record, settings

PARSER = "strict_v1"
"""Whose reading of the answers is shown."""


def report_of(config: ReportConfig, material: Material, out: Path) -> Record:
    """The record of the report written to `out`, its figures into figures/ beside it."""
    probes = material.probes
    figures = sorted((out.parent / "figures").glob("*.png")) if config.figures else []
    return Record(
        job="report",
        config=settings(config),
        summary=best(probes),
        pages={"report": out.read_text(encoding="utf-8")},
        figures={path.stem: path for path in figures},
        used=material_files(material),
        made=[Files(f"{probes.path.name}-report", "report", (out, *figures))],
    )


def material_files(material: Material) -> list[Files]:
    """What a page was made from; the verdict too, where it was written and says what the page says."""
    if material.verdict:
        return [*sources_used(material.verdict.sources, PARSER), *verdict_files(material.probes, material.verdict)]
    answers = [answer_files(run, PARSER) for run in (material.images, material.names) if run]
    geometry = [geometry_files(material.geometry)] if material.geometry else []
    return [probe_files(material.probes), *answers, *geometry]
