"""What a report tells wandb: the page, its figures, and the probe run it was made from."""

from __future__ import annotations

import re
from pathlib import Path

from analysis.config import ReportConfig
from probing.results import ProbeRun
from probing.tracked import best, probe_files
from tracking import Files, Record, settings

DRAWING = re.compile(r'<svg [^>]*aria-label="([^"]+)"[^>]*>.*?</svg>', re.DOTALL)


def report_of(config: ReportConfig, probes: ProbeRun, out: Path) -> Record:
    """The record of the report of a probe run, written to `out`."""
    page = out.read_text(encoding="utf-8")
    return Record(
        job="report",
        config=settings(config),
        summary=best(probes),
        pages={"report": page} | {figure[1]: figure[0] for figure in DRAWING.finditer(page)},
        used=[probe_files(probes)],
        made=[Files(f"{probes.path.name}-report", "report", (out,))],
    )
