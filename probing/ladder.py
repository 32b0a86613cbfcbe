"""From the published protocol to the strict one in steps that change one choice each.

The changes of a ladder add up to the whole difference. What a step costs depends on those before it: what standardised
features bring to a training that is stopped early, say, they do not bring to one that is solved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from probing.grid import fit_grid
from probing.paper import by_unit, published_plan
from probing.paper_training import PaperProbe, PaperSettings, paper_probe
from probing.plan import Plan
from probing.protocol import Settings
from taxonomy.splits import TEST

PAPER, OWN_LEVELS, LAST_EPOCH, SHUFFLED, STANDARDISED, SOLVED, STRICT = STEPS = (
    "paper",
    "own levels",
    "last epoch",
    "shuffled batches",
    "standardised",
    "solved",
    "strict",
)
CHANGES = {
    PAPER: "the published choices, all of them",
    OWN_LEVELS: "each level has its own labels, not those of the published level map (iNat21-Plant)",
    LAST_EPOCH: "the last epoch is reported, not the one that is best on test",
    SHUFFLED: "batches are drawn anew each epoch, not taken in the order of the file",
    STANDARDISED: "features are standardised on the training rows",
    SOLVED: "the problem is solved, at the least penalty of the strict grid, not left after some epochs of Adam",
    STRICT: "the penalty is chosen on validation",
}
"""What each step changes against the one before it."""


@dataclass(frozen=True)
class Ladder:
    """What each step gets right at one site.

    right: {step: float (test unit, scored level + 1)}, 1 right, 0 wrong, NaN where a unit does not have the level; the
    last column is HCA. paper: the probe of each level as published. converged: whether the solved step did.
    """

    right: dict[str, np.ndarray]
    paper: dict[str, PaperProbe]
    converged: bool


def climb(X: np.ndarray, plan: Plan, strict: np.ndarray, settings: Settings, paper: PaperSettings) -> Ladder:
    """The steps at one site: float32 features (row, feature), rows as in `plan`.

    strict: int (test unit, scored level), what the strict probes of this site predict, fitted with `settings`. The
    trainings start from the same weights.
    """
    levels, truth = plan.scored, plan.scored_path[plan.test_units]
    labels = {level: plan.labels(level) for level in levels}
    published = published_plan(plan)
    moved = {_as_published(level): published.labels(level) for level in levels if _differ(plan, published, level)}
    base = paper_probe(X, labels | moved, plan.split, paper)
    shuffled = paper_probe(X, labels, plan.split, replace(paper, shuffle=True))
    standard = paper_probe(X, labels, plan.split, replace(paper, shuffle=True, standardize=True))
    solved, converged = _solved(X, plan, labels, settings)

    def of(probes: dict[str, PaperProbe], best: bool = False) -> np.ndarray:
        heads = [probes[level].best if best else probes[level].last for level in levels]
        return np.column_stack([by_unit(plan, head.predicted) for head in heads])

    own, given = of(base, best=True), {level: base.get(_as_published(level), base[level]) for level in levels}
    right = {PAPER: _right(of(given, best=True), published.scored_path[plan.test_units])}
    if moved:
        right[OWN_LEVELS] = _right(own, truth)
    predicted = {LAST_EPOCH: of(base), SHUFFLED: of(shuffled), STANDARDISED: of(standard), SOLVED: solved}
    right |= {step: _right(answers, truth) for step, answers in (predicted | {STRICT: strict}).items()}
    return Ladder(right, given, converged)


def _solved(X: np.ndarray, plan: Plan, labels: dict[str, np.ndarray], settings: Settings) -> tuple[np.ndarray, bool]:
    """Predictions (test unit, scored level) at the least penalty, fitted on all but test; and whether all converged."""
    fitted, penalty = plan.split != TEST, min(settings.penalties)
    grid = fit_grid(
        X[fitted],
        {level: codes[fitted] for level, codes in labels.items()},
        [penalty],
        settings.tol,
        settings.device,
        max_iter=settings.max_iter,
    )
    columns = []
    for level, codes in labels.items():
        tested = codes[plan.split == TEST]
        answers = np.where(tested >= 0, grid.predict(X[plan.split == TEST], level, penalty), -1)
        columns.append(by_unit(plan, answers.astype(np.int32)))
    return np.column_stack(columns), all(grid.converged(level, penalty) for level in labels)


def _right(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """See `Ladder.right`."""
    has = truth >= 0
    right = np.where(has, predicted == truth, np.nan)
    whole = np.where(has.any(1), np.where(has, right, 1).min(1), np.nan)
    return np.column_stack([right, whole])


def _as_published(level: str) -> str:
    return f"{level} as published"


def _differ(plan: Plan, published: Plan, level: str) -> bool:
    return not np.array_equal(plan.labels(level), published.labels(level))
