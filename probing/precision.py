"""Products of float32 in float32, whatever the process is set to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """TF32 and bfloat16 keep three digits of a factor. The gradient at a solution, a small difference of large sums,
    does not survive that: with TF32 a probe was seen to report 9.2e-5 where its gradient's norm was 1.15e-4."""
    chosen = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(chosen)
