"""Description length: how many bits it takes to send the labels to someone who has the features.

The online (prequential) code of Voita & Titov 2020 (arXiv 2003.12298): the samples, in random order, come in blocks
that double in size; each block's labels are coded with the probabilities of a probe fitted on all blocks before it.
It is short where little data suffices, which accuracy after all the data does not tell. Ours in particular:

* the first block, and any before there are two classes to tell apart, is coded with the label frequencies so far
  (Laplace's rule: a class seen c times among t has (c + 1) / (t + K));
* classes that a probe has not seen share the probability U / (t + K), U of them being unseen among K, t samples seen;
* the code is written for every penalty, the shortest is sent, and log2(penalties) bits say which: nothing is chosen
  with labels that have not been sent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from probing.basis import spectral_basis
from probing.bootstrap import LeafBootstrap
from probing.grid import as_features, log_softmax, make_target, resolve_device, solve_path
from probing.plan import Plan
from probing.protocol import Settings
from probing.scores import Record
from taxonomy.splits import TEST

BLOCKS = 7
"""The first block is 1 / 2^(BLOCKS - 1) of the samples."""


def description(X: np.ndarray, plan: Plan, settings: Settings, draws: int) -> list[Record]:
    """A record per scored level, of the rows that are not in test; features float32 (row, feature).

    bits of all labels together: `uniform_bits` (n log2 K), `prior_bits` (Laplace's rule alone), `online_bits`.
    `compression` is uniform / online. `saved` is (prior - online) / n, in bits per sample, with its interval over
    leaves; below 0 where the features do not help.
    """
    rows = np.flatnonzero(plan.split != TEST)
    rows = rows[np.random.default_rng([settings.seed, 8]).permutation(len(rows))]
    ends = sorted({max(1, len(rows) >> shift) for shift in range(BLOCKS)})
    labels = {level: plan.labels(level)[rows] for level in plan.scored}
    counts = {level: len(plan.taxonomy.nodes(level)) for level in plan.scored}
    prior = {level: laplace_bits(codes, counts[level]) for level, codes in labels.items()}
    online = {level: {penalty: prior[level].copy() for penalty in settings.penalties} for level in plan.scored}
    converged = dict.fromkeys(plan.scored, True)
    for start, end in pairwise(ends):
        seen, coming = slice(0, start), slice(start, end)
        fitted = [level for level in plan.scored if len(np.unique(labels[level][seen][labels[level][seen] >= 0])) > 1]
        if not fitted:
            continue
        targets = [make_target(level, labels[level][seen], start) for level in fitted]
        features = as_features(X[rows[seen]], None, resolve_device(settings.device))
        basis = spectral_basis(features, standardize=True, intercept=True)
        options = {"memory_budget": settings.solve_budget}
        found = solve_path(basis, targets, settings.penalties, settings.tol, settings.max_iter, **options)
        for penalty, index, fit in found:
            level, known = fitted[index], targets[index].classes
            samples = int((labels[level][seen] >= 0).sum())
            scores = log_softmax(fit.logits(X[rows[coming]]))
            codes = labels[level][coming]
            online[level][penalty][coming] = escape_bits(scores, known, codes, samples, counts[level])
            converged[level] &= fit.converged
    bootstrap = LeafBootstrap.of(plan.leaf[plan.unit[rows]], draws, settings.seed)
    return [
        _record(level, labels[level], counts[level], prior[level], online[level], bootstrap)
        | {"converged": converged[level]}
        for level in plan.scored
    ]


def _record(
    level: str,
    codes: np.ndarray,
    classes: int,
    prior: np.ndarray,
    online: dict[float, np.ndarray],
    bootstrap: LeafBootstrap,
) -> Record:
    has = codes >= 0
    n = int(has.sum())
    penalty = min(online, key=lambda each: float(online[each][has].sum()))
    naming = math.log2(len(online))
    saved = np.where(has, prior - online[penalty], np.nan) - naming / n
    low, high = bootstrap.interval(saved, share=False)
    total = float(online[penalty][has].sum()) + naming
    uniform = n * math.log2(classes)
    return {
        "level": level,
        "n": n,
        "classes": classes,
        "uniform_bits": uniform,
        "prior_bits": float(prior[has].sum()),
        "online_bits": total,
        "compression": uniform / total,
        "saved": float(np.nanmean(saved)),
        "saved_low": low,
        "saved_high": high,
        "penalty": penalty,
    }


def laplace_bits(codes: Sequence[int] | np.ndarray, classes: int) -> np.ndarray:
    """Bits of each label by Laplace's rule from those before it, float64 (sample,); 0 where a sample has none (-1)."""
    seen = np.zeros(classes)
    bits = np.zeros(len(codes))
    for index, code in enumerate(codes):
        if code >= 0:
            bits[index] = -math.log2((seen[code] + 1) / (seen.sum() + classes))
            seen[code] += 1
    return bits


def escape_bits(
    log_probabilities: np.ndarray, known: np.ndarray, codes: np.ndarray, samples: int, classes: int
) -> np.ndarray:
    """Bits of labels under a probe of the `known` classes fitted on `samples`, float64 (sample,); 0 for labels of -1.

    A class it does not know has 1 / (samples + classes); those it knows share the rest as the probe says.
    """
    unseen = classes - len(known)
    bits = np.where(codes >= 0, math.log2(samples + classes), 0.0)
    here = np.flatnonzero(np.isin(codes, known))
    values = log_probabilities[here, np.searchsorted(known, codes[here])] / math.log(2)
    bits[here] = -values - math.log2(1 - unseen / (samples + classes))
    return bits
