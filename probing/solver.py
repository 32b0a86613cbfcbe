"""Minimise many probes' objectives at once: preconditioned L-BFGS, each problem with its own steps.

An iteration costs two matmuls, however long the line search is: the direction's logits, and the gradient. Between them
the search moves along known logits, where a trial costs one softmax (see `probing.objective`).

The L-BFGS recursion (Nocedal & Wright 2006, algorithm 7.4) starts from the approximate Hessian of
`probing.preconditioner`, made anew, at the price of one more matmul, after 0, 1, 3, 7, 15, ... iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probing.objective import SoftmaxObjective
from probing.precision import full_precision
from probing.preconditioner import Preconditioner, precondition

MEMORY = 8
"""Correction pairs kept."""
SLOPE_LEFT = 0.8
"""A step is long enough once the slope along the line has fallen to this share of its start."""
MOST_TRIALS = 30
"""Steps tried along one line before a problem counts as stalled."""


@dataclass(frozen=True)
class Solution:
    """Where the solver stopped. Shape suffixes as in `probing.objective`."""

    w_CD: Tensor
    value_P: Tensor
    grad_norm_P: Tensor
    """Euclidean norm of the gradient over all weights and intercepts of a problem, recomputed at `w_CD`."""
    n_iter_P: Tensor
    converged_P: Tensor
    logits_CN: Tensor
    loss_gradient_CD: Tensor
    """The gradient without the penalty's part, which is all that a neighbour on a path of penalties changes."""


@dataclass
class _State:
    """The problems still running, and everything that moves with them."""

    problem_P: Tensor
    """Their indices among the problems that `minimise` was given."""
    row_C: Tensor
    w_CD: Tensor
    logits_CN: Tensor
    residual_CN: Tensor
    gradient_CD: Tensor
    value_P: Tensor
    stalled_P: Tensor
    """How often in a row no step was found."""
    s_MCD: Tensor
    y_MCD: Tensor
    rho_MP: Tensor
    """1 / <s, y>; 0 where a pair does not count."""
    preconditioner: Preconditioner | None = None

    @classmethod
    def at(cls, objective: SoftmaxObjective, w_CD: Tensor, before: Solution | None) -> _State:
        logits_CN = objective.logits(w_CD) if before is None else before.logits_CN.clone()
        value_P, residual_CN = objective.evaluate(logits_CN, w_CD)
        if before is None:
            gradient_CD = objective.gradient(residual_CN, w_CD)
        else:
            gradient_CD = torch.addcmul(before.loss_gradient_CD, objective.ridge_CD, w_CD)
        problems, device = len(value_P), w_CD.device
        return cls(
            problem_P=torch.arange(problems, device=device),
            row_C=torch.arange(len(w_CD), device=device),
            w_CD=w_CD.clone(),
            logits_CN=logits_CN,
            residual_CN=residual_CN,
            gradient_CD=gradient_CD,
            value_P=value_P,
            stalled_P=torch.zeros(problems, dtype=torch.int64, device=device),
            s_MCD=w_CD.new_zeros(MEMORY, *w_CD.shape),
            y_MCD=w_CD.new_zeros(MEMORY, *w_CD.shape),
            rho_MP=w_CD.new_zeros(MEMORY, problems),
        )

    def recompute(self, objective: SoftmaxObjective, problems: Tensor) -> None:
        """Logits, value and gradient of some problems from their weights: the logits drift by rounding."""
        part, rows = objective.select(problems)
        w_CD = self.w_CD[rows]
        self.logits_CN[rows] = part.logits(w_CD)
        self.value_P[problems], residual_CN = part.evaluate(self.logits_CN[rows], w_CD)
        self.residual_CN[rows] = residual_CN
        self.gradient_CD[rows] = part.gradient(residual_CN, w_CD)

    def keep(self, problems: Tensor, rows: Tensor) -> None:
        for name in ("problem_P", "value_P", "stalled_P"):
            setattr(self, name, getattr(self, name)[problems])
        for name in ("row_C", "w_CD", "logits_CN", "residual_CN", "gradient_CD"):
            setattr(self, name, getattr(self, name)[rows])
        self.s_MCD, self.y_MCD, self.rho_MP = self.s_MCD[:, rows], self.y_MCD[:, rows], self.rho_MP[:, problems]
        if self.preconditioner is not None:
            self.preconditioner = self.preconditioner.keep(rows)


@full_precision()
def minimise(
    objective: SoftmaxObjective,
    start_CD: Tensor,
    spectrum_D: Tensor,
    *,
    tol: float,
    max_iter: int,
    before: Solution | None = None,
    earlier: Solution | None = None,
) -> Solution:
    """Solve every problem of `objective` until the norm of its gradient is at most `tol`.

    start_CD: where to start, summing to zero over the classes. before: the solution at another penalty that this start
    is, so that nothing is computed twice; the first step tried goes on as it went from `earlier`, the one before it (or
    from zero), where that is downhill. spectrum_D: the mean square of each feature, the features being
    uncorrelated. A problem leaves the batch when it is solved, after `max_iter` iterations, or when rounding lets it go
    no further; only the first counts as converged.
    """
    solution = _blank(objective, start_CD)
    state = _State.at(objective, start_CD, before)
    for iteration in range(max_iter + 1):
        stuck_P = (state.stalled_P > 1) | (iteration == max_iter)
        solved_P = _norm(objective, state) <= tol
        doubtful = torch.nonzero(solved_P | (state.stalled_P > 0) | stuck_P)[:, 0]
        if len(doubtful):
            state.recompute(objective, doubtful)
            leaving_P = (solved_P & (_norm(objective, state) <= tol)) | stuck_P
            objective = _leave(objective, state, leaving_P, solution, iteration, tol)
            if not len(state.problem_P):
                break
        if iteration == 0 and before is not None and (onward := _onward(objective, state, before, earlier)):
            _step(objective, state, *onward, iteration)
            continue
        if iteration & (iteration + 1) == 0 or state.preconditioner is None:
            state.preconditioner = precondition(objective, state.residual_CN, spectrum_D)
        direction_CD = _direction(objective, state, state.preconditioner, iteration)
        _step(objective, state, direction_CD, objective.logits(direction_CD), iteration)
    return solution


def _onward(
    objective: SoftmaxObjective, state: _State, before: Solution, earlier: Solution | None
) -> tuple[Tensor, Tensor] | None:
    """The last step of a path and its logits, both known; None unless it is downhill for every problem."""
    rows = state.row_C
    path_CD, along_CN = before.w_CD[rows], before.logits_CN[rows]
    if earlier is not None:
        path_CD, along_CN = path_CD - earlier.w_CD[rows], along_CN - earlier.logits_CN[rows]
    downhill_P = objective.dot(path_CD, state.gradient_CD) < 0
    return (path_CD, along_CN) if bool(downhill_P.all()) else None


def _blank(objective: SoftmaxObjective, start_CD: Tensor) -> Solution:
    nothing_P = torch.zeros_like(objective.penalty_P)
    return Solution(
        w_CD=start_CD.clone(),
        value_P=nothing_P,
        grad_norm_P=nothing_P.clone(),
        n_iter_P=nothing_P.to(torch.int64),
        converged_P=nothing_P.to(torch.bool),
        logits_CN=start_CD.new_empty(len(start_CD), objective.features.shape[0]),
        loss_gradient_CD=torch.empty_like(start_CD),
    )


def _norm(objective: SoftmaxObjective, state: _State) -> Tensor:
    return objective.dot(state.gradient_CD, state.gradient_CD).sqrt()


def _leave(
    objective: SoftmaxObjective, state: _State, leaving_P: Tensor, solution: Solution, iteration: int, tol: float
) -> SoftmaxObjective:
    """Write down the problems that are through, and shrink the batch to the others."""
    if not bool(leaving_P.any()):
        return objective
    norm_P, problem_P = _norm(objective, state)[leaving_P], state.problem_P[leaving_P]
    leaving_C = leaving_P[objective.problem_C]
    row_C, w_CD = state.row_C[leaving_C], state.w_CD[leaving_C]
    solution.w_CD[row_C] = w_CD
    solution.logits_CN[row_C] = state.logits_CN[leaving_C]
    solution.loss_gradient_CD[row_C] = state.gradient_CD[leaving_C] - objective.ridge_CD[leaving_C] * w_CD
    solution.value_P[problem_P] = state.value_P[leaving_P]
    solution.grad_norm_P[problem_P] = norm_P
    solution.n_iter_P[problem_P] = iteration
    solution.converged_P[problem_P] = norm_P <= tol
    staying = torch.nonzero(~leaving_P)[:, 0]
    if not len(staying):
        state.problem_P = staying
        return objective
    rest, rows = objective.select(staying)
    state.keep(staying, rows)
    return rest


def _direction(
    objective: SoftmaxObjective, state: _State, preconditioner: Preconditioner | None, iteration: int
) -> Tensor:
    """The L-BFGS direction (C, D), its recursion run for all problems in step.

    Like the gradient it sums to zero over the classes (the preconditioner alone would not see to that), so weights that
    start so stay so: it is what the penalty wants.
    """
    newest_first = [(iteration - back) % MEMORY for back in range(1, min(iteration, MEMORY) + 1)]
    assert preconditioner is not None
    q_CD = state.gradient_CD.clone()
    along_P: dict[int, Tensor] = {}
    for pair in newest_first:
        along_P[pair] = objective.dot(state.s_MCD[pair], q_CD) * state.rho_MP[pair]
        q_CD.addcmul_(objective.spread(along_P[pair]), state.y_MCD[pair], value=-1)
    q_CD = preconditioner.solve(q_CD)
    if newest_first:
        y_CD, rho_P = state.y_MCD[newest_first[0]], state.rho_MP[newest_first[0]]
        scale_P = 1 / (rho_P * objective.dot(y_CD, preconditioner.solve(y_CD)))
        q_CD *= objective.spread(torch.where(rho_P > 0, scale_P, 1))
    for pair in reversed(newest_first):
        back_P = objective.dot(state.y_MCD[pair], q_CD) * state.rho_MP[pair]
        q_CD.addcmul_(objective.spread(along_P[pair] - back_P), state.s_MCD[pair])
    return objective.centre(q_CD.neg_())


def _step(objective: SoftmaxObjective, state: _State, direction_CD: Tensor, along_CN: Tensor, iteration: int) -> None:
    """Go along `direction_CD`, of logits `along_CN`, each problem as far as its own line search says.

    The curvature met is remembered.
    """
    slope_P = objective.dot(direction_CD, state.gradient_CD)
    length_P = _search(objective, state, direction_CD, along_CN, slope_P)
    step_CD = objective.spread(length_P) * direction_CD
    state.w_CD += step_CD
    gradient_CD = objective.gradient(state.residual_CN, state.w_CD)
    change_CD = gradient_CD - state.gradient_CD
    state.gradient_CD = gradient_CD
    pair = iteration % MEMORY
    state.s_MCD[pair], state.y_MCD[pair] = step_CD, change_CD
    curved_P = objective.dot(step_CD, change_CD)
    enough_P = torch.finfo(curved_P.dtype).eps * length_P * slope_P.abs()
    state.rho_MP[pair] = torch.where(curved_P > enough_P, 1 / curved_P, 0)
    moved_P = length_P > 0
    state.rho_MP *= moved_P  # a problem that found no step starts its memory anew
    state.stalled_P = torch.where(moved_P, 0, state.stalled_P + 1)


def _search(
    objective: SoftmaxObjective, state: _State, direction_CD: Tensor, along_CN: Tensor, slope_P: Tensor
) -> Tensor:
    """Step lengths (P,); 0 where there is none. Moves logits, residual and value of `state` to the new points.

    The slope rises along the line, the objective being convex, so its zero is bracketed and sought by secants.
    """
    length_P = torch.ones_like(slope_P)
    low_P, high_P = torch.zeros_like(slope_P), torch.full_like(slope_P, torch.inf)
    slope_low_P, slope_high_P = slope_P.clone(), torch.full_like(slope_P, torch.inf)
    before = state.logits_CN, state.residual_CN, state.value_P
    slack_P = 10 * torch.finfo(slope_P.dtype).eps * before[2].abs()
    pending, rows = (torch.arange(len(values), device=values.device) for values in (slope_P, direction_CD))
    part = objective
    for trial in range(MOST_TRIALS):
        first = trial == 0
        far_C1 = part.spread(length_P[pending])
        toward_CN, toward_CD = (along_CN, direction_CD) if first else (along_CN[rows], direction_CD[rows])
        w_CD = torch.addcmul(state.w_CD if first else state.w_CD[rows], far_C1, toward_CD)
        logits_CN = torch.addcmul(before[0] if first else before[0][rows], far_C1, toward_CN)
        value_P, residual_CN = part.evaluate(logits_CN, w_CD)
        reached_P = part.dot(residual_CN, toward_CN) + part.dot(part.ridge_CD * w_CD, toward_CD)
        reached_P = torch.where(torch.isfinite(value_P), reached_P, torch.inf)
        if first:
            state.logits_CN, state.residual_CN, state.value_P = logits_CN, residual_CN, value_P
        else:
            state.logits_CN[rows], state.residual_CN[rows], state.value_P[pending] = logits_CN, residual_CN, value_P
        fell_P = (reached_P <= 0) | (value_P <= (before[2] + slack_P)[pending])
        good_P = (reached_P.abs() <= SLOPE_LEFT * slope_P[pending].abs()) & fell_P & (slope_P[pending] < 0)
        if bool(good_P.all()):
            return length_P
        left = torch.nonzero(~good_P)[:, 0]
        pending, reached_P = pending[left], reached_P[left]
        part, rows = objective.select(pending)
        beyond_P = reached_P > 0
        tried_P = length_P[pending]
        high_P[pending] = torch.where(beyond_P, tried_P, high_P[pending])
        slope_high_P[pending] = torch.where(beyond_P, reached_P, slope_high_P[pending])
        low_P[pending] = torch.where(beyond_P, low_P[pending], tried_P)
        slope_low_P[pending] = torch.where(beyond_P, slope_low_P[pending], reached_P)
        length_P[pending] = _next(
            low_P[pending], high_P[pending], slope_low_P[pending], slope_high_P[pending], slope_P[pending]
        )
    length_P[pending] = 0
    state.logits_CN[rows], state.residual_CN[rows] = before[0][rows], before[1][rows]
    state.value_P[pending] = before[2][pending]
    return length_P


def _next(low_P: Tensor, high_P: Tensor, slope_low_P: Tensor, slope_high_P: Tensor, slope_P: Tensor) -> Tensor:
    """The next length: a secant step inside the bracket, or beyond `low_P` while there is no upper end."""
    ahead_P = low_P * (slope_P / (slope_P - slope_low_P)).clamp(2, 10)  # where slopes from 0 to low meet zero
    width_P = high_P - low_P
    inside_P = low_P + width_P * (slope_low_P / (slope_low_P - slope_high_P)).clamp(0.1, 0.9)
    return torch.where(torch.isinf(high_P), ahead_P.nan_to_num(1), inside_P)
