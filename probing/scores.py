"""What the probes of a site add up to, with intervals and nulls: one record per level, and one for the site."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from probing.bootstrap import LeafBootstrap, macro_interval, percentiles
from probing.plan import Plan
from probing.protocol import LevelProbe, SiteProbes
from taxonomy.metrics import path_scores
from taxonomy.splits import TEST, TRAIN, VALIDATION

NULL_DRAWS = 1000
"""Re-orderings of the test paths, over all shuffles, that a null's predictions are read against."""

Record = dict[str, Any]


class Scorer:
    """Scores the sites of one plan; the bootstrap's draws are the same for every site, so sites are paired."""

    def __init__(self, plan: Plan, *, draws: int, seed: int, refit: bool) -> None:
        self.plan = plan
        units = plan.test_units
        self.truth = plan.scored_path[units]
        self.leaf = plan.leaf[units]
        self.validation = plan.scored_path[plan.units(VALIDATION)]
        self.bootstrap = LeafBootstrap.of(self.leaf, draws, seed)
        fitted = plan.split != TEST if refit else plan.split == TRAIN
        paths = plan.scored_path[np.unique(plan.unit[fitted])]
        self.fitted = paths[(paths >= 0).any(1)]
        self.draws, self.seed = draws, seed

    def score(self, probes: SiteProbes) -> tuple[list[Record], Record]:
        """A record per level (an unscored one has its reason and no numbers), and the record of the site."""
        nulls = self._nulls(probes.shuffled)
        scored = self.plan.scored
        records = []
        for level in self.plan.levels:
            record = {"level": level, "unscored": self.plan.unscored.get(level)}
            if level in scored:
                column = scored.index(level)
                record |= self._level(probes.levels[level], column)
                record |= _spread("shuffled", nulls[:, column])
                record |= _spread("shuffled_macro", nulls[:, len(scored) + column])
                record["shuffled_converged"] = probes.shuffled_converged
            records.append(record)
        return records, self._site(probes) | _spread("shuffled", nulls[:, -1])

    def _level(self, probe: LevelProbe, column: int) -> Record:
        truth = self.truth[:, column]
        has = truth >= 0
        right = probe.predicted == truth
        low, high = self.bootstrap.interval(np.where(has, right, np.nan))
        shares = class_shares(right, truth)
        macro_low, macro_high = macro_interval(right, truth, self.leaf, self.draws, self.seed)
        majority = np.bincount(self.fitted[self.fitted[:, column] >= 0, column]).argmax()
        return {
            "accuracy": float(right[has].mean()),
            "accuracy_low": low,
            "accuracy_high": high,
            "macro_accuracy": float(shares.mean()),
            "macro_low": macro_low,
            "macro_high": macro_high,
            "majority": float((truth[has] == majority).mean()),
            "log_loss": probe.log_loss,
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

    def _site(self, probes: SiteProbes) -> Record:
        predicted = np.column_stack([probes.levels[level].predicted for level in self.plan.scored])
        counted = np.any(self.truth >= 0, axis=1)
        truth = self.truth[counted]
        present, right = truth >= 0, predicted[counted] == truth
        scores = path_scores(predicted[counted], truth)
        low, high = self._interval(scores.per_sample["hca"], counted)
        bounds = frechet_bounds(right, present)
        paths, times = np.unique(self.fitted, axis=0, return_counts=True)
        return {
            "levels": ",".join(self.plan.scored),
            "n_test": scores.n,
            "leaves_test": len(np.unique(self.leaf[counted])),
            "n_validation": int(np.any(self.validation >= 0, axis=1).sum()),
            "validation_hca": _hca(probes.validation == self.validation, self.validation),
            "hca": scores.hca,
            "hca_low": low,
            "hca_high": high,
            "product": independent_product(right, present),
            "frechet_low": bounds[0],
            "frechet_high": bounds[1],
            **self._leaf_lookup(probes.leaf, counted),
            "majority_path": _hca(paths[times.argmax()] == truth, truth),
            "por": scores.por,
            "spor_prefix": scores.spor_prefix,
            "tor": scores.tor,
            "converged": probes.leaf_converged and all(probe.fit.converged for probe in probes.levels.values()),
        }

    def _leaf_lookup(self, leaf: np.ndarray | None, counted: np.ndarray) -> Record:
        """HCA when each unit's leaf is predicted and its path looked up."""
        if leaf is None:
            return {"leaf_lookup": math.nan, "leaf_lookup_low": math.nan, "leaf_lookup_high": math.nan}
        columns = [self.plan.taxonomy.level_index(level) for level in self.plan.scored]
        truth = self.truth[counted]
        right = ((self.plan.taxonomy.codes[leaf[counted]][:, columns] == truth) | (truth < 0)).all(1)
        low, high = self._interval(right.astype(float), counted)
        return {"leaf_lookup": float(right.mean()), "leaf_lookup_low": low, "leaf_lookup_high": high}

    def _interval(self, values: np.ndarray, counted: np.ndarray) -> tuple[float, float]:
        every = np.full(len(counted), np.nan)
        every[counted] = values
        return self.bootstrap.interval(every)

    def _nulls(self, shuffled: np.ndarray) -> np.ndarray:
        """(draw, 2 * level + 1): accuracies, macro accuracies and HCA of the null's predictions by chance alone.

        A probe of shuffled labels knows nothing of the test samples, so their order carries no information:
        re-ordering their paths gives the spread that chance has at this test size, and the shuffles add that of the
        fits. Paths move among samples with the same levels.
        """
        rng = np.random.default_rng([self.seed, 2])
        kind = np.ravel(np.unique(self.truth >= 0, axis=0, return_inverse=True)[1])
        groups = [np.flatnonzero(kind == index) for index in range(kind.max() + 1)]
        draws = []
        for predicted in np.repeat(shuffled, math.ceil(NULL_DRAWS / len(shuffled)), axis=0):
            truth = self.truth.copy()
            for group in groups:
                truth[group] = truth[rng.permutation(group)]
            right = (predicted == truth) & (truth >= 0)
            macro = [class_shares(hits, codes).mean() for hits, codes in zip(right.T, truth.T, strict=True)]
            draws.append([*right.sum(0) / (truth >= 0).sum(0), *macro, _hca(right, truth)])
        return np.array(draws)


def class_shares(right: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The share of right samples of each class there is, float64 (class,); their mean is the macro accuracy.

    truth: int (sample,), -1 = the sample does not count.
    """
    has = truth >= 0
    trials = np.bincount(truth[has])
    hits = np.bincount(truth[has], weights=right[has])
    return hits[trials > 0] / trials[trials > 0]


def independent_product(right: np.ndarray, present: np.ndarray) -> float:
    """HCA if the levels failed independently: the product of the level accuracies, over the levels a sample has.

    right, present: bool (sample, level). With every level present it is the plain product, else its mean over samples.
    """
    accuracy = (right & present).sum(0) / np.maximum(present.sum(0), 1)
    return float(np.where(present, accuracy, 1).prod(1).mean())


def frechet_bounds(right: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    """The least and the most HCA that level accuracies allow: max(0, sum acc - (L - 1)) and min acc (Fréchet 1935).

    right, present: bool (sample, level). Samples with the same levels are bounded together, by the accuracies they have
    among themselves; the bounds are averaged over such groups. Every sample has a level.
    """
    low = high = 0.0
    kinds, kind = np.unique(present, axis=0, return_inverse=True)
    for index, levels in enumerate(kinds):
        members = kind.ravel() == index
        accuracy = right[members][:, levels].mean(0)
        low += members.mean() * max(0.0, accuracy.sum() - (len(accuracy) - 1))
        high += members.mean() * accuracy.min()
    return float(low), float(high)


def _hca(right: np.ndarray, truth: np.ndarray) -> float:
    """The share of samples, among those with a level, that are right wherever they have one."""
    counted = np.any(truth >= 0, axis=1)
    return float(np.all(right | (truth < 0), axis=1)[counted].mean())


def _spread(name: str, draws: np.ndarray) -> Record:
    low, high = percentiles(draws)
    return {name: float(draws.mean()), f"{name}_low": low, f"{name}_high": high}
