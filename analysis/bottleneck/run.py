"""`python -m analysis verdict RUN`: the verdict printed, and written beside the run."""

from __future__ import annotations

from analysis.bottleneck.config import VerdictConfig
from analysis.bottleneck.found import sibling
from analysis.bottleneck.judging import verdict
from analysis.bottleneck.table import table
from analysis.bottleneck.tracked import verdict_of
from analysis.bottleneck.writing import JSON, PARQUET, write
from probing.results import ProbeRun
from tracking import track


def run(config: VerdictConfig) -> None:
    """Judge, write, print. Raises InputError."""
    probes = ProbeRun.open(config.run)
    found = verdict(
        probes,
        leaf=config.leaf,
        images=config.images,
        names=config.names,
        geometry=config.geometry,
        prompt=config.prompt,
        parser=config.parser,
        draws=config.bootstrap,
        seed=config.seed,
    )
    out = config.out or sibling(probes, "verdict")
    write(found, out, probes.summary["created"], config.model_dump(mode="json", exclude={"wandb"}))
    print(table(found))
    print(f"\n{out}: {JSON}, {PARQUET} (every number with n, interval and null)")
    track(config.wandb, lambda: verdict_of(config, out))
