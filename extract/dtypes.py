"""How activations lie on disk: bfloat16 as its bits, and NaN wherever there is no number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

STORED = {"bfloat16": "uint16", "float16": "float16", "float32": "float32"}
"""Logical dtype -> the dtype zarr holds. zarr has no bfloat16, so its sixteen bits are kept as an unsigned integer."""

BFLOAT16_NAN = 0xFFFF
IN_CACHE = 1 << 20
"""Bytes that stay in a core's cache between two passes over them."""


def fill_value(logical_dtype: str) -> int | float:
    """What a row reads as when there is no activation: NaN, as bits for bfloat16."""
    return BFLOAT16_NAN if logical_dtype == "bfloat16" else float("nan")


def to_stored(values: Tensor, logical_dtype: str) -> Tensor:
    """Round `values` to `logical_dtype` on their own device; still a float tensor, which may now hold an infinity."""
    import torch

    return values.to(getattr(torch, logical_dtype))


def finite_rows(values: Tensor) -> np.ndarray:
    """Which rows of (row, feature) hold neither NaN nor infinity: bool (row,).

    A row's sum is finite if it has neither, unless it overflows; only rows whose sum is not are looked at one by one.
    """
    import torch

    finite = values.sum(dim=1, dtype=torch.float32).isfinite().cpu()
    suspects = (~finite).nonzero().flatten()
    finite[suspects] = values[suspects.to(values.device)].isfinite().all(dim=1).cpu()
    return finite.numpy()


def bits(values: Tensor) -> np.ndarray:
    """The array zarr holds for a tensor of a logical dtype: bfloat16 as uint16 bits, others as they are."""
    import torch

    values = values.detach().cpu().contiguous()
    return values.view(torch.uint16).numpy() if values.dtype == torch.bfloat16 else values.numpy()


def decode(stored: np.ndarray, logical_dtype: str, out: np.ndarray | None = None) -> np.ndarray:
    """What zarr holds -> float32, exactly (every bfloat16 and float16 is a float32). `out`: float32 of the same shape.

    A bfloat16 is the upper half of a float32, so decoding is a shift; no library is needed to read a store.
    """
    out = np.empty(stored.shape, np.float32) if out is None else out
    if logical_dtype != "bfloat16":
        out[...] = stored
        return out
    words = out.view(np.uint32)
    block = max(1, IN_CACHE // max(1, words[:1].nbytes))
    for start in range(0, len(words), block):  # widening and shifting a whole chunk would fetch it from memory twice
        part = words[start : start + block]
        part[...] = stored[start : start + block]
        part <<= 16
    return out
