"""A record as an offline run of wandb. Only this module and `tracking.artifacts` import wandb."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracking.config import Tracking
from tracking.record import Curve, Record, Row
from tracking.secrets import Scrubber

QUIET = {"silent": True, "quiet": True, "console": "off"}
UNSEEN = {
    "host": "",
    "save_code": False,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""wandb takes nothing by itself: no arguments, host, user, code, git remotes (they may hold tokens), output, packages.
"""
LAYER = "layer"
"""The step of every curve."""
MOST_ROWS = 100_000
"""Of a table; wandb shows no more."""


def write(record: Record, options: Tracking) -> tuple[Path, str]:
    """Write a run to disk without any network; its folder, and the server it would go to."""
    base = Path(options.dir or os.environ.get("WANDB_DIR") or ".")
    base.mkdir(parents=True, exist_ok=True)
    # Copies of artifacts' files wait for their upload here, not in the home folder; and wandb's own faults are not
    # reported to its makers with whatever stands in a traceback.
    os.environ.setdefault("WANDB_DATA_DIR", str((base / "wandb").absolute()))
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    from tracking.artifacts import artifact

    scrub = Scrubber(variables=record.secret_variables)
    known = {**QUIET, **UNSEEN}
    known = {name: value for name, value in known.items() if name in wandb.Settings.model_fields}
    run = wandb.init(
        project=options.project,
        entity=options.entity,
        name=options.name,
        group=options.group,
        tags=list(options.tags) if options.tags else None,
        dir=str(base),
        job_type=record.job,
        config=scrub.values(dict(record.config)),
        mode="offline",
        reinit="create_new",
        settings=wandb.Settings(**known),
    )
    try:
        run.define_metric(LAYER)
        for stage in dict.fromkeys(curve.stage for curve in record.curves):
            run.define_metric(f"{stage}/*", step_metric=LAYER)
        for row in steps(record.curves):
            run.log(row)
        for name, rows in record.tables.items():
            if rows:
                columns, data = table(scrub.values(list(rows[:MOST_ROWS])))
                run.log({f"tables/{name}": wandb.Table(columns=list(columns), data=list(data), allow_mixed_types=True)})
        for name, page in record.pages.items():
            run.log({f"pages/{name}": wandb.Html(scrub.text(page), inject=False)})
        if record.figures:
            run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in record.figures.items()})
        for files in record.used:
            # What the public `use_artifact` does online and refuses offline: the upload makes it, then notes its use.
            run._log_artifact(artifact(files, scrub, options.upload), is_user_created=True, use_after_commit=True)
        for files in record.made:
            run.log_artifact(artifact(files, scrub, options.upload))
        run.summary.update(finite(scrub.values(dict(record.summary))))
        return Path(run.settings.sync_dir), str(run.settings.base_url)
    finally:
        run.finish()
        if wandb.run is None:  # else somebody's own run goes on in this process
            wandb.teardown()  # until its service has ended, the file is not whole, and an upload would lack its end


def steps(curves: Sequence[Curve]) -> list[dict[str, float]]:
    """One row per layer, in order, with the metrics of every stage that has that layer: `llm/genus/accuracy`."""
    rows: dict[int, dict[str, float]] = defaultdict(dict)
    for curve in curves:
        for layer, values in curve.points.items():
            rows[layer] |= {f"{curve.stage}/{name}": value for name, value in finite(values).items()}
    return [{LAYER: layer, **rows[layer]} for layer in sorted(rows)]


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """Columns and data; a key that a row lacks, and NaN, is None there."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns, [[_cell(row.get(column)) for column in columns] for row in rows]


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not there: None, NaN, infinities."""
    return {key: value for key, value in values.items() if _cell(value) is not None}


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
