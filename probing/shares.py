"""Shares of right answers: per class, along whole paths (HCA), and what level accuracies allow HCA to be."""

from __future__ import annotations

import numpy as np


def class_shares(right: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The share of right samples of each class there is, float64 (class,); their mean is the macro accuracy.

    truth: int (sample,), -1 = the sample does not count.
    """
    has = truth >= 0
    trials = np.bincount(truth[has])
    hits = np.bincount(truth[has], weights=right[has])
    return hits[trials > 0] / trials[trials > 0]


def hca(right: np.ndarray, truth: np.ndarray) -> float:
    """The share of samples, among those with a level, that are right wherever they have one."""
    counted = np.any(truth >= 0, axis=1)
    return float(np.all(right | (truth < 0), axis=1)[counted].mean())


def independent_product(right: np.ndarray, present: np.ndarray) -> float:
    """HCA if the levels failed independently: the product of the level accuracies, over the levels a sample has.

    right, present: bool (sample, level). With every level present it is the plain product, else its mean over samples.
    """
    accuracy = (right & present).sum(0) / np.maximum(present.sum(0), 1)
    return float(np.where(present, accuracy, 1).prod(1).mean())


def frechet_bounds(right: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    """The least and the most HCA that level accuracies allow: max(0, sum acc - (L - 1)) and min acc (Fréchet 1935).

    right, present: bool (sample, level). Samples with the same levels are bounded together, by the accuracies they have
    among themselves; the bounds are averaged over such groups. Every sample has a level.
    """
    low = high = 0.0
    kinds, kind = np.unique(present, axis=0, return_inverse=True)
    for index, levels in enumerate(kinds):
        members = kind.ravel() == index
        accuracy = right[members][:, levels].mean(0)
        low += members.mean() * max(0.0, accuracy.sum() - (len(accuracy) - 1))
        high += members.mean() * accuracy.min()
    return float(low), float(high)
