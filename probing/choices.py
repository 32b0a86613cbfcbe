"""Probes on a model's own terms: every reading kept to the options of its questions, beside what the model answered.

A probe names one of all classes, a model one of four options; only on the same candidates can one be said to recover
what the other lost. Keys as in docs/results.md.
"""

from __future__ import annotations

import numpy as np

from probing import decoding
from probing.questions import Questions
from probing.scores import Record, Scorer, level_scores
from probing.shares import frechet_bounds, independent_product
from probing.site_probes import SiteProbes


def choice_records(scorer: Scorer, probes: SiteProbes, questions: Questions) -> tuple[dict[str, Record], Record]:
    """What to add to the record of each scored level, and to that of the site."""
    levels = scorer.plan.scored
    truth, asked = scorer.truth, questions.asked
    chosen = decoding.independent(level_scores(probes, levels), truth, questions.options)
    right = np.where(asked, chosen == truth, np.nan)
    model = None if questions.answers is None else np.where(questions.answers != -1, questions.answers == truth, np.nan)
    records = {}
    for column, level in enumerate(levels):
        record: Record = {
            "choice_n": int(asked[:, column].sum()),
            "choice_chance": _chance(questions.options[:, column]),
            **scorer.shares(choice_accuracy=right[:, column]),
        }
        if model is not None:
            record |= scorer.shares(model_accuracy=model[:, column])
            record |= scorer.values(recovery=right[:, column] - model[:, column])
        records[level] = record
    return records, _site(scorer, probes, questions, chosen, model)


def _site(
    scorer: Scorer, probes: SiteProbes, questions: Questions, chosen: np.ndarray, model: np.ndarray | None
) -> Record:
    """Whole paths, of the samples that were asked for every scored level they have."""
    present = scorer.truth >= 0
    whole = present.any(1) & (questions.asked | ~present).all(1)
    record: Record = {"choice_n": int(whole.sum())}
    if not whole.any():
        return record
    hca = np.where(whole, scorer.whole(chosen), np.nan)
    right = (chosen == scorer.truth)[whole]
    low, high = frechet_bounds(right, present[whole])
    record |= scorer.shares(choice_hca=hca)
    record |= {"choice_product": independent_product(right, present[whole])}
    record |= {"choice_frechet_low": low, "choice_frechet_high": high}
    readings = scorer.readings(probes, questions.options)
    record |= scorer.shares(
        **{f"choice_{name}": np.where(whole, scorer.whole(found), np.nan) for name, found in readings.items()}
    )
    if model is not None:
        answered = np.where(present, model, 1).min(1)  # NaN where a level was not answered
        answered[~whole] = np.nan
        record |= scorer.shares(model_hca=answered) | scorer.values(recovery=hca - answered)
    return record


def _chance(options: np.ndarray) -> float:
    """The accuracy of picking one of the options (sample, option) blindly."""
    sizes = (options >= 0).sum(1)
    return float((1 / sizes[sizes > 0]).mean()) if (sizes > 0).any() else float("nan")
