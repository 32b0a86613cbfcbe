"""Whether a probe is as often right as it says: its probabilities as they are, no temperature fitted.

Confidence is the probability of the predicted class. Samples whose level has a class that was never trained on count
too, as wrong.
"""

from __future__ import annotations

import numpy as np

BINS = 15
"""Bins of equal mass, as in Guo et al. 2017 (arXiv 1706.04599) but for the mass, after Nixon et al. 2019."""


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """ECE: the mean gap between confidence and accuracy over `bins` bins that hold (almost) as many samples each.

    confidence float (sample,), right bool (sample,). Biased upwards by about sqrt(bins / n) on few samples; see
    `kolmogorov_smirnov` for a number without bins. NaN for no samples.
    """
    if not len(confidence):
        return float("nan")
    order = np.argsort(confidence, kind="stable")
    gaps = [abs(float((confidence[part] - right[part]).sum())) for part in np.array_split(order, bins)]
    return sum(gaps) / len(confidence)


def kolmogorov_smirnov(confidence: np.ndarray, right: np.ndarray) -> float:
    """The KS calibration error (Gupta et al. 2021, arXiv 2006.12800): the largest gap between the running sums of
    confidence and of right answers, in the order of confidence, over n. Without bins. NaN for no samples.

    Samples of equal confidence have no order among them and are added at once.
    """
    if not len(confidence):
        return float("nan")
    order = np.argsort(confidence, kind="stable")
    ends = np.append(np.diff(confidence[order]) > 0, True)
    running = np.cumsum(confidence[order] - right[order])
    return float(np.abs(running[ends]).max() / len(confidence))
