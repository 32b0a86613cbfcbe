"""What a later site adds beyond an earlier one: conditional probing (Hewitt et al. 2021, arXiv 2109.09234).

A site further on cannot know more of the image than the one before it; it may hold what it knows in a form that a
linear probe can use. Probes of [earlier] and of [earlier, later] side by side tell how many usable bits the later site
adds, and whether it merely repeats the earlier one. Noise added to the features costs bits: the same with the later
rows dealt anew among the samples of each part of the split is the null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from commandline import InputError
from probing.plan import Plan
from probing.protocol import Settings, probe_site
from probing.scores import Record, Scorer
from taxonomy.splits import SPLITS


def parse_pairs(pairs: Sequence[str], sites: Sequence[str]) -> list[tuple[str, str]]:
    """`earlier+later` of two different sites each. Raises InputError."""
    found = []
    for pair in pairs:
        parts = tuple(pair.split("+"))
        unknown = [name for name in parts if name not in sites]
        if len(parts) != 2 or parts[0] == parts[1] or unknown:
            raise InputError(
                f"{pair!r} is no pair of different sites, as in projector+llm.final"
                + (f": no site {unknown[0]!r}; there are {', '.join(sites)}" if unknown else "")
            )
        found.append(parts)
    return found


def conditional(earlier: np.ndarray, later: np.ndarray, plan: Plan, settings: Settings, scorer: Scorer) -> list[Record]:
    """A record per scored level; features float32 (row, feature), rows as in `plan`.

    bits: `bits_earlier`, `bits_later`, `bits_both` and `added` (both less earlier, paired, with its interval), per test
    unit; `added_null` is what `added` becomes when the later rows are dealt anew.
    """
    bare = replace(settings, shuffles=0, controls=0)
    dealt = np.arange(len(later))
    rng = np.random.default_rng([settings.seed, 7])
    for part in SPLITS:
        rows = np.flatnonzero(plan.split == part)
        dealt[rows] = rng.permutation(rows)
    features = {
        "earlier": earlier,
        "later": later,
        "both": np.hstack([earlier, later]),
        "null": np.hstack([earlier, later[dealt]]),
    }
    probes = {name: probe_site(X, plan, bare) for name, X in features.items()}
    records = []
    for column, level in enumerate(plan.scored):
        gain = {name: scorer.gain(found.levels[level]) for name, found in probes.items()}
        counted = np.isfinite(gain["earlier"])
        records.append(
            {
                "level": level,
                "n_test": int(counted.sum()),
                "leaves_test": len(np.unique(scorer.leaf[counted & (scorer.truth[:, column] >= 0)])),
                **{f"bits_{name}": float(np.nanmean(gain[name])) for name in ("earlier", "later", "both")},
                **scorer.values(added=gain["both"] - gain["earlier"], added_null=gain["null"] - gain["earlier"]),
                "converged": all(found.levels[level].converged for found in probes.values()),
            }
        )
    return records
