"""The settings of `python -m analysis verdict`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, NonNegativeInt

from commandline import Config
from tracking import Tracking


class VerdictConfig(Config):
    """Say of every level of the taxonomy at which stage the model loses it, or that this cannot be told.

    Probes must be there (`python -m probing STORE`). What else was measured is used where it is found: probes of unseen
    leaves, the bits that a site keeps of an earlier one, the model's answers about the images and by name. Without it
    the verdict says what it cannot judge.
    """

    run: str
    """A store, or the output directory of `python -m probing`."""
    leaf: Path | None = None
    """Probes of unseen leaves (`--split leaf`); by default <store>.probe-leaf."""
    images: Path | None = None
    """The model's answers about the images (`python -m evaluation`); by default this model's run beside the store."""
    names: Path | None = None
    """Its answers by the leaf's name (`--text_only true`); likewise."""
    geometry: Path | None = None
    """What `python -m analysis geometry` wrote; by default <store>.geometry, where it is there. A note, no part of the
    rule."""
    prompt: str | None = None
    """Of the answers; by default the first that was asked."""
    parser: str = "strict_v1"
    """Of the replies."""
    bootstrap: int = Field(default=2000, ge=1000)
    """Draws of an interval."""
    seed: NonNegativeInt = 0
    """Of the draws."""
    out: Path | None = None
    """The directory for verdict.json and verdict.parquet; by default <store>.verdict."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""
