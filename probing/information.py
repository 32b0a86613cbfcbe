"""How much of a level a linear probe can use, in bits: usable (V-) information.

Xu et al. 2020 (arXiv 2002.10689): the information that predictors of a family V find in X about Y is how much better X
lets them predict Y, H_V(Y) - H_V(Y | X). Here V is the linear probes; without X the best of them is the class
frequencies of the samples it was fitted on (the prior), so per test sample

    log2 q(y | x) - log2 prior(y),

and the mean over test samples is an estimate of it. It is below 0 where a probe is surer than it should be.
"""

from __future__ import annotations

import numpy as np


def losses(log_probabilities: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Cross-entropy of each sample in nats, float64 (sample,); NaN where it does not count.

    log_probabilities (sample, class); classes: int (class,), ascending codes; truth: int (sample,), -1 = the sample has
    no such level. A sample whose class was never trained on does not count: its loss would be infinite.
    """
    out = np.full(len(truth), np.nan)
    known = np.flatnonzero(np.isin(truth, classes))
    out[known] = -log_probabilities[known, np.searchsorted(classes, truth[known])]
    return out


def prior_losses(fitted: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What `losses` would be for the class frequencies among the `fitted` codes (sample,), -1 there being left out."""
    counts = np.bincount(np.searchsorted(classes, fitted[np.isin(fitted, classes)]), minlength=len(classes))
    log_prior = np.log(counts / counts.sum())
    return losses(np.broadcast_to(log_prior, (len(truth), len(classes))), classes, truth)


def top_k(log_probabilities: np.ndarray, classes: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Whether the true class is among the `k` most probable, bool (sample,). Ties count for the sample's class."""
    right = np.zeros(len(truth), bool)
    known = np.flatnonzero(np.isin(truth, classes))
    own = log_probabilities[known, np.searchsorted(classes, truth[known])]
    right[known] = (log_probabilities[known] > own[:, None]).sum(1) < k
    return right
