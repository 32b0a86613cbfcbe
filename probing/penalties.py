"""Every penalty that was tried, and how it did on validation: what the choice was made from."""

from __future__ import annotations

from probing.plan import Plan
from probing.scores import Record
from probing.site_probes import SiteProbes


def penalty_records(plan: Plan, found: SiteProbes) -> list[Record]:
    """A record per scored level and penalty; none with the published protocol, which tries none.

    log_loss: nats, accuracy: a share, both of probes fitted on train alone, over `n` validation rows.
    """
    return [
        {
            "level": level,
            "penalty": penalty,
            "log_loss": log_loss,
            "accuracy": accuracy,
            "n": found.levels[level].n_validation,
            "chosen": penalty == found.levels[level].penalty,
        }
        for level in plan.scored
        if found.levels[level].n_validation
        for penalty, (log_loss, accuracy) in sorted(found.levels[level].validation.items())
    ]
