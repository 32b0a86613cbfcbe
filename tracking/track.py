"""The one place where a run meets wandb, and where whatever goes wrong with it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

from commandline import first_line
from tracking.config import Tracking
from tracking.record import Record


def track(options: Tracking, make: Callable[[], Record]) -> None:
    """Log what `make` tells, as the options say; do nothing, not even call it, without a project.

    To be called when the results are written: an error of wandb's is said once on stderr and raised no further.
    """
    mode = options.wanted
    if mode == "disabled":
        return
    try:
        from tracking.offline import write
        from tracking.upload import upload

        folder, server = write(make(), options)
        told = upload(folder, server, options.patience) if mode == "online" else f"written to {folder}"
    except Exception as error:
        told = f"not logged ({type(error).__name__}: {first_line(error)}); the results are written all the same"
    print(f"wandb: {told}", file=sys.stderr)
