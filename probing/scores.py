"""What the probes of a site add up to, with intervals and nulls: one record per level, and one for the site.

docs/results.md says what every key means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probing import calibration, decoding
from probing.bootstrap import LeafBootstrap, macro_interval
from probing.controls import CONTROL, REHUNG, tested
from probing.decoding import LevelScores
from probing.information import losses, prior_losses, top_k
from probing.nulls import Nulls, null_draws, path_draws
from probing.plan import Plan
from probing.shares import class_shares, frechet_bounds, hca, independent_product
from probing.site_probes import ControlProbes, LevelProbe, SiteProbes, leaf_of_class
from taxonomy.metrics import Interval, path_scores
from taxonomy.splits import TEST, TRAIN, VALIDATION

TOP = 5

Record = dict[str, Any]


class Scorer:
    """Scores the sites of one plan; the bootstrap's draws are the same for every site, so sites are paired."""

    def __init__(
        self, plan: Plan, *, draws: int, seed: int, refit: bool, labels_of: Mapping[str, str] | None = None
    ) -> None:
        """labels_of: levels whose labels in the plan are those of another level (`probing.paper.published_levels`)."""
        self.plan = plan
        units = plan.test_units
        self.truth = plan.scored_path[units]
        self.leaf = plan.leaf[units]
        self.validation = plan.scored_path[plan.units(VALIDATION)]
        read = [(labels_of or {}).get(level, level) for level in plan.scored]
        self.codes = plan.taxonomy.codes[:, [plan.taxonomy.level_index(level) for level in read]]
        self.bootstrap = LeafBootstrap.of(self.leaf, draws, seed)
        self.fitted = np.unique(plan.unit[plan.split != TEST if refit else plan.split == TRAIN])
        self.draws, self.seed = draws, seed

    def nulls(self, probes: SiteProbes) -> Nulls:
        """What chance does to these probes' accuracies and HCA."""
        readings = self.readings(probes) if probes.shuffled_readings else {}
        return Nulls(
            null_draws(self.predicted(probes)[None], self.truth, self.seed),
            null_draws(probes.shuffled, self.truth, self.seed),
            {
                name: (
                    path_draws(found[None], self.truth, self.seed),
                    path_draws(probes.shuffled_readings[name], self.truth, self.seed),
                )
                for name, found in readings.items()
            },
        )

    def predicted(self, probes: SiteProbes) -> np.ndarray:
        """int (test unit, scored level): each level's own answer."""
        return np.column_stack([probes.levels[level].predicted for level in self.plan.scored])

    def hits(self, probes: SiteProbes) -> np.ndarray:
        """float32 (test unit, scored level + 1): 1 right, 0 wrong, NaN where a unit does not count; the last is HCA."""
        predicted = self.predicted(probes)
        right = np.where(self.truth >= 0, predicted == self.truth, np.nan)
        return np.column_stack([right, self.whole(predicted)]).astype(np.float32)

    def score(self, probes: SiteProbes, nulls: Nulls | None = None) -> tuple[list[Record], Record]:
        """A record per level (an unscored one has its reason and no numbers), and the record of the site."""
        nulls = self.nulls(probes) if nulls is None else nulls
        scored = self.plan.scored
        records = []
        for level in self.plan.levels:
            record = {"level": level, "unscored": self.plan.unscored.get(level)}
            if level in scored:
                column = scored.index(level)
                record |= self._level(probes.levels[level], column)
                record |= _spread("shuffled", nulls, column)
                record |= _spread("shuffled_macro", nulls, len(scored) + column)
                record["shuffled_converged"] = probes.shuffled_converged
                record |= self._controls(probes, column)
            records.append(record)
        site = self._site(probes) | _spread("shuffled", nulls, -1)
        for name in decoding.READINGS:
            site |= _named(f"shuffled_{name}", nulls.of_reading(name))
        return records, site

    def _level(self, probe: LevelProbe, column: int) -> Record:
        truth = self.truth[:, column]
        has = truth >= 0
        right = probe.predicted == truth
        shares = class_shares(right, truth)
        macro_low, macro_high = macro_interval(right, truth, self.leaf, self.draws, self.seed)
        fitted = self.plan.scored_path[self.fitted, column]
        majority = np.bincount(fitted[fitted >= 0]).argmax()
        confidence = np.exp(probe.log_probabilities[has].max(1).astype(float))
        top = top_k(probe.log_probabilities, probe.classes, truth, TOP) if len(probe.classes) > TOP else right
        gain, prior = self._bits(probe, fitted, truth)
        return {
            **self.shares(accuracy=np.where(has, right, np.nan)),
            "macro_accuracy": float(shares.mean()),
            "macro_low": macro_low,
            "macro_high": macro_high,
            **(self.shares(top5=np.where(has, top, np.nan)) if len(probe.classes) > TOP else _nothing("top5")),
            "majority": float((truth[has] == majority).mean()),
            "log_loss": probe.log_loss,
            "prior_log_loss": _mean(prior),
            **self.values(usable_bits=gain),
            "ece": calibration.expected_calibration_error(confidence, right[has]),
            "ks_error": calibration.kolmogorov_smirnov(confidence, right[has]),
            "n_train": probe.n_train,
            "n_validation": probe.n_validation,
            "n_test": int(has.sum()),
            "leaves_test": len(np.unique(self.leaf[has])),
            "classes": len(probe.classes),
            "classes_test": len(np.unique(truth[has])),
            "unseen": int((~np.isin(truth[has], probe.classes)).sum()),
            "penalty": probe.penalty,
            "penalty_at_edge": len(probe.validation) > 1
            and probe.penalty in (min(probe.validation), max(probe.validation)),
            "validation_log_loss": probe.validation[probe.penalty][0],
            "validation_accuracy": probe.validation[probe.penalty][1],
            "objective": probe.fit.objective,
            "grad_norm": probe.fit.grad_norm,
            "n_iter": probe.fit.n_iter,
            "converged": probe.fit.converged,
            "path_converged": probe.path_converged,
        }

    def gain(self, probe: LevelProbe) -> np.ndarray:
        """Usable bits of each test unit, float (test unit,), NaN where it does not count (`probing.information`)."""
        column = self.plan.scored.index(probe.level)
        return self._bits(probe, self.plan.scored_path[self.fitted, column], self.truth[:, column])[0]

    def _bits(self, probe: LevelProbe, fitted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Usable bits of each test unit, and the prior's loss in nats; NaN where the unit does not count."""
        prior = prior_losses(fitted, probe.classes, truth)
        return (prior - losses(probe.log_probabilities, probe.classes, truth)) / math.log(2), prior

    def _controls(self, probes: SiteProbes, column: int) -> Record:
        """What re-hung trees and control tasks reach at a level, in accuracy and bits, and what the true labels have
        beyond them."""
        level = self.plan.scored[column]
        truth = self.truth[:, column]
        right = np.where(truth >= 0, probes.levels[level].predicted == truth, np.nan)
        record: Record = {}
        for kind, beyond in ((REHUNG, "above_rehung"), (CONTROL, "selectivity")):
            members = [found for found in probes.controls if found.labels.kind == kind and level in found.levels]
            if not members:
                record |= _nothing(kind) | _nothing(f"{kind}_bits") | _nothing(beyond)
                continue
            hits = np.mean([self._hits(found, probes)[:, column] for found in members], axis=0)
            bits = [
                self._bits(
                    found.levels[level],
                    found.labels.path[self.fitted, self.plan.levels.index(level)],
                    tested(self.plan, found.labels)[:, column],
                )[0]
                for found in members
            ]
            record |= self.shares(**{kind: hits}) | self.values(**{f"{kind}_bits": np.mean(bits, axis=0)})
            record |= self.values(**{beyond: right - hits})
        record["controls_converged"] = all(
            found.levels[level].converged for found in probes.controls if level in found.levels
        )
        return record

    def _hits(self, found: ControlProbes, probes: SiteProbes) -> np.ndarray:
        """1 where a control's probe is right about its own labels, float (test unit, scored level); NaN where a unit
        does not have a level, or the level has no probe."""
        given = tested(self.plan, found.labels)
        hits = np.full(given.shape, np.nan)
        for column, level in enumerate(self.plan.scored):
            has = given[:, column] >= 0
            if level in found.levels:
                hits[has, column] = (found.levels[level].predicted == given[:, column])[has]
            elif level in found.labels.same:
                hits[has, column] = (probes.levels[level].predicted == self.truth[:, column])[has]
        return hits

    def _site(self, probes: SiteProbes) -> Record:
        predicted = self.predicted(probes)
        counted = np.any(self.truth >= 0, axis=1)
        truth = self.truth[counted]
        present, right = truth >= 0, predicted[counted] == truth
        scores = path_scores(predicted[counted], truth)
        bounds = frechet_bounds(right, present)
        paths, times = np.unique(self._fitted_paths(), axis=0, return_counts=True)
        readings = self.readings(probes)
        whole = {name: self.whole(found) for name, found in readings.items()}
        true_paths = self.whole(predicted)
        return {
            "levels": ",".join(self.plan.scored),
            "n_test": scores.n,
            "leaves_test": len(np.unique(self.leaf[counted])),
            "n_validation": int(np.any(self.validation >= 0, axis=1).sum()),
            "validation_hca": hca(probes.validation == self.validation, self.validation),
            **self.shares(hca=true_paths),
            "product": independent_product(right, present),
            "frechet_low": bounds[0],
            "frechet_high": bounds[1],
            **self.shares(**whole),
            **({} if "leaf_lookup" in whole else _nothing("leaf_lookup")),
            "majority_path": hca(paths[times.argmax()] == truth, truth),
            **self._rehung(probes, true_paths),
            "por": scores.por,
            "spor_prefix": scores.spor_prefix,
            "tor": scores.tor,
            "converged": all(
                probe.fit.converged for probe in [*probes.levels.values(), *([probes.leaf] if probes.leaf else [])]
            ),
            "path_converged": all(probe.path_converged for probe in probes.levels.values()),
            "controls_converged": all(found.converged for found in probes.controls),
            "shuffled_converged": probes.shuffled_converged,
        }

    def readings(self, probes: SiteProbes, options: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Paths of the test units by each reading but the independent one (`probing.decoding`), int (test unit, scored
        level); of the units with a level, -1 where they lack one. `leaf_lookup` is left out where it cannot be."""
        leaf = probes.leaf and LevelScores(leaf_of_class(self.plan, probes.leaf.classes), probes.leaf.log_probabilities)
        return decoding.readings(level_scores(probes, self.plan.scored), leaf, self.codes, self.truth, options)

    def _fitted_paths(self) -> np.ndarray:
        paths = self.plan.scored_path[self.fitted]
        return paths[(paths >= 0).any(1)]

    def whole(self, predicted: np.ndarray) -> np.ndarray:
        """1 where a test unit's path is right throughout, float (test unit,); NaN where it has no scored level."""
        right = np.all((predicted == self.truth) | (self.truth < 0), axis=1)
        return np.where(np.any(self.truth >= 0, axis=1), right, np.nan)

    def _rehung(self, probes: SiteProbes, true_paths: np.ndarray) -> Record:
        """HCA of probes of re-hung trees, and how much more the true tree's have."""
        whole = []
        for found in probes.controls:
            hits = self._hits(found, probes)
            if found.labels.kind == REHUNG and found.levels and not np.isnan(hits[self.truth >= 0]).any():
                whole.append(np.where(np.isnan(true_paths), np.nan, np.nan_to_num(hits, nan=1).min(1)))
        if not whole:
            return _nothing("rehung") | _nothing("above_rehung")
        mean = np.mean(whole, axis=0)
        return self.shares(rehung=mean) | self.values(above_rehung=true_paths - mean)

    def shares(self, **columns: np.ndarray) -> Record:
        """Mean and interval of shares (test unit,), NaN where a unit does not count."""
        return self._summarised(columns, share=True)

    def values(self, **columns: np.ndarray) -> Record:
        """Likewise of differences and bits."""
        return self._summarised(columns, share=False)

    def _summarised(self, columns: Mapping[str, np.ndarray], share: bool) -> Record:
        """Mean and interval of some columns (test unit,), NaN where a unit does not count."""
        record: Record = {}
        found: Sequence[Interval] = self.bootstrap.intervals(np.column_stack(list(columns.values())), share)
        for (name, values), (low, high) in zip(columns.items(), found, strict=True):
            record |= {name: _mean(values), f"{name}_low": low, f"{name}_high": high}
        return record


def level_scores(probes: SiteProbes, levels: Sequence[str]) -> list[LevelScores]:
    """What `probing.decoding` reads."""
    return [LevelScores(probes.levels[level].classes, probes.levels[level].log_probabilities) for level in levels]


def _mean(values: np.ndarray) -> float:
    counted = values[np.isfinite(values)]
    return float(counted.mean()) if len(counted) else math.nan


def _nothing(name: str) -> Record:
    return _named(name, (math.nan, math.nan, math.nan))


def _spread(name: str, nulls: Nulls, column: int) -> Record:
    return _named(name, nulls.spread(column))


def _named(name: str, numbers: tuple[float, float, float]) -> Record:
    middle, low, high = numbers
    return {name: middle, f"{name}_low": low, f"{name}_high": high}
