"""The `strict` protocol at one site: penalty chosen on validation, probes refitted, test read once, nulls beside.

The penalty of each level is the one with the lowest validation log-loss (or the highest accuracy, when asked). The
log-loss is a proper score that uses how sure each answer is: with the few validation samples per leaf there are, the
accuracy of neighbouring penalties ties, and picking among ties is picking by noise.

With the penalty fixed, the probe is refitted on train and validation together: the objective is a mean over samples,
so the same penalty means the same there, and no published number is from four fifths of the training set.

The shuffled-label null goes through the same refit at the same penalty. Whole paths are shuffled among the samples, so
labels stay consistent across levels and HCA has its null too. Re-hung trees and control tasks (`probing.controls`) are
treated as the true labels are, with a penalty of their own: a control held to another problem's penalty would flatter.
True labels and controls of all levels go down the penalties in one batch, and all refits are one batch; of several
seeds too, where they fit on the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from commandline import InputError
from probing.basis import SpectralBasis
from probing.decoding import LevelScores, independent, readings
from probing.draws import LEAF, Draw, Problem, problems, shuffled
from probing.features import DenseFeatures
from probing.grid import Fit, Target, make_basis, make_target, solve_at, solve_path
from probing.plan import Plan
from probing.reading import Choice, SiteFeatures, answers, held_out, read
from probing.site_probes import ControlProbes, LevelProbe, SiteProbes, leaf_of_class
from taxonomy.splits import TRAIN, VALIDATION


@dataclass(frozen=True)
class Settings:
    """How probes are fitted; see `probing.config.ProbeConfig`."""

    penalties: tuple[float, ...]
    select: Literal["log_loss", "accuracy"] = "log_loss"
    refit: bool = True
    shuffles: int = 3
    controls: int = 1
    tol: float = 1e-4
    max_iter: int = 1000
    seed: int = 0
    device: str = "auto"
    memory_budget: int | None = None
    """Bytes for features and probes; by default a half of what is free (`probing.memory`)."""

    @property
    def solve_budget(self) -> int | None:
        """Bytes for the solve, where the features are held in memory and take the other half."""
        return None if self.memory_budget is None else self.memory_budget // 2


@dataclass
class _Work:
    """A draw, and what is found about it on the way: of each problem its choice, its refit, and the null probes."""

    draw: Draw
    problems: list[Problem]
    choices: list[Choice]
    targets: list[Target] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    shuffled: list[list[Problem]] = field(default_factory=list)
    nulls: list[Target] = field(default_factory=list)
    null_fits: list[Fit] = field(default_factory=list)

    @property
    def chosen(self) -> dict[str, Choice]:
        """Of the true labels."""
        both = zip(self.problems, self.choices, strict=True)
        return {problem.level: choice for problem, choice in both if not problem.labels}


def probe_site(X: SiteFeatures, plan: Plan, settings: Settings) -> SiteProbes:
    """Probe one site: float32 features (row, feature), rows as in `plan`. Raises InputError for NaN features."""
    return probe_draws(X, [Draw(plan, np.arange(len(plan.split)), (settings.seed,))], settings)[0]


def probe_draws(X: SiteFeatures, draws: Sequence[Draw], settings: Settings) -> list[SiteProbes]:
    """Probe one site under several draws: of each, what it would be alone.

    Draws that are fitted on the same rows are solved in one batch. Others share no basis: features are standardised on
    the very rows that a probe is fitted on, and rows of its own test or validation split are not among them. Seeds of
    one draw have the true labels in common, and each adds its null and control labels to the batch.
    """
    fitted = (TRAIN, VALIDATION) if settings.refit else (TRAIN,)
    work = [_Work(draw, problems(draw, draw.of(*fitted), settings.controls), []) for draw in draws]
    for alike in _fitted_alike(work, TRAIN):
        _choose(X, alike, settings)
    for alike in _fitted_alike(work, *fitted):
        _refit(X, alike, settings, *fitted)
    return [_site(X, each) for each in work]


def _fitted_alike(work: list[_Work], *parts: str) -> list[list[_Work]]:
    """Those whose rows in these parts are the same, together."""
    groups: dict[bytes, list[_Work]] = {}
    for each in work:
        groups.setdefault(each.draw.rows[each.draw.of(*parts)].tobytes(), []).append(each)
    return list(groups.values())


def _refit(X: SiteFeatures, work: list[_Work], settings: Settings, *parts: str) -> None:
    """Fit every problem at its penalty, and shuffled labels at those of the true ones; all of it in one batch."""
    targets, penalties, starts = [], [], []
    for each in work:
        fitted, chosen = each.draw.of(*parts), each.chosen
        each.targets = [make_target(problem.level, problem.codes[fitted], fitted.sum()) for problem in each.problems]
        each.shuffled = shuffled(each.draw, fitted, settings.shuffles)
        each.nulls = [
            make_target(null.level, null.codes[fitted], fitted.sum()) for shuffle in each.shuffled for null in shuffle
        ]
        targets += [*each.targets, *each.nulls]
        penalties += [choice.penalty for choice in each.choices]
        penalties += [chosen[target.name].penalty for target in each.nulls]
        starts += [choice.start(target) for choice, target in zip(each.choices, each.targets, strict=True)]
        starts += [None] * len(each.nulls)
    rows = work[0].draw.rows[work[0].draw.of(*parts)]
    basis, options = _basis(X[rows], settings)
    fits = iter(solve_at(basis, targets, penalties, settings.tol, settings.max_iter, starts, **options))
    for each in work:
        each.fits = [next(fits) for _ in each.targets]
        each.null_fits = [next(fits) for _ in each.nulls]


def _site(X: SiteFeatures, work: _Work) -> SiteProbes:
    """What the fitted probes of a draw say."""
    draw, plan, chosen = work.draw, work.draw.plan, work.chosen
    probes = [
        read(X, draw, problem, target, fit, choice)
        for problem, target, fit, choice in zip(work.problems, work.targets, work.fits, work.choices, strict=True)
    ]
    true = {probe.level: probe for probe, problem in zip(probes, work.problems, strict=True) if not problem.labels}
    by_chance = _by_chance(X, work)
    return SiteProbes(
        {level: probe for level, probe in true.items() if level != LEAF},
        np.stack(
            [answers(X, draw, *chosen[level].fitted, plan.labels(level), VALIDATION)[0] for level in plan.scored], 1
        ),
        true.get(plan.leaf_level or LEAF) if plan.leaf_lookup else None,
        by_chance.pop("independent"),
        all(fit.converged for fit in work.null_fits),
        by_chance,
        _controls(work.problems, probes),
    )


def _by_chance(X: SiteFeatures, work: _Work) -> dict[str, np.ndarray]:
    """Paths by each reading of the probes of shuffled labels, int32 (shuffle, test unit, scored level)."""
    plan = work.draw.plan
    truth = plan.scored_path[plan.test_units]
    codes = plan.taxonomy.codes[:, [plan.taxonomy.level_index(level) for level in plan.scored]]
    fitted = zip(work.nulls, work.null_fits, strict=True)
    found: dict[str, list[np.ndarray]] = {"independent": []}
    for shuffle in work.shuffled:
        scores: dict[str, LevelScores] = {}
        for problem, (target, fit) in zip(shuffle, fitted, strict=False):
            asked = plan.leaf[plan.unit] if problem.level == LEAF else plan.labels(problem.level)
            scores[problem.level] = LevelScores(target.classes, answers(X, work.draw, target.classes, fit, asked)[1])
        levels = [scores[level] for level in plan.scored]
        leaf = scores[plan.leaf_level or LEAF] if plan.leaf_lookup else None
        leaf = leaf and LevelScores(leaf_of_class(plan, leaf.classes), leaf.values)
        found["independent"].append(independent(levels, truth))
        for name, paths in readings(levels, leaf, codes, truth).items():
            found.setdefault(name, []).append(paths)
    return {name: np.array(paths, np.int32).reshape(-1, *truth.shape) for name, paths in found.items()}


def _controls(problems: list[Problem], probes: list[LevelProbe]) -> tuple[ControlProbes, ...]:
    found: dict[int, ControlProbes] = {}
    for problem, probe in zip(problems, probes, strict=True):
        if problem.labels:
            found.setdefault(id(problem.labels), ControlProbes(problem.labels, {})).levels[problem.level] = probe
    return tuple(found.values())


def _choose(X: SiteFeatures, work: list[_Work], settings: Settings) -> None:
    """The penalty of each problem by validation, fitting on train."""
    train = work[0].draw.rows[work[0].draw.of(TRAIN)]
    problems = [(each, problem) for each in work for problem in each.problems]
    targets = [make_target(problem.level, problem.codes[each.draw.of(TRAIN)], len(train)) for each, problem in problems]
    choices = [Choice(target.classes, {}) for target in targets]
    validation = {id(each): X[each.draw.rows[each.draw.of(VALIDATION)]] for each in work}
    basis, options = _basis(X[train], settings)
    found = solve_path(basis, targets, settings.penalties, settings.tol, settings.max_iter, **options)
    for penalty, index, fit in found:
        (each, problem), target, choice = problems[index], targets[index], choices[index]
        codes = problem.codes[each.draw.of(VALIDATION)]
        missed, right = held_out(validation[id(each)], fit, target.classes, codes)
        choice.validation[penalty] = float(missed.mean()), float(right.mean())
        choice.converged &= fit.converged
        score = -choice.validation[penalty][0] if settings.select == "log_loss" else choice.validation[penalty][1]
        if score > choice.score:
            choice.penalty, choice.score, choice.fit = penalty, score, fit
    for (each, problem), choice in zip(problems, choices, strict=True):
        if choice.fit is None:
            raise InputError(
                f"no penalty for {problem.level} can be chosen: its {settings.select} on validation is not finite at "
                "any; features this large or this uneven cannot be fitted"
            )
        each.choices.append(choice)


def _basis(X: SiteFeatures, settings: Settings) -> tuple[SpectralBasis, dict[str, int | None]]:
    """What to solve on, and in how much memory."""
    basis = make_basis(X, settings.device, memory_budget=settings.memory_budget)
    held = isinstance(basis.features, DenseFeatures)
    return basis, {"memory_budget": settings.solve_budget if held else settings.memory_budget}
