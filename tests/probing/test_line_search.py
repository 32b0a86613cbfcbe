"""The line search alone, on convex lines of every scale, beside a scalar minimiser."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from probing.features import DenseFeatures
from probing.objective import SoftmaxObjective
from probing.solver import SLOPE_LEFT, _search, _State

CLASSES = (3, 2, 4)


def problems(seed: int, penalty: float, scale: float, dtype: torch.dtype) -> tuple[SoftmaxObjective, _State]:
    """Three problems over the same 30 rows, somewhere on their way."""
    generator = torch.Generator().manual_seed(seed)
    x_ND = torch.randn(30, 5, generator=generator, dtype=torch.float64).to(dtype)
    labels_PN = torch.stack([torch.randint(0, count, (30,), generator=generator) for count in CLASSES])
    features = DenseFeatures(torch.cat([x_ND, x_ND.new_ones(30, 1)], 1))
    penalty_P = torch.full((3,), penalty, dtype=dtype)
    objective = SoftmaxObjective(features, labels_PN, list(CLASSES), penalty_P, True)
    w_CD = scale * torch.randn(sum(CLASSES), 6, generator=generator, dtype=torch.float64).to(dtype)
    return objective, _State.at(objective, w_CD, None)


def searched(
    objective: SoftmaxObjective, state: _State, direction_CD: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Lengths; slopes and values at the start, and where the search says it is."""
    slope_P, before_P = objective.dot(direction_CD, state.gradient_CD), state.value_P.clone()
    w_CD = state.w_CD.clone()
    length_P = _search(objective, state, direction_CD, objective.logits(direction_CD), slope_P)
    assert torch.equal(state.w_CD, w_CD), "the weights are moved by the caller"
    there_CD = w_CD + objective.spread(length_P) * direction_CD
    value_P, residual_CN = objective.evaluate(objective.logits(there_CD), there_CD)
    close = {"rtol": 1e-3, "atol": 1e-4} if w_CD.dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(state.residual_CN, residual_CN, **close)
    torch.testing.assert_close(state.value_P, value_P, **close)
    return length_P, slope_P, objective.dot(direction_CD, objective.gradient(residual_CN, there_CD)), before_P, value_P


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    penalty=st.sampled_from([1e-6, 1e-3, 1.0]),
    scale=st.sampled_from([0.0, 0.1, 3.0]),
    lengths=st.lists(st.floats(-6, 4), min_size=3, max_size=3),
)
def test_every_step_lowers_the_slope_and_never_raises_the_value(
    seed: int, penalty: float, scale: float, lengths: list[float]
) -> None:
    """Steepest descent made 1e-6 to 1e4 times as long, each problem its own: first steps are too short or too long."""
    objective, state = problems(seed, penalty, scale, torch.float64)
    stretch_P = 10 ** torch.tensor(lengths, dtype=torch.float64)
    length_P, before_P, after_P, started_P, value_P = searched(
        objective, state, -objective.spread(stretch_P) * state.gradient_CD
    )
    assert (length_P > 0).all(), length_P
    assert (after_P.abs() <= SLOPE_LEFT * before_P.abs() * (1 + 1e-9)).all()
    assert (value_P <= started_P + 1e-14 * started_P.abs()).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), stretch=st.floats(-3, 3))
def test_float32_never_raises_the_value_beyond_rounding(seed: int, stretch: float) -> None:
    objective, state = problems(seed, 1e-3, 1.0, torch.float32)
    length_P, _, _, started_P, value_P = searched(objective, state, -(10**stretch) * state.gradient_CD)
    assert (length_P > 0).all()
    assert (value_P <= started_P * (1 + 20 * torch.finfo(torch.float32).eps)).all()


def test_uphill_and_flat_lines_have_no_step_and_leave_everything() -> None:
    objective, state = problems(0, 1e-2, 1.0, torch.float64)
    first_P = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)  # uphill, flat, downhill
    kept = [values.clone() for values in (state.logits_CN, state.residual_CN, state.value_P)]
    length_P, *_ = searched(objective, state, objective.spread(first_P) * state.gradient_CD)
    assert length_P[:2].tolist() == [0, 0]
    assert length_P[2] > 0
    still_C = torch.arange(sum(CLASSES)) < sum(CLASSES[:2])
    for before, after in zip(kept[:2], (state.logits_CN, state.residual_CN), strict=True):
        assert torch.equal(before[still_C], after[still_C])
        assert not torch.equal(before[~still_C], after[~still_C])
    assert torch.equal(kept[2][:2], state.value_P[:2])
    assert state.value_P[2] < kept[2][2]


def test_where_the_value_overflows_at_first_a_finite_step_is_found() -> None:
    objective, state = problems(1, 1.0, 1.0, torch.float32)
    before = state.value_P.clone()
    direction_CD = -1e20 * state.gradient_CD
    ahead_P, _ = objective.evaluate(objective.logits(direction_CD), direction_CD)
    assert not torch.isfinite(ahead_P).any()
    length_P, *_, value_P = searched(objective, state, direction_CD)
    assert (length_P > 0).all()
    assert (value_P < before).all()


def test_nothing_finite_ahead_is_no_step() -> None:
    objective, state = problems(2, 1e-3, 0.1, torch.float32)
    kept = [values.clone() for values in (state.logits_CN, state.residual_CN, state.value_P)]
    direction_CD = -state.gradient_CD
    along_CN = torch.full_like(state.logits_CN, torch.nan)
    slope_P = objective.dot(direction_CD, state.gradient_CD)
    assert (_search(objective, state, direction_CD, along_CN, slope_P) == 0).all()
    for before, after in zip(kept, (state.logits_CN, state.residual_CN, state.value_P), strict=True):
        assert torch.equal(before, after)
