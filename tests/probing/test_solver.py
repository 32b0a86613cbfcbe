"""The solver apart from features' coordinates: paths, independence of the batch, and what an iteration may cost."""

import pytest
import torch

from probing.features import DenseFeatures
from probing.objective import SoftmaxObjective
from probing.preconditioner import precondition
from probing.solver import minimise

CLASSES = [2, 3, 5, 5]


@pytest.fixture
def features() -> torch.Tensor:
    """(sample, feature) float64, uncorrelated, of falling variance, the constant 1 last."""
    x = torch.randn(300, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x -= x.mean(0)
    x = torch.linalg.qr(x).Q * 300**0.5 * torch.arange(1, 13) ** -0.5
    return torch.cat([x, x.new_ones(300, 1)], 1)


@pytest.fixture
def labels(features: torch.Tensor) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    rows = []
    for count in CLASSES:
        scores = 3 * features @ torch.randn(13, count, generator=rng, dtype=torch.float64)
        rows.append((scores + 3 * torch.randn(300, count, generator=rng, dtype=torch.float64)).argmax(1))
    return torch.stack(rows)


def make(features: torch.Tensor, labels: torch.Tensor, penalty: float, keep: slice = slice(None)) -> SoftmaxObjective:
    penalties = torch.full((len(CLASSES),), penalty, dtype=torch.float64)
    return SoftmaxObjective(features, labels[keep], CLASSES[keep], penalties[keep], intercept=True)


def spectrum(features: torch.Tensor) -> torch.Tensor:
    return features.square().mean(0)


def zeros(keep: slice = slice(None)) -> torch.Tensor:
    return torch.zeros(sum(CLASSES[keep]), 13, dtype=torch.float64)


def test_a_problem_does_not_feel_its_neighbours(features, labels) -> None:
    options = {"tol": 1e-9, "max_iter": 200}
    together = minimise(make(features, labels, 1e-2), zeros(), spectrum(features), **options)
    alone = minimise(make(features, labels, 1e-2, slice(2, 3)), zeros(slice(2, 3)), spectrum(features), **options)
    torch.testing.assert_close(together.w_CD[5:10], alone.w_CD, rtol=0, atol=1e-8)
    assert bool(together.converged_P.all())


def test_a_path_ends_where_a_start_from_zero_ends(features, labels) -> None:
    options = {"tol": 1e-10, "max_iter": 300}
    before = earlier = None
    for penalty in (1.0, 1e-1, 1e-2, 1e-3):
        start = zeros() if before is None else before.w_CD
        objective = make(features, labels, penalty)
        found = minimise(objective, start, spectrum(features), **options, before=before, earlier=earlier)
        fresh = minimise(objective, zeros(), spectrum(features), **options)
        torch.testing.assert_close(found.w_CD, fresh.w_CD, rtol=0, atol=1e-6)
        torch.testing.assert_close(found.logits_CN, objective.logits(found.w_CD))
        value_P, residual_CN = objective.evaluate(found.logits_CN, found.w_CD)
        torch.testing.assert_close(found.value_P, value_P)
        ridge_CD = objective.ridge_CD * found.w_CD
        torch.testing.assert_close(found.loss_gradient_CD, objective.gradient(residual_CN, found.w_CD) - ridge_CD)
        before, earlier = found, before


def test_solutions_sum_to_zero_over_the_classes(features, labels) -> None:
    found = minimise(make(features, labels, 1e-3), zeros(), spectrum(features), tol=1e-8, max_iter=300)
    for part in found.w_CD.split(CLASSES):
        assert part.sum(0).abs().max() < 1e-10


def test_an_iteration_costs_two_products_and_a_problem_that_is_through_costs_none(
    features, labels, monkeypatch
) -> None:
    """Rows multiplied, against two per iteration of each row, what starts and ends a solve, and the preconditioners."""
    rows = 0

    def count(original):
        def counted(self, given):
            nonlocal rows
            rows += len(given)
            return original(self, given)

        return counted

    for name in ("logits", "gradient"):
        monkeypatch.setattr(DenseFeatures, name, count(getattr(DenseFeatures, name)))
    found = minimise(make(features, labels, 1e-2), zeros(), spectrum(features), tol=1e-6, max_iter=300)
    iterations = found.n_iter_P.tolist()
    allowed = sum(count * (2 * n + 2 + 2 + n.bit_length()) for count, n in zip(CLASSES, iterations, strict=True))
    assert len(set(iterations)) > 1
    assert rows <= allowed


def test_the_preconditioner_inverts_the_hessian_it_says(features, labels) -> None:
    objective = make(features, labels, 1e-2)
    w = torch.randn(15, 13, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    _, residual = objective.evaluate(objective.logits(w), w)
    h = objective.curvature(residual)
    found = precondition(objective, residual, spectrum(features)).solve(w)
    for row in range(15):
        total, mean = h[row].sum(), h[row] @ features / h[row].sum()
        diagonal = total * spectrum(features) + 1e-2
        diagonal[-1] = 1e-2 * total
        hessian = torch.diag(diagonal) + total * torch.outer(mean, mean)
        torch.testing.assert_close(hessian @ found[row], w[row], rtol=1e-6, atol=1e-8)
