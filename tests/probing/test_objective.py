"""Value, gradient and selection of the batched objective, against torch's own cross-entropy and autograd."""

import pytest
import torch

from probing.objective import SoftmaxObjective

CLASSES = (3, 3, 2, 5)


@pytest.fixture
def problem() -> tuple[SoftmaxObjective, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=rng, dtype=torch.float64)
    x[:, -1] = 1
    labels = torch.stack([torch.randint(0, count, (40,), generator=rng) for count in CLASSES])
    labels[1, :7] = -1
    labels[3, 20:] = -1
    penalty = torch.tensor([0.1, 1.0, 0.01, 0.5], dtype=torch.float64)
    w = torch.randn(sum(CLASSES), 6, generator=rng, dtype=torch.float64)
    return SoftmaxObjective(x, labels, CLASSES, penalty, intercept=True), w


def by_hand(objective: SoftmaxObjective, w: torch.Tensor) -> torch.Tensor:
    """The values (P,), one problem at a time."""
    values, start = [], 0
    for labels, count, penalty in zip(objective.labels_PN, CLASSES, objective.penalty_P, strict=True):
        rows = w[start : start + count]
        has = labels >= 0
        loss = torch.nn.functional.cross_entropy((objective.logits(rows).T)[has], labels[has])
        values.append(loss + penalty / 2 * rows[:, :-1].square().sum())
        start += count
    return torch.stack(values)


def test_value_and_gradient_equal_autograd_one_problem_at_a_time(problem) -> None:
    objective, w = problem
    value, residual = objective.evaluate(objective.logits(w), w)
    leaf = w.clone().requires_grad_()
    expected = by_hand(objective, leaf)
    expected.sum().backward()
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(objective.gradient(residual, w), leaf.grad)


def test_curvature_is_p_times_one_minus_p(problem) -> None:
    objective, w = problem
    _, residual = objective.evaluate(objective.logits(w), w)
    has = objective.labels_PN[1] >= 0
    p = torch.softmax(objective.logits(w[3:6]), 0) * has
    torch.testing.assert_close(objective.curvature(residual)[3:6], p * (1 - p) / has.sum())


def test_a_selection_is_the_same_problems(problem) -> None:
    objective, w = problem
    value, residual = objective.evaluate(objective.logits(w), w)
    part, rows = objective.select(torch.tensor([1, 3]))
    assert rows.tolist() == [3, 4, 5, 8, 9, 10, 11, 12]
    part_value, part_residual = part.evaluate(part.logits(w[rows]), w[rows])
    torch.testing.assert_close(part_value, value[[1, 3]])
    torch.testing.assert_close(part_residual, residual[rows])


def test_dot_and_spread_respect_problem_borders(problem) -> None:
    objective, w = problem
    expected = torch.stack([part.square().sum() for part in w.split(list(CLASSES))])
    torch.testing.assert_close(objective.dot(w, w), expected)
    assert objective.spread(torch.arange(4.0))[:, 0].tolist() == [0] * 3 + [1] * 3 + [2] * 2 + [3] * 5


def test_dot_asks_the_device_for_no_number(problem) -> None:
    objective, w = problem
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        objective.dot(w, w)
    calls = {event.key for event in profile.key_averages()}
    assert "aten::segment_reduce" in calls
    assert not calls & {"aten::item", "aten::_local_scalar_dense", "aten::is_nonzero"}
