"""A grid of probes in one call, beside scikit-learn fitting one by one, and beside the published training.

    python benchmarks/probes.py [--every_fit true] [--repeats 5]

CUB's size by default: 6,000 rows of 1,024 features, 13 + 37 + 124 + 200 classes, each with its true labels, shuffled
ones and those of a control task, at seven penalties: 84 probes. Bars: 3 times as fast as scikit-learn to the same
gradient norm, 10 times as fast as the published training (Adam, 500 epochs) of the four true probes; the goal is 70 %
of the matmul peak measured in the same run. What is extrapolated says so.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest import mock

from pydantic import Field, PositiveFloat, PositiveInt

from commandline import Command, Config, main

if TYPE_CHECKING:
    import numpy as np

    from probing import Grid

PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
MEASURED = PENALTIES[1::2]
"""Of scikit-learn, unless all are asked for; the outermost two take the time of their neighbours, which is less."""
LADDER = (2e-5, 1e-5, 5e-6, 2e-6)
"""Tolerances for scikit-learn, on the gradient's largest element: the loosest that gives the norm asked for counts."""
EPOCHS, BATCH = 500, 512


class ProbesBenchConfig(Config):
    """Time `fit_grid` beside scikit-learn and beside Adam."""

    rows: PositiveInt = 6000
    """Samples."""
    test_rows: PositiveInt = 5794
    """Samples that the published code reads after every epoch."""
    width: PositiveInt = 1024
    """Features."""
    classes: list[PositiveInt] = Field(default=[13, 37, 124, 200], min_length=2)
    """Of each level, coarse to fine."""
    tol: PositiveFloat = 1e-4
    """The gradient norm to reach."""
    repeats: PositiveInt = 2
    """Rounds of the grid, the peak and Adam in turns; medians count."""
    measured_epochs: PositiveInt = 5
    """Epochs of Adam that are timed in each round, of 500."""
    every_fit: bool = False
    """Time all of scikit-learn's fits (an hour or so) rather than three penalties at the second level."""


def world(config: ProbesBenchConfig) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features float32 (row, feature), in the order of their leaves, and {kind/classes: labels}.

    A tree whose coarse classes differ in size; class means at every level, noise twice as large, all of it correlated.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    finest = config.classes[-1]
    codes = [np.arange(finest)]
    for few, many in zip(config.classes[-2::-1], config.classes[:0:-1], strict=True):
        more = rng.choice(few, size=many - few, p=rng.dirichlet(np.full(few, 0.6)))
        codes.append(rng.permutation(np.concatenate([np.arange(few), more]))[codes[-1]])
    leaf = np.sort(np.arange(config.rows) % finest)
    means = np.sum([rng.normal(size=(config.width, finest)).T[level] for level in codes], 0)
    mix = np.linalg.qr(rng.normal(size=(config.width, config.width)))[0] * np.arange(1, config.width + 1) ** -0.5
    X = (means[leaf] / 2 + 1.5 * rng.normal(size=(config.rows, config.width))) @ mix.T
    X = X * np.exp(rng.normal(size=config.width) / 2) + rng.normal(size=config.width)
    shuffle = rng.permutation(config.rows)
    labels: dict[str, np.ndarray] = {}
    for level, count in zip(reversed(codes), config.classes, strict=True):
        labels[f"true/{count}"] = level[leaf]
        labels[f"shuffled/{count}"] = level[leaf][shuffle]
        labels[f"control/{count}"] = np.unique(rng.integers(0, count, finest)[leaf], return_inverse=True)[1]
    return X.astype(np.float32), labels


class Count:
    """Rows of classes that were multiplied with the features, and that went through a softmax, while it is entered."""

    def __init__(self) -> None:
        self.matmuls = self.softmaxes = 0

    def __enter__(self) -> Count:
        from probing.features import DenseFeatures
        from probing.objective import SoftmaxObjective

        self.patches = [
            mock.patch.object(DenseFeatures, "logits", self.counted(DenseFeatures.logits, "matmuls")),
            mock.patch.object(DenseFeatures, "gradient", self.counted(DenseFeatures.gradient, "matmuls")),
            mock.patch.object(SoftmaxObjective, "evaluate", self.counted(SoftmaxObjective.evaluate, "softmaxes")),
        ]
        for patch in self.patches:
            patch.start()
        return self

    def counted(self, original: Callable, kind: str) -> Callable:
        """`original`, counting the rows it is given."""

        def work(place: object, rows: Sized, *more: object) -> object:
            setattr(self, kind, getattr(self, kind) + len(rows))
            return original(place, rows, *more)

        return work

    def __exit__(self, *_: object) -> None:
        for patch in self.patches:
            patch.stop()


def peak(rows: int, width: int, columns: int) -> float:
    """GFLOP/s of the two matmuls of an iteration over all columns, float32: the median of five."""
    import torch

    x, w, r = torch.randn(rows, width), torch.randn(columns, width), torch.randn(columns, rows)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        w @ x.T
        r @ x
        seconds.append(time.perf_counter() - start)
    return 4e-9 * rows * width * columns / statistics.median(seconds[1:])


def adam(config: ProbesBenchConfig, X: np.ndarray, labels: dict[str, np.ndarray]) -> tuple[float, float]:
    """Seconds of 500 epochs of the true probes in file order, extrapolated, and of reading the test rows after each."""
    import torch

    x, training, reading = torch.from_numpy(X), 0.0, 0.0
    test = x[torch.arange(config.test_rows) % len(x)]
    for count in config.classes:
        y = torch.from_numpy(labels[f"true/{count}"])
        head = torch.nn.Linear(config.width, count)
        optimiser = torch.optim.Adam(head.parameters(), lr=1e-4)
        for epoch in range(config.measured_epochs + 1):
            start = time.perf_counter()
            for features, truth in zip(x.split(BATCH), y.split(BATCH), strict=True):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(head(features), truth).backward()
                optimiser.step()
            between = time.perf_counter()
            with torch.no_grad():
                for features in test.split(BATCH):
                    head(features).argmax(1)
            if epoch:  # the first one warms up
                training += between - start
                reading += time.perf_counter() - between
    return training * EPOCHS / config.measured_epochs, reading * EPOCHS / config.measured_epochs


def scikit_learn(config: ProbesBenchConfig, X: np.ndarray, labels: dict[str, np.ndarray], grid: Grid) -> float:
    """Seconds of all fits, one by one, to the norm asked for; extrapolated unless `every_fit`."""
    import numpy as np
    from sklearn.preprocessing import StandardScaler

    Z = np.asarray(StandardScaler().fit_transform(X))
    measured: dict[tuple[str, float], float] = {}
    missed, worse = 0, -np.inf
    for level, y in labels.items():
        if not config.every_fit and not level.endswith(f"/{config.classes[1]}"):
            continue
        for penalty in PENALTIES if config.every_fit else MEASURED:
            seconds, norm, value = _fit(Z, y, penalty, config.tol)
            measured[level, penalty] = seconds
            missed += norm > config.tol
            worse = max(worse, grid.objective(level, penalty) - value)
    print(
        f"scikit-learn: {len(measured)} of {len(labels) * len(PENALTIES)} fits measured, {missed} of them ended above "
        f"the norm whatever the tolerance; fit_grid's objective less scikit-learn's, at most {worse:+.1e}"
    )
    if config.every_fit:
        return sum(measured.values())
    every = []
    for level in labels:
        kind, count = level.split("/")
        known = [np.log(measured[f"{kind}/{config.classes[1]}", penalty]) for penalty in MEASURED]
        seconds = np.exp(np.interp(np.log(PENALTIES[::-1]), np.log(MEASURED[::-1]), known[::-1]))
        every.append(seconds.sum() * int(count) / config.classes[1])
    print(
        f"scikit-learn: measured at {config.classes[1]} classes and penalties {', '.join(f'{p:g}' for p in MEASURED)}; "
        "those between by interpolation, those beyond as their neighbours, other levels in proportion to their classes"
    )
    return float(sum(every))


def _fit(Z: np.ndarray, y: np.ndarray, penalty: float, tol: float) -> tuple[float, float, float]:
    """Seconds, gradient norm and objective of the loosest tolerance that reaches `tol`, or of the first stuck above."""
    from sklearn.linear_model import LogisticRegression

    before = None
    for tolerance in LADDER:
        start = time.perf_counter()
        model = LogisticRegression(C=1 / (len(y) * penalty), tol=tolerance * tol / 1e-4, max_iter=20_000).fit(Z, y)
        seconds = time.perf_counter() - start
        norm, value = _gradient_norm(Z, y, model.coef_, model.intercept_, penalty)
        if before is not None and norm == before[1]:
            return before
        before = seconds, norm, value
        if norm <= tol:
            break
    assert before is not None
    return before


def _gradient_norm(
    Z: np.ndarray, y: np.ndarray, coef: np.ndarray, intercept: np.ndarray, penalty: float
) -> tuple[float, float]:
    """Norm of the gradient and the objective, in float64."""
    import numpy as np
    from scipy.special import log_softmax

    coef = coef.astype(float)
    log_p = log_softmax(Z @ coef.T + intercept.astype(float), axis=1)
    value = -log_p[np.arange(len(y)), y].mean() + penalty / 2 * (coef**2).sum()
    residual = np.exp(log_p)
    residual[np.arange(len(y)), y] -= 1
    residual /= len(y)
    inner = residual.T @ Z + penalty * coef
    return float(np.sqrt((inner**2).sum() + (residual.sum(0) ** 2).sum())), float(value)


def run(config: ProbesBenchConfig) -> None:
    """Print the ratios, the speed and the peak."""
    import os

    import torch

    X, labels = world(config)
    columns = 3 * sum(config.classes)
    print(
        f"({config.rows:,} x {config.width:,}), {columns:,} classes in {len(labels)} label sets, {len(PENALTIES)} "
        f"penalties, float32, norm {config.tol:g}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )
    rounds = [one_round(config, X, labels) for _ in range(config.repeats)]
    ours, adams, reads = (
        statistics.median(getattr(part, name) for part in rounds) for name in ("ours", "training", "reading")
    )
    say_speed(config, rounds)
    known = f"from {config.measured_epochs} of them"
    print(f"Adam, 500 epochs  {adams:8.1f} s, extrapolated {known}: ratio {adams / ours:.1f} (bar 10)")
    print(f"  with test reads {adams + reads:8.1f} s, as the best test epoch needs: ratio {(adams + reads) / ours:.1f}")
    theirs = scikit_learn(config, X, labels, rounds[-1].grid)
    print(f"scikit-learn      {theirs:8.1f} s: ratio {theirs / ours:.1f} (bar 3); load now {os.getloadavg()[0]:.1f}")


@dataclass(frozen=True)
class Round:
    """One solve of the grid, and what was measured beside it. Seconds; `peak` in GFLOP/s."""

    peak: float
    ours: float
    counts: Count
    grid: Grid
    training: float
    reading: float


def one_round(config: ProbesBenchConfig, X: np.ndarray, labels: dict[str, np.ndarray]) -> Round:
    """The peak, the grid and Adam, one after the other."""
    from probing import fit_grid

    best = peak(config.rows, config.width, 3 * sum(config.classes))
    with Count() as counts:
        start = time.perf_counter()
        grid = fit_grid(X, labels, PENALTIES, tol=config.tol, device="cpu")
        seconds = time.perf_counter() - start
    return Round(best, seconds, counts, grid, *adam(config, X, labels))


def say_speed(config: ProbesBenchConfig, rounds: list[Round]) -> None:
    """Print how long the grid took, what an iteration took, and the share of the peak."""
    ours, best = (statistics.median(getattr(part, name) for part in rounds) for name in ("ours", "peak"))
    count, grid, seconds = rounds[-1].counts, rounds[-1].grid, [part.ours for part in rounds]
    iterations = sum(len(grid.classes[level]) * fit.n_iter for (level, _), fit in grid.fits.items())
    flops = 2e-9 * count.matmuls * config.rows * config.width
    reached = sum(fit.converged for fit in grid.fits.values())
    every = ", ".join(f"{spent:.1f}" for spent in seconds)
    print(f"fit_grid          {ours:8.1f} s ({every}), {reached} of {len(grid.fits)} reached the norm")
    print(
        f"  an iteration    {count.matmuls / iterations:8.2f} matmuls, {count.softmaxes / iterations:.2f} softmaxes; "
        f"{iterations:,} iterations of a class"
    )
    print(
        f"  speed           {flops / ours:8.1f} GFLOP/s ({flops:,.0f} GFLOP of matmul), peak {best:.1f}: "
        f"{flops / ours / best:.0%} (goal 70 %)"
    )


if __name__ == "__main__":
    sys.exit(main("python benchmarks/probes.py", {"probes": Command(ProbesBenchConfig, run)}, "probes"))
