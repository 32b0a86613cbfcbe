"""The settings of the commands of this package."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, NonNegativeInt

from commandline import Config
from tracking import Tracking


class ReportConfig(Config):
    """Write one self-contained HTML file about a probe run and what was measured beside it: verdict, figures, tables,
    examples, and where they come from."""

    run: str
    """The output directory of `python -m probing`, or its store."""
    out: str | None = None
    """The HTML file; by default report.html in the run's directory."""
    site: str | None = None
    """Whose probes the taxonomy and the examples show; by default the last site."""
    leaf: Path | None = None
    """Probes of unseen leaves (`--split leaf`); by default <store>.probe-leaf."""
    images: Path | None = None
    """The model's answers about the images (`python -m evaluation`); by default the run of this model beside it."""
    names: Path | None = None
    """Its answers by the leaf's name (`--text_only true`); likewise."""
    photos: Path | None = None
    """The folder that image paths start from, for the examples; by default as the answers or the store noted it."""
    figures: bool = True
    """Write every figure as SVG and PNG too, into figures/ beside the page."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""


class CompareConfig(Config):
    """Several models, or several sites, side by side: what each gets right, and paired differences to the first."""

    runs: list[str] = Field(min_length=2)
    """Probe runs or their stores, each as RUN, or as RUN@SITE for one of its sites (`runs/a.zarr@llm.12`)."""
    out: Path | None = None
    """The folder for compare.html and its Parquet tables; by default beside the first run, <run>.comparison."""
    bootstrap: int = Field(default=2000, ge=1000)
    """Draws of an interval."""
    seed: NonNegativeInt = 0
    """Of the draws."""
    figures: bool = True
    """Write every figure as SVG and PNG too, into figures/ beside the page."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""
