"""Probes of one feature matrix: every label set at every penalty, solved together.

Along a path of falling penalties each solution starts the next one, in the direction the path was going; that takes a
half of the iterations of separate solves. All label sets move along the path in one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from commandline import InputError
from probing.basis import SpectralBasis, spectral_basis, streamed_basis
from probing.inputs import Target, as_features, check_dtype, check_penalties, make_target, resolve_device
from probing.memory import free_budget
from probing.objective import SoftmaxObjective
from probing.solver import Solution, minimise
from probing.streaming import RowChunks, StreamedFeatures, checked, fits

SAMPLE_NUMBERS, WEIGHT_NUMBERS = 12, 47
"""Numbers the solver holds per weight row and sample (logits, residuals, a line's), and per weight (its memory)."""


@dataclass(frozen=True)
class Fit:
    """A solved probe, in the user's feature scale.

    `coef` is (class, feature) and `intercept` (class,), each summing to zero over the classes. Two classes have one
    row, that of the second class against the first, as in scikit-learn: the penalty is then on that row.
    """

    coef: np.ndarray
    intercept: np.ndarray
    objective: float
    """Mean cross-entropy + penalty / 2 * ||W||_F^2, W the weights on the standardised features."""
    grad_norm: float
    """Euclidean norm of that objective's gradient."""
    n_iter: int
    converged: bool

    def logits(self, X: np.ndarray) -> np.ndarray:
        """(sample, class)."""
        return linear_logits(X, self.coef, self.intercept)


@dataclass(frozen=True)
class Grid:
    """The probes of every (level, penalty). Lookups raise InputError for a level or penalty that was not fitted."""

    penalties: tuple[float, ...]
    classes: Mapping[str, np.ndarray]
    fits: Mapping[tuple[str, float], Fit]

    def fit(self, level: str, penalty: float) -> Fit:
        """The probe of a level at a penalty of the grid."""
        if level not in self.classes:
            raise InputError(f"no level {level!r} in this grid; it has {', '.join(self.classes)}")
        nearest = min(self.penalties, key=lambda known: abs(known - penalty))
        if not np.isclose(nearest, penalty, rtol=1e-9, atol=0):
            raise InputError(
                f"no penalty {penalty:g} in this grid; it has {', '.join(f'{p:g}' for p in self.penalties)}"
            )
        return self.fits[level, nearest]

    def coef(self, level: str, penalty: float) -> np.ndarray:
        """(class, feature) in the user's feature scale; (1, feature) for two classes."""
        return self.fit(level, penalty).coef

    def intercept(self, level: str, penalty: float) -> np.ndarray:
        """(class,); (1,) for two classes."""
        return self.fit(level, penalty).intercept

    def objective(self, level: str, penalty: float) -> float:
        """The minimum found."""
        return self.fit(level, penalty).objective

    def grad_norm(self, level: str, penalty: float) -> float:
        """Euclidean norm of the gradient there."""
        return self.fit(level, penalty).grad_norm

    def n_iter(self, level: str, penalty: float) -> int:
        """Iterations it took from its neighbour on the path."""
        return self.fit(level, penalty).n_iter

    def converged(self, level: str, penalty: float) -> bool:
        """Whether the gradient's norm reached the tolerance."""
        return self.fit(level, penalty).converged

    def predict(self, X: ArrayLike, level: str, penalty: float) -> np.ndarray:
        """(sample,) labels as they were given."""
        return self.classes[level][self.fit(level, penalty).logits(np.asarray(X)).argmax(1)]

    def predict_proba(self, X: ArrayLike, level: str, penalty: float) -> np.ndarray:
        """(sample, class)."""
        return np.exp(log_softmax(self.fit(level, penalty).logits(np.asarray(X))))


def fit_grid(
    X: ArrayLike | RowChunks,
    labels: Mapping[str, ArrayLike],
    penalties: Sequence[float],
    tol: float = 1e-4,
    device: str = "auto",
    *,
    max_iter: int = 1000,
    standardize: bool = True,
    fit_intercept: bool = True,
    dtype: str | None = None,
    memory_budget: int | None = None,
) -> Grid:
    """Fit a linear probe for every level of `labels` at every penalty, over the same features, in one batched solve.

    X: (sample, feature), or a `probing.streaming.RowChunks` of it. labels: {level: (sample,) integers}, -1 = the sample
    has no such level and is no part of that level's problem. Each problem is

        min over W, b of   mean cross-entropy + penalty / 2 * ||W||_F^2,

    on features standardised over all rows (unless `standardize` is False), solved until the gradient's Euclidean norm
    is at most `tol`. It equals scikit-learn's LogisticRegression(C=1 / (n * penalty)) on those features, n the rows
    with that level. device: auto (the first GPU, else the CPU), cpu, cuda, cuda:1. dtype: float32 or float64, by
    default that of X (float32 for narrower ones). memory_budget: bytes that the solve may take beside features that are
    given in memory, or in all where they are read in chunks; by default a half of what is free (`probing.memory`). More
    label sets than fit are solved in turns; chunked features that do not fit are read again for every product.

    Raises InputError for NaN or infinite features, shapes that do not fit, a level of one class, no penalty above 0,
    or a budget in which the largest level cannot be solved.
    """
    samples = X.shape[0] if isinstance(X, RowChunks) else len(np.asarray(X))
    targets = [make_target(name, values, samples) for name, values in labels.items()]
    if not targets:
        raise InputError("no levels to fit: labels is empty")
    grid = check_penalties(penalties)
    basis = make_basis(X, device, dtype, standardize=standardize, intercept=fit_intercept, memory_budget=memory_budget)
    fits: dict[tuple[str, float], Fit] = {}
    for penalty, index, fit in solve_path(basis, targets, grid, tol, max_iter, memory_budget=memory_budget):
        fits[targets[index].name, penalty] = fit
    return Grid(grid, {target.name: target.classes for target in targets}, fits)


def make_basis(
    X: ArrayLike | RowChunks,
    device: str,
    dtype: str | None = None,
    *,
    standardize: bool = True,
    intercept: bool = True,
    memory_budget: int | None = None,
) -> SpectralBasis:
    """The coordinates to solve in; chunked features are gathered where that takes no more than half of the budget.

    Raises InputError for NaN or infinite features and shapes that do not fit.
    """
    place = resolve_device(device)
    if isinstance(X, RowChunks):
        wanted = check_dtype(dtype) or str(X.dtype)
        if not fits(X.shape, np.dtype(wanted).itemsize, memory_budget or free_budget(place)):
            return streamed_basis(
                X, standardize=standardize, intercept=intercept, dtype=getattr(torch, wanted), device=place
            )
        X = np.concatenate([matrix for _, matrix in checked(X)])
    return spectral_basis(as_features(X, dtype, place), standardize=standardize, intercept=intercept)


def solve_path(
    basis: SpectralBasis,
    targets: Sequence[Target],
    penalties: Sequence[float],
    tol: float,
    max_iter: int,
    *,
    memory_budget: int | None = None,
) -> Iterator[tuple[float, int, Fit]]:
    """Yield (penalty, position in `targets`, fit) down the penalties, batch after batch."""
    for batch in _batches(basis, targets, memory_budget or free_budget(basis.spectrum_D.device)):
        labels_PN, classes = _stack(basis, [targets[index] for index in batch])
        w_CD = _zeros(basis, sum(classes))
        before = earlier = None
        for penalty in sorted(penalties, reverse=True):
            objective = _objective(basis, labels_PN, classes, [penalty] * len(batch))
            options = {"tol": tol, "max_iter": max_iter, "before": before, "earlier": earlier}
            found = minimise(objective, w_CD if before is None else before.w_CD, basis.spectrum_D, **options)
            before, earlier = found, before
            for index, fit in zip(batch, _fits(basis, found, classes), strict=True):
                yield penalty, index, fit


def solve_at(
    basis: SpectralBasis,
    targets: Sequence[Target],
    penalties: Sequence[float],
    tol: float,
    max_iter: int,
    starts: Sequence[Fit | None] | None = None,
    *,
    memory_budget: int | None = None,
) -> list[Fit]:
    """Each target at its own penalty, in batches, from the fit in `starts` (of the same classes) or from zero."""
    fits: list[Fit | None] = [None] * len(targets)
    for batch in _batches(basis, targets, memory_budget or free_budget(basis.spectrum_D.device)):
        labels_PN, classes = _stack(basis, [targets[index] for index in batch])
        begin = [None if starts is None else starts[index] for index in batch]
        w_CD = torch.cat([_inward(basis, fit, count) for fit, count in zip(begin, classes, strict=True)])
        objective = _objective(basis, labels_PN, classes, [penalties[index] for index in batch])
        found = minimise(objective, w_CD, basis.spectrum_D, tol=tol, max_iter=max_iter)
        for index, fit in zip(batch, _fits(basis, found, classes), strict=True):
            fits[index] = fit
    return [fit for fit in fits if fit is not None]


def linear_logits(X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Logits (sample, class); where two classes have one row, they are 0 and its value."""
    values = X @ coef.T + intercept
    return values if len(intercept) > 1 else np.hstack([np.zeros_like(values), values])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities (sample, class)."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _batches(basis: SpectralBasis, targets: Sequence[Target], budget: int) -> list[list[int]]:
    """Positions of targets that are solved together; equal class counts are neighbours.

    Raises InputError for a target that no budget this small can solve over streamed features.
    """
    samples, directions = basis.features.shape
    row_bytes = basis.spectrum_D.element_size() * (SAMPLE_NUMBERS * samples + WEIGHT_NUMBERS * directions)
    if streamed := isinstance(basis.features, StreamedFeatures):
        budget -= basis.features.resident_bytes
    batches: list[list[int]] = []
    room = 0
    for index in sorted(range(len(targets)), key=lambda index: len(targets[index].classes)):
        need = len(targets[index].classes) * row_bytes
        if streamed and need > budget:
            raise InputError(
                f"level {targets[index].name!r} ({len(targets[index].classes)} classes, {samples:,} samples) takes "
                f"{(need - budget) / 2**20:,.0f} MiB more than the memory budget; raise it by that"
            )
        if not batches or need > room:
            batches.append([])
            room = budget
        batches[-1].append(index)
        room -= need
    return batches


def least_budget(samples: int, width: int, classes: int, chunk_rows: int) -> int:
    """Bytes without which a probe of so many classes cannot be solved on float32 features that are read in chunks."""
    rows = 4 * classes * (SAMPLE_NUMBERS * samples + WEIGHT_NUMBERS * (width + 1))
    return rows + 4 * (width * width + 3 * chunk_rows * width)


def _zeros(basis: SpectralBasis, rows: int) -> Tensor:
    return basis.spectrum_D.new_zeros(rows, len(basis.spectrum_D))


def _stack(basis: SpectralBasis, targets: Sequence[Target]) -> tuple[Tensor, list[int]]:
    labels = torch.from_numpy(np.stack([target.labels for target in targets])).to(basis.spectrum_D.device)
    return labels, [len(target.classes) for target in targets]


def _objective(
    basis: SpectralBasis, labels_PN: Tensor, classes: list[int], penalties: Sequence[float]
) -> SoftmaxObjective:
    """Two classes are one row w = W_1 - W_0 to the user, and penalty / 2 ||w||^2 is penalty ||W||_F^2 of the two."""
    doubled = [penalty * (2 if count == 2 else 1) for penalty, count in zip(penalties, classes, strict=True)]
    penalty_P = torch.tensor(doubled, dtype=basis.spectrum_D.dtype, device=basis.spectrum_D.device)
    return SoftmaxObjective(basis.features, labels_PN, classes, penalty_P, basis.intercept)


def _fits(basis: SpectralBasis, found: Solution, classes: list[int]) -> list[Fit]:
    columns = (found.value_P, found.grad_norm_P, found.n_iter_P, found.converged_P)
    numbers = zip(*(column.tolist() for column in columns), strict=True)
    fits = []
    for w_KD, (value, norm, iterations, converged) in zip(found.w_CD.split(classes), numbers, strict=True):
        pair = len(w_KD) == 2
        rows = w_KD[1:] - w_KD[:1] if pair else w_KD
        coef, intercept = (part.cpu().numpy() for part in basis.outward(rows))
        fits.append(Fit(coef, intercept, value, norm / np.sqrt(2) if pair else norm, iterations, converged))
    return fits


def _inward(basis: SpectralBasis, fit: Fit | None, classes: int) -> Tensor:
    if fit is None:
        return _zeros(basis, classes)
    coef, intercept = (torch.from_numpy(part).to(basis.spectrum_D) for part in (fit.coef, fit.intercept))
    rows = basis.inward(coef, intercept)
    return torch.cat([-rows / 2, rows / 2]) if len(rows) == 1 else rows
