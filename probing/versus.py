"""The same probes on another store of the same samples: an untrained model, or images whose pixels were shuffled.

What a site reads beyond its like in such a store is what training, or the picture, has put there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from commandline import InputError
from extract import Store
from probing.plan import Plan
from probing.protocol import Settings, probe_site
from probing.scores import Record, Scorer
from probing.site_probes import SiteProbes
from taxonomy.names import counted


@dataclass(frozen=True)
class Rival:
    """A store to compare with, and where it keeps the samples."""

    name: str
    """What its columns are called: `random_init` or `pixel_shuffled`."""
    store: Store
    rows: np.ndarray

    @classmethod
    def open(cls, name: str, path: str, ids: Sequence[str]) -> Rival:
        """Raises InputError where the store lacks some of the samples, or holds no activations of them."""
        store = Store.open(path)
        place = {found: row for row, found in enumerate(store.samples.id.tolist()) if store.ok[row]}
        lacking = [wanted for wanted in ids if wanted not in place]
        if lacking:
            raise InputError(
                f"--{name} {path} lacks {counted(len(lacking), 'sample')} of {len(ids):,} (the first: {lacking[0]!r}); "
                "extract it from the same images"
            )
        return cls(name, store, np.array([place[wanted] for wanted in ids]))

    def records(
        self, site: str, plan: Plan, settings: Settings, scorer: Scorer, probes: SiteProbes
    ) -> tuple[dict[str, Record], Record]:
        """What to add to the record of each scored level and to that of the site; nothing where the store has no such
        site."""
        if site not in self.store.sites:
            return {}, {}
        X = self.store.matrix(site, self.rows)
        if not np.isfinite(X).all():
            raise InputError(f"--{self.name} {self.store.path}: rows marked ok hold NaN or infinity at {site}")
        other = probe_site(X, plan, replace(settings, shuffles=0, controls=0))
        found = {level: self._level(scorer, probes, other, level) for level in plan.scored}
        true, here = (scorer.whole(scorer.predicted(each)) for each in (probes, other))
        whole = scorer.shares(**{self.name: here}) | scorer.values(**{f"above_{self.name}": true - here})
        return found, whole | {f"{self.name}_converged": _converged(other)}

    def _level(self, scorer: Scorer, probes: SiteProbes, other: SiteProbes, level: str) -> Record:
        truth = scorer.truth[:, scorer.plan.scored.index(level)]
        right, here = (np.where(truth >= 0, each.levels[level].predicted == truth, np.nan) for each in (probes, other))
        return {
            **scorer.shares(**{self.name: here}),
            **scorer.values(**{f"{self.name}_bits": scorer.gain(other.levels[level])}),
            **scorer.values(**{f"above_{self.name}": right - here}),
            f"{self.name}_converged": other.levels[level].converged,
        }


def _converged(probes: SiteProbes) -> bool:
    return all(probe.converged for probe in probes.levels.values())
