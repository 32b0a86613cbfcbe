"""Does orthogonality at a layer go with the probes generalising there to leaves that they never saw?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from commandline import InputError


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's, over layers, with a 95 % interval (layers drawn with replacement) and the null of layers permuted."""

    value: float
    low: float
    high: float
    n: int
    """Layers."""
    null_low: float
    null_high: float
    p_value: float
    """Two-sided: how often permuted layers correlate as much, either way."""


def goes_with(alignment: np.ndarray, accuracy: np.ndarray, seed: int = 0, draws: int = 10_000) -> RankCorrelation:
    """The rank correlation of |cos| per layer with leaf-disjoint accuracy per layer, (layer,) each.

    A negative one says: the more orthogonal, the better the probes generalise. Layers where either is NaN are left
    out. Neighbouring layers are alike, so the layers are fewer than they seem and p is too small: read it as a
    description of one model. Raises InputError with fewer than four layers.
    """
    from scipy.stats import rankdata

    x, y = np.asarray(alignment, float), np.asarray(accuracy, float)
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"give one number per layer on both sides, not {x.shape} and {y.shape}")
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    n = len(x)
    if n < 4:
        raise InputError(f"a rank correlation needs four layers or more with both numbers, not {n}")
    rng = np.random.default_rng(seed)
    value = float(_correlations(rankdata(x)[None], rankdata(y)[None])[0])
    permuted = rng.permuted(np.tile(rankdata(y), (draws, 1)), axis=1)
    null = _correlations(np.tile(rankdata(x), (draws, 1)), permuted)
    again = rng.integers(0, n, (draws, n))
    drawn = _correlations(rankdata(x[again], axis=1), rankdata(y[again], axis=1))
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    p = (1 + int((np.abs(null) >= abs(value) - 1e-12).sum())) / (1 + draws)
    null_low, null_high = np.nanquantile(null, [0.025, 0.975]) if np.isfinite(value) else (np.nan, np.nan)
    return RankCorrelation(value, float(low), float(high), n, float(null_low), float(null_high), p)


def _correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(draw,): Pearson's, row by row; NaN where a row does not vary."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    size = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.divide((x * y).sum(1), size, out=np.full(len(x), np.nan), where=size > 0)
