"""What a report tells wandb: the page, its figures, and the probe run it was made from."""

from __future__ import annotations

from pathlib import Path

from analysis.config import ReportConfig
from probing.results import ProbeRun
from probing.tracked import best, probe_files
from tracking import Files, Record, settings


def report_of(config: ReportConfig, probes: ProbeRun, out: Path) -> Record:
    """The record of the report of a probe run, written to `out`, its figures into figures/ beside it."""
    figures = sorted((out.parent / "figures").glob("*.png")) if config.figures else []
    return Record(
        job="report",
        config=settings(config),
        summary=best(probes),
        pages={"report": out.read_text(encoding="utf-8")},
        figures={path.stem: path for path in figures},
        used=[probe_files(probes)],
        made=[Files(f"{probes.path.name}-report", "report", (out, *figures))],
    )
