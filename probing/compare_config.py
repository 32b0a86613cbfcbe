"""The settings of `python -m probing compare`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from commandline import Config, Names
from tracking import Tracking


class CompareConfig(Config):
    """Probe a store as published and strictly, and say what each difference between the two costs.

    A strict run of this store that lies beside it is read, and its settings are taken; else the strict probes are
    fitted here, with the defaults of `python -m probing`. The published training runs three times per site: as it is,
    with shuffled batches, and on standardised features too.
    """

    store: str
    """The store."""
    sites: Names = None
    """Sites or patterns (`encoder.*,llm.final`); all by default."""
    split: Literal["image", "leaf"] = "image"
    """image: the store's split. leaf: whole leaves held out, so parents are probed on leaves they never saw."""
    epochs: PositiveInt = 500
    """Of the published training; 500 as published."""
    bootstrap: int = Field(default=2000, ge=1000)
    """Draws of an interval, where no strict run is read."""
    seed: NonNegativeInt = 0
    """Of the published training, and of all the rest where no strict run is read."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    allow_uncertified: bool = False
    """Compare at sites that the store's certificate does not certify, too."""
    allow_partial: bool = False
    """Compare on a store whose extraction is not finished, with the rows it has."""
    out: str | None = None
    """Where the tables go; by default beside the store, <store>.compare (.compare-leaf with split leaf)."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""
