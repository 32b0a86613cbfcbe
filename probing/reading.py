"""What fitted probes say: of validation rows while the penalty is chosen, and of test rows once it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probing.draws import Draw, Problem
from probing.grid import Fit, Target, log_softmax
from probing.information import losses
from probing.plan import ABSENT
from probing.site_probes import LevelProbe
from probing.streaming import SiteChunks, checked
from taxonomy.splits import TEST, VALIDATION

SiteFeatures = np.ndarray | SiteChunks
"""float32 (row, feature): in memory, or read from the store in chunks whenever they are needed."""


@dataclass
class Choice:
    """The best penalty so far, with the fit it came from."""

    classes: np.ndarray
    validation: dict[float, tuple[float, float]]
    penalty: float = float("nan")
    score: float = -np.inf
    fit: Fit | None = None
    converged: bool = True

    def start(self, target: Target) -> Fit | None:
        """Where the refit may start: from this fit, if validation brought no new classes."""
        return self.fit if np.array_equal(self.classes, target.classes) else None

    @property
    def fitted(self) -> tuple[np.ndarray, Fit]:
        """Its classes, and the best fit so far, on train alone."""
        assert self.fit is not None
        return self.classes, self.fit


def held_out(X: SiteFeatures, fit: Fit, classes: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-loss of the rows whose class was trained on, and whether each row that has the level is right."""
    has = codes >= 0
    scores = log_softmax(_logits(X[has], fit))
    right = classes[scores.argmax(1)] == codes[has]
    known = np.flatnonzero(np.isin(codes[has], classes))
    return -scores[known, np.searchsorted(classes, codes[has][known])], right


def read(X: SiteFeatures, draw: Draw, problem: Problem, target: Target, fit: Fit, choice: Choice) -> LevelProbe:
    """What a refitted probe says about the test rows."""
    plan = draw.plan
    predicted, scores = answers(X, draw, target.classes, fit, problem.codes)
    truth = np.full(len(plan.leaf), ABSENT)
    rows = np.flatnonzero((plan.split == TEST) & (problem.codes >= 0))
    truth[plan.unit[rows]] = problem.codes[rows]
    counted = losses(scores, target.classes, truth[plan.test_units])
    counted = counted[np.isfinite(counted)]
    return LevelProbe(
        level=problem.level,
        fit=fit,
        classes=target.classes,
        penalty=choice.penalty,
        validation=choice.validation,
        path_converged=choice.converged,
        n_train=int((target.labels >= 0).sum()),
        n_validation=int((problem.codes[plan.split == VALIDATION] >= 0).sum()),
        predicted=predicted,
        log_loss=float(counted.mean()) if len(counted) else float("nan"),
        log_probabilities=scores,
    )


def answers(
    X: SiteFeatures, draw: Draw, classes: np.ndarray, fit: Fit, codes: np.ndarray, part: str = TEST
) -> tuple[np.ndarray, np.ndarray]:
    """Of the units of a part of the split: predicted codes int32 (unit,), -1 where the unit does not have the level,
    and log-probabilities float32 (unit, class), NaN there."""
    plan = draw.plan
    rows = np.flatnonzero((plan.split == part) & (codes >= 0))
    units = plan.units(part)
    predicted = np.full(len(units), ABSENT, np.int32)
    scores = np.full((len(units), len(classes)), np.nan, np.float32)
    if len(rows):
        place = np.searchsorted(units, plan.unit[rows])
        scores[place] = log_softmax(_logits(X[draw.rows[rows]], fit))
        predicted[place] = classes[scores[place].argmax(1)]
    return predicted, scores


def _logits(X: SiteFeatures, fit: Fit) -> np.ndarray:
    """(row, class)."""
    if isinstance(X, np.ndarray):
        return fit.logits(X)
    return np.concatenate([fit.logits(matrix) for _, matrix in checked(X)])
