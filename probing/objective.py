"""The objective of a linear probe, for many probes at once.

    f(W, b) = 1/n sum_i CE(softmax(W x_i + b), y_i) + penalty / 2 * ||W||_F^2        (the intercept b is free)

f is a convex function of the logits, and the logits are linear in (W, b). The solver lives on that: along a line it
moves the logits, without touching the features.

Shape suffixes: P problem, K class of a problem, C row (every class of every problem, problem after problem), N sample,
D feature. The rows of all problems are one matrix, so one matmul serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from probing.features import DenseFeatures, Features

LEFT_OUT = -1
"""The label of a sample that is no part of a problem."""


@dataclass(frozen=True)
class Block:
    """Neighbouring problems with equal class counts: their rows form a (problem, class, sample) view."""

    problems: slice
    rows: slice
    classes: int


class SoftmaxObjective:
    """P softmax regressions that share their features (N, D), each with its own labels and penalty.

    labels_PN: int64, 0 .. K - 1 of its problem, or -1 where a sample is no part of it. penalty_P: floating. With
    `intercept` the last feature is the constant 1, and its weights are not penalised. Everything is computed in the
    dtype and on the device of the features. Problems come in any order; neighbours with equal class counts are
    computed together.
    """

    def __init__(
        self, features: Features | Tensor, labels_PN: Tensor, classes: Sequence[int], penalty_P: Tensor, intercept: bool
    ) -> None:
        self.features = DenseFeatures(features) if isinstance(features, Tensor) else features
        self.labels_PN, self.classes, self.penalty_P = labels_PN, tuple(classes), penalty_P
        self.intercept = intercept
        self.lengths_P = torch.tensor(self.classes, device=self.features.device)
        self.problem_C = torch.repeat_interleave(self.lengths_P)
        inside_PN = labels_PN >= 0
        self.weight_P = 1 / inside_PN.sum(1).to(self.features.dtype)
        self.inside_PN = None if bool(inside_PN.all()) else inside_PN.to(self.features.dtype)
        self.blocks = _blocks(self.classes)

    @property
    def rows(self) -> int:
        """C, the number of weight rows of all problems."""
        return sum(self.classes)

    def select(self, keep_P: Tensor) -> tuple[SoftmaxObjective, Tensor]:
        """The objective of some problems (indices, ascending), and the rows they had here."""
        chosen = keep_P.tolist()
        starts = torch.cumsum(self.lengths_P, 0) - self.lengths_P
        classes = [self.classes[index] for index in chosen]
        rows_C = torch.cat([torch.arange(count, device=keep_P.device) for count in classes])
        rows_C += torch.repeat_interleave(starts[keep_P], self.lengths_P[keep_P])
        part = SoftmaxObjective(
            self.features, self.labels_PN[keep_P], classes, self.penalty_P[keep_P], intercept=self.intercept
        )
        return part, rows_C

    def logits(self, w_CD: Tensor) -> Tensor:
        """W x + b: (C, N), one matmul."""
        return self.features.logits(w_CD)

    def evaluate(self, logits_CN: Tensor, w_CD: Tensor) -> tuple[Tensor, Tensor]:
        """Value (P,) at weights with these logits, and the derivative by the logits (C, N)."""
        value_P = torch.empty_like(self.penalty_P)
        residual_CN = torch.empty_like(logits_CN)
        for block in self.blocks:
            z_PKN = logits_CN[block.rows].view(-1, block.classes, logits_CN.shape[1])
            r_PKN = residual_CN[block.rows].view_as(z_PKN)
            label_P1N = self.labels_PN[block.problems].clamp(min=0)[:, None]
            normaliser_P1N = torch.logsumexp(z_PKN, 1, keepdim=True)
            loss_PN = (normaliser_P1N - z_PKN.gather(1, label_P1N))[:, 0]
            torch.sub(z_PKN, normaliser_P1N, out=r_PKN).exp_()
            r_PKN.scatter_add_(1, label_P1N, r_PKN.new_full((1, 1, 1), -1).expand_as(label_P1N))
            r_PKN *= self.weight_P[block.problems, None, None]
            if self.inside_PN is not None:
                inside_PN = self.inside_PN[block.problems]
                loss_PN = loss_PN * inside_PN
                r_PKN *= inside_PN[:, None]
            value_P[block.problems] = loss_PN.sum(1) * self.weight_P[block.problems]
        return value_P + self.dot(w_CD, self.ridge_CD * w_CD) / 2, residual_CN

    def gradient(self, residual_CN: Tensor, w_CD: Tensor) -> Tensor:
        """The gradient (C, D) where `evaluate` gave this residual: one matmul."""
        return torch.addcmul(self.features.gradient(residual_CN), self.ridge_CD, w_CD)

    def curvature(self, residual_CN: Tensor) -> Tensor:
        """p (1 - p) / n where `evaluate` gave this residual: (C, N). The Hessian of a row is x^T diag(this) x."""
        size_CN = residual_CN.abs()  # p / n, or (1 - p) / n at the label
        return torch.addcmul(size_CN, size_CN / self.spread(self.weight_P), size_CN, value=-1).clamp_(min=0)

    def dot(self, a_C: Tensor, b_C: Tensor) -> Tensor:
        """Inner product of two row matrices within each problem: (P,)."""
        products_C = torch.linalg.vecdot(a_C, b_C)
        # "unsafe" leaves out a check of the lengths, for which a GPU's queue would have to run dry
        return torch.segment_reduce(products_C, "sum", lengths=self.lengths_P, unsafe=True)

    def centre(self, w_CD: Tensor) -> Tensor:
        """`w_CD`, changed in place, less each problem's mean over its classes: the loss does not see that part."""
        for block in self.blocks:
            w_PKD = w_CD[block.rows].view(-1, block.classes, w_CD.shape[1])
            w_PKD -= w_PKD.mean(1, keepdim=True)
        return w_CD

    def spread(self, values_P: Tensor) -> Tensor:
        """One value per problem, as a column with one per row: (C, 1)."""
        return values_P[self.problem_C, None]

    @cached_property
    def ridge_CD(self) -> Tensor:
        """What the penalty multiplies each weight with; a (C, D) view that holds C numbers, or zeros at intercepts."""
        ridge_CD = self.penalty_P[self.problem_C, None].expand(-1, self.features.shape[1])
        if self.intercept:
            ridge_CD = ridge_CD.clone()
            ridge_CD[:, -1] = 0
        return ridge_CD


def _blocks(classes: Sequence[int]) -> list[Block]:
    blocks, problem, row = [], 0, 0
    for count, group in groupby(classes):
        size = len(list(group))
        blocks.append(Block(slice(problem, problem + size), slice(row, row + size * count), count))
        problem, row = problem + size, row + size * count
    return blocks
