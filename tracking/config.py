"""The options that every tracked command takes."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field, PositiveFloat

from commandline import Config, Names

Mode = Literal["online", "offline", "disabled"]
MODES: dict[str, Mode] = {
    "online": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""What the environment's WANDB_MODE may say."""


class Tracking(Config):
    """Where a run is logged in wandb; without a project nowhere."""

    project: str | None = Field(default=None, max_length=128, pattern=r"^[^/\\#?%:]+$")
    """The wandb project to log to; without it nothing is logged."""
    entity: str | None = None
    """The user or team the project belongs to; by default your own."""
    name: str | None = None
    """What the run is called; by default wandb finds a name."""
    group: str | None = None
    """The group the run belongs to."""
    tags: Names = None
    """The run's tags."""
    mode: Mode | None = None
    """online: written to disk, then uploaded. offline: written to disk; `wandb sync` uploads it. disabled: nothing. By
    default the environment's WANDB_MODE, else online."""
    dir: str | None = None
    """The folder in which `wandb/` lies; by default the environment's WANDB_DIR, else where you are."""
    upload: bool = False
    """Upload the files of stores and other large outputs too; by default only their manifest goes."""
    patience: PositiveFloat = 60
    """The most seconds that an upload may take, at the end of the command."""

    @property
    def wanted(self) -> Mode:
        """What is to be done."""
        if self.project is None:
            return "disabled"
        return self.mode or MODES.get(os.environ.get("WANDB_MODE", ""), "online")
