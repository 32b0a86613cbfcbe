"""The settings of the commands of this package."""

from __future__ import annotations

from commandline import Config
from tracking import Tracking


class ReportConfig(Config):
    """Write one self-contained HTML file about a probe run: curves, heatmap, HCA, tables and where they come from."""

    run: str
    """The output directory of `python -m probing`, or its store."""
    out: str | None = None
    """The HTML file; by default report.html in the run's directory."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""
