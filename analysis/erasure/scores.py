"""Before and after an erasure: differences paired by sample, completeness, selectivity and their harmonic mean.

Canby et al. (2024, arXiv 2408.15510) ask of an intervention that it changes its target wholly (completeness) and
nothing else (selectivity), and call the harmonic mean of the two its reliability. They measure both as distances
between the distributions that a probe gives. Here both are shares of accuracy above chance, of probes fitted anew on
the erased features (or of the model's answers):

    completeness = (before - after) / (before - chance)        of the erased level
    selectivity  = 1 - |before - after| / (before - chance)    of a level to be kept, the mean over those levels

each cut off at 0 and 1. A level that is not above chance before has nothing to lose or keep, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.erasure.tree import Relation
from probing.bootstrap import LeafBootstrap, percentiles

Record = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Whether each sample is right at one level; float (sample,), NaN where it does not count."""

    before: np.ndarray
    after: np.ndarray
    chance: np.ndarray
    """How often it would be right by knowing the true parent alone."""
    relation: Relation


def difference(outcome: Outcome, bootstrap: LeafBootstrap) -> Record:
    """before, after, chance, and after - before with its paired interval over leaves."""
    change = outcome.after - outcome.before
    low, high = bootstrap.interval(change, share=False)
    after_low, after_high = bootstrap.interval(outcome.after)
    counted = np.isfinite(change)
    return {
        "before": float(outcome.before[counted].mean()) if counted.any() else float("nan"),
        "after": float(outcome.after[counted].mean()) if counted.any() else float("nan"),
        "after_low": after_low,
        "after_high": after_high,
        "chance": float(outcome.chance[counted].mean()) if counted.any() else float("nan"),
        "difference": float(change[counted].mean()) if counted.any() else float("nan"),
        "low": low,
        "high": high,
        "n": int(counted.sum()),
        "leaves": len(np.unique(bootstrap.group[counted])),
    }


def reliability(outcomes: Mapping[str, Outcome], bootstrap: LeafBootstrap) -> Record:
    """completeness, selectivity and reliability with intervals over leaves, and what they are of; NaN without any."""
    there = {level: outcome for level, outcome in outcomes.items() if _above_chance(outcome, bootstrap)}
    erased = [outcome for outcome in there.values() if outcome.relation == "erased"]
    kept = {level: outcome for level, outcome in there.items() if outcome.relation == "kept"}
    complete = _shares(erased[0], bootstrap) if erased else None
    selective = np.mean([1 - _shares(one, bootstrap, either=True) for one in kept.values()], 0) if kept else None
    both = None
    if complete is not None and selective is not None:
        total = complete + selective
        both = np.where(total > 0, 2 * complete * selective / np.where(total > 0, total, 1), 0.0)
    found: Record = {}
    for name, draws in (("completeness", complete), ("selectivity", selective), ("reliability", both)):
        low, high = (float("nan"), float("nan")) if draws is None else percentiles(draws[1:])
        found |= {name: float("nan") if draws is None else float(draws[0]), f"{name}_low": low, f"{name}_high": high}
    counted = [np.isfinite(outcome.before) for outcome in there.values()]
    n = int(np.any(counted, 0).sum()) if counted else 0
    return found | {"of_kept": sorted(kept), "n": n, "leaves": bootstrap.leaves}


def _above_chance(outcome: Outcome, bootstrap: LeafBootstrap) -> bool:
    """Whether there is anything to lose: before is above chance, interval and all."""
    return (
        bool(np.isfinite(outcome.before).any())
        and bootstrap.interval(outcome.before - outcome.chance, share=False)[0] > 0
    )


def _shares(outcome: Outcome, bootstrap: LeafBootstrap, either: bool = False) -> np.ndarray:
    """float (1 + draw,): the share of what was above chance that is gone; over all samples first, then in each draw.
    `either`: that has changed, in whatever direction."""
    values = np.stack([outcome.before, outcome.after, outcome.chance], 1)
    means = np.concatenate([np.nanmean(values, 0)[None], bootstrap.means(values)])
    before, after, chance = means.T
    lost = np.abs(before - after) if either else before - after
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(lost / (before - chance), 0, 1)
