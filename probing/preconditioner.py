"""An approximate inverse Hessian for every class of every problem, cheap to make and to apply.

The Hessian of class k is X^T diag(h) X / n + penalty, h = p (1 - p) its curvature at each sample. Where a class has
become certain, h lives on the few samples that are its own or are taken for it, and these have a mean of their own. So

    Hessian_k  ~  a_k (diag(spectrum) + m_k m_k^T) + penalty,       a_k = mean h,   m_k = the h-weighted mean of X.

The first term is Böhning's (1992) pooled curvature, diagonal in the eigenbasis (`probing.basis`); the second is one
direction per class, inverted by the Sherman-Morrison formula. A quasi-Newton memory shared by two hundred classes does
not find two hundred such directions by itself: this halves the iterations where leaves are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probing.objective import SoftmaxObjective

FREE = 1e-2
"""What the intercept keeps of its curvature on the diagonal: the weighted mean, which holds a 1 there, has the rest."""


@dataclass(frozen=True)
class Preconditioner:
    """Shape suffixes as in `probing.objective`."""

    diagonal_CD: Tensor
    lifted_CD: Tensor
    """The weighted means divided by the diagonal."""
    mean_CD: Tensor
    strength_C1: Tensor

    def solve(self, q_CD: Tensor) -> Tensor:
        """Approximate Hessian^-1 q, (C, D)."""
        solved_CD = q_CD / self.diagonal_CD
        along_C1 = torch.linalg.vecdot(self.mean_CD, solved_CD)[:, None] * self.strength_C1
        return solved_CD.addcmul_(along_C1, self.lifted_CD, value=-1)

    def keep(self, rows: Tensor) -> Preconditioner:
        """That of some rows."""
        return Preconditioner(self.diagonal_CD[rows], self.lifted_CD[rows], self.mean_CD[rows], self.strength_C1[rows])


def precondition(objective: SoftmaxObjective, residual_CN: Tensor, spectrum_D: Tensor) -> Preconditioner:
    """From the derivative by the logits (C, N): one matmul. spectrum_D: mean square of each feature."""
    curvature_CN = objective.curvature(residual_CN)
    total_C1 = curvature_CN.sum(1, keepdim=True)
    smallest = torch.finfo(total_C1.dtype).tiny
    mean_CD = objective.features.gradient(curvature_CN) / total_C1.clamp(min=smallest)
    floor = torch.finfo(spectrum_D.dtype).eps
    diagonal_CD = torch.addcmul(objective.ridge_CD + floor, total_C1, spectrum_D)
    if objective.intercept:
        diagonal_CD[:, -1] = FREE * total_C1[:, 0] + floor
    lifted_CD = mean_CD / diagonal_CD
    strength_C1 = total_C1 / (1 + total_C1 * torch.linalg.vecdot(mean_CD, lifted_CD)[:, None])
    return Preconditioner(diagonal_CD, lifted_CD, mean_CD, strength_C1)
