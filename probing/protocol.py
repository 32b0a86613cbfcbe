"""The `strict` protocol at one site: penalty chosen on validation, probes refitted, test read once, nulls beside.

The penalty of each level is the one with the lowest validation log-loss (or the highest accuracy, when asked). The
log-loss is a proper score that uses how sure each answer is: with the few validation samples per leaf there are, the
accuracy of neighbouring penalties ties, and picking among ties is picking by noise.

With the penalty fixed, the probe is refitted on train and validation together: the objective is a mean over samples,
so the same penalty means the same there, and no published number is from four fifths of the training set.

The shuffled-label null goes through the same refit at the same penalty. Whole paths are shuffled among the samples, so
labels stay consistent across levels and HCA has its null too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from commandline import InputError
from probing.basis import SpectralBasis, spectral_basis
from probing.grid import Fit, Target, as_features, log_softmax, make_target, resolve_device, solve_at, solve_path
from probing.plan import ABSENT, Plan
from taxonomy.splits import TEST, TRAIN, VALIDATION

LEAF = "(leaf)"
"""The probe that names a sample's leaf outright, for leaf lookup."""


@dataclass(frozen=True)
class Settings:
    """How probes are fitted; see `probing.config.ProbeConfig`."""

    penalties: tuple[float, ...]
    select: Literal["log_loss", "accuracy"] = "log_loss"
    refit: bool = True
    shuffles: int = 3
    tol: float = 1e-4
    max_iter: int = 1000
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class LevelProbe:
    """One level's probe, and what it says about the test units."""

    level: str
    fit: Fit
    classes: np.ndarray
    """int (class,): the codes it was trained on."""
    penalty: float
    validation: dict[float, tuple[float, float]]
    """Penalty -> (log-loss, accuracy) on validation."""
    path_converged: bool
    """Whether every probe that was compared on validation had converged."""
    n_train: int
    """Rows the reported probe was fitted on: train, and validation where it was refitted."""
    n_validation: int
    predicted: np.ndarray
    """int32 (test unit,): codes; -1 where the unit does not have the level."""
    log_loss: float
    """Mean over the test rows whose node was trained on."""


@dataclass(frozen=True)
class SiteProbes:
    """The probes of one site. Units are `Plan.test_units`."""

    levels: dict[str, LevelProbe]
    validation: np.ndarray
    """int32 (validation unit, scored level): what the probes say that were fitted on train alone, at the chosen
    penalties. Units are `Plan.units(VALIDATION)`; -1 where the unit does not have the level."""
    leaf: np.ndarray | None
    """int32 (test unit,): the leaf each unit is taken for; None where leaves cannot be predicted."""
    leaf_converged: bool
    """Whether the probe that names leaves had converged; True where no probe of its own was needed."""
    shuffled: np.ndarray
    """int32 (shuffle, test unit, scored level): what probes fitted on shuffled labels predict; -1 where the unit does
    not have the level."""
    shuffled_converged: bool


def probe_site(X: np.ndarray, plan: Plan, settings: Settings) -> SiteProbes:
    """Probe one site: float32 features (row, feature), rows as in `plan`. Raises InputError for NaN features."""
    labels = {level: plan.labels(level) for level in plan.scored}
    if plan.leaf_lookup and plan.leaf_level is None:
        labels[LEAF] = plan.leaf[plan.unit]
    train, validation = plan.split == TRAIN, plan.split == VALIDATION
    choices = _choose(X, labels, train, validation, settings)
    fitted = train | validation if settings.refit else train
    targets = [make_target(level, codes[fitted], int(fitted.sum())) for level, codes in labels.items()]
    nulls = _shuffled_targets(plan, fitted, settings)
    fits = solve_at(
        _basis(X[fitted], settings),
        [*targets, *nulls],
        [choices[target.name].penalty for target in [*targets, *nulls]],
        settings.tol,
        settings.max_iter,
        [*(choices[target.name].start(target) for target in targets), *[None] * len(nulls)],
    )
    levels = {
        target.name: _read(X, plan, target, fit, labels[target.name], choices[target.name], validation)
        for target, fit in zip(targets, fits, strict=False)
    }
    null_fits = fits[len(targets) :]
    shuffled = [
        _predict(X, plan, target.classes, fit, labels[target.name])
        for target, fit in zip(nulls, null_fits, strict=True)
    ]
    return SiteProbes(
        {level: probe for level, probe in levels.items() if level != LEAF},
        np.stack([choices[level].predict(X, plan, labels[level], VALIDATION) for level in plan.scored], 1),
        _predicted_leaf(plan, levels),
        LEAF not in levels or levels[LEAF].fit.converged,
        np.array(shuffled).reshape(settings.shuffles, len(plan.scored), -1).transpose(0, 2, 1),
        all(fit.converged for fit in null_fits),
    )


@dataclass
class _Choice:
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

    def predict(self, X: np.ndarray, plan: Plan, codes: np.ndarray, part: str) -> np.ndarray:
        """What the best fit so far, on train alone, predicts; as `_predict`."""
        assert self.fit is not None
        return _predict(X, plan, self.classes, self.fit, codes, part)


def _choose(
    X: np.ndarray, labels: dict[str, np.ndarray], train: np.ndarray, validation: np.ndarray, settings: Settings
) -> dict[str, _Choice]:
    """The penalty of each level by validation, fitting on train."""
    targets = [make_target(level, codes[train], int(train.sum())) for level, codes in labels.items()]
    choices = {target.name: _Choice(target.classes, {}) for target in targets}
    held_out = X[validation]
    basis = _basis(X[train], settings)
    path = solve_path(basis, targets, settings.penalties, settings.tol, settings.max_iter)
    for penalty, index, fit in path:
        target, choice = targets[index], choices[targets[index].name]
        losses, right = _held_out(held_out, fit, target.classes, labels[target.name][validation])
        choice.validation[penalty] = float(losses.mean()), float(right.mean())
        choice.converged &= fit.converged
        score = -choice.validation[penalty][0] if settings.select == "log_loss" else choice.validation[penalty][1]
        if score > choice.score:
            choice.penalty, choice.score, choice.fit = penalty, score, fit
    for level, choice in choices.items():
        if choice.fit is None:
            raise InputError(
                f"no penalty for {level} can be chosen: its {settings.select} on validation is not finite at any; "
                "features this large or this uneven cannot be fitted"
            )
    return choices


def _held_out(X: np.ndarray, fit: Fit, classes: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-loss of the rows whose class was trained on, and whether each row that has the level is right."""
    has = codes >= 0
    scores = log_softmax(fit.logits(X[has]))
    right = classes[scores.argmax(1)] == codes[has]
    known = np.flatnonzero(np.isin(codes[has], classes))
    return -scores[known, np.searchsorted(classes, codes[has][known])], right


def _read(
    X: np.ndarray,
    plan: Plan,
    target: Target,
    fit: Fit,
    codes: np.ndarray,
    choice: _Choice,
    validation: np.ndarray,
) -> LevelProbe:
    """What a refitted probe says about the test rows."""
    test = plan.split == TEST
    losses, _ = _held_out(X[test], fit, target.classes, codes[test])
    return LevelProbe(
        level=target.name,
        fit=fit,
        classes=target.classes,
        penalty=choice.penalty,
        validation=choice.validation,
        path_converged=choice.converged,
        n_train=int((target.labels >= 0).sum()),
        n_validation=int((codes[validation] >= 0).sum()),
        predicted=_predict(X, plan, target.classes, fit, codes),
        log_loss=float(losses.mean()) if len(losses) else float("nan"),
    )


def _predict(
    X: np.ndarray, plan: Plan, classes: np.ndarray, fit: Fit, codes: np.ndarray, part: str = TEST
) -> np.ndarray:
    """int32 (unit of the part,): predicted codes of the units that have the level, -1 for the others."""
    rows = np.flatnonzero((plan.split == part) & (codes >= 0))
    predicted = np.full(len(plan.leaf), ABSENT, np.int32)
    if len(rows):
        predicted[plan.unit[rows]] = classes[fit.logits(X[rows]).argmax(1)]
    return predicted[plan.units(part)]


def _shuffled_targets(plan: Plan, fitted: np.ndarray, settings: Settings) -> list[Target]:
    """Targets with the paths of the fitted units shuffled among them: shuffle after shuffle, level after level."""
    rng = np.random.default_rng([settings.seed, 1])
    units = np.unique(plan.unit[fitted])
    targets = []
    for _ in range(settings.shuffles):
        path = plan.path.copy()
        path[units] = path[rng.permutation(units)]
        targets += [make_target(level, plan.labels(level, path)[fitted], int(fitted.sum())) for level in plan.scored]
    return targets


def _predicted_leaf(plan: Plan, levels: dict[str, LevelProbe]) -> np.ndarray | None:
    """int32 (test unit,): the leaf each is taken for."""
    if not plan.leaf_lookup:
        return None
    if plan.leaf_level is None:
        return levels[LEAF].predicted
    leaf_of_code = np.argsort(plan.taxonomy.codes[:, plan.taxonomy.level_index(plan.leaf_level)])
    return leaf_of_code[levels[plan.leaf_level].predicted].astype(np.int32)


def _basis(X: np.ndarray, settings: Settings) -> SpectralBasis:
    features = as_features(X, None, resolve_device(settings.device))
    return spectral_basis(features, standardize=True, intercept=True)
