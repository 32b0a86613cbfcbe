"""The two products a linear probe needs of its features, whether these lie in memory or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Features(Protocol):
    """X, (sample, feature) = (N, D), floating, as the solver sees it. C weight row."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...

    def logits(self, w_CD: Tensor) -> Tensor:
        """W X^T: (C, N)."""
        ...

    def gradient(self, residual_CN: Tensor) -> Tensor:
        """R X: (C, D)."""
        ...


@dataclass(frozen=True)
class DenseFeatures:
    """Features in memory: each product is one matmul."""

    x_ND: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        samples, features = self.x_ND.shape
        return samples, features

    @property
    def dtype(self) -> torch.dtype:
        return self.x_ND.dtype

    @property
    def device(self) -> torch.device:
        return self.x_ND.device

    def logits(self, w_CD: Tensor) -> Tensor:
        return w_CD @ self.x_ND.T

    def gradient(self, residual_CN: Tensor) -> Tensor:
        return residual_CN @ self.x_ND
