"""The project's own probes, fitted anew on features from which something was erased."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.erasure.tree import among_siblings, commonest, parents_of
from probing.draws import Draw
from probing.plan import Plan
from probing.protocol import Settings, probe_draws
from taxonomy.splits import TEST


def refitted(features: np.ndarray, plan: Plan, settings: Settings) -> dict[str, dict[str, np.ndarray]]:
    """Whether fresh probes are right about each test sample, by level: `plain`, and `given the parent`.

    features: float32 (row, feature), rows as in `plan`. float (test sample,) each, NaN where a sample does not count.
    """
    bare = replace(settings, shuffles=0, controls=0)
    (found,) = probe_draws(features, [Draw(plan, np.arange(len(features)), (settings.seed,))], bare)
    truths = plan.scored_path[plan.test_units]
    right = {}
    for column, level in enumerate(plan.scored):
        probe, truth = found.levels[level], truths[:, column]
        plain = np.where(truth >= 0, probe.predicted == truth, np.nan)
        siblings = among_siblings(probe.log_probabilities, probe.classes, truth, parents_of(plan.taxonomy, level))
        right[level] = {"plain": plain, "given the parent": siblings}
    return right


def by_chance(plan: Plan) -> dict[str, np.ndarray]:
    """float (test sample,) by level: right by naming the commonest child of the true parent; NaN as in `refitted`."""
    truths = plan.scored_path[plan.test_units]
    fitted = plan.split != TEST
    return {
        level: commonest(plan.labels(level)[fitted], truths[:, column], parents_of(plan.taxonomy, level))
        for column, level in enumerate(plan.scored)
    }
