"""Runs in wandb: what a command was asked, what it found, and which files it read and wrote.

Nothing of wandb is imported unless `--wandb.project` is given. A record is made when the results are already on disk.
It is written offline first, then handed to wandb's own `wandb sync` for a limited time, so that no network can stop or
slow the work; what could not be uploaded stays, and `wandb sync FOLDER` uploads it later.

A command joins with two lines. In its configuration:

    wandb: Tracking = Tracking()
    \"\"\"Where the run is logged.\"\"\"

and at the end of its run function, where `record` makes a `Record` from what was written:

    track(config.wandb, lambda: record(config, out))
"""

from tracking.config import Tracking
from tracking.record import Curve, Files, Record, settings
from tracking.sweeps import own_folder
from tracking.track import track

__all__ = ["Curve", "Files", "Record", "Tracking", "own_folder", "settings", "track"]
