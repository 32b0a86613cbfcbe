"""Where an option stands should not matter. How much it does, and answers with the letters' prior taken out.

PriDe: Zheng et al., "Large Language Models Are Not Robust Multiple Choice Selectors" (arXiv 2309.03882).
"""

from __future__ import annotations

import numpy as np

from evaluation.reading import NONE, Reading

ESTIMATION = 0.05
"""The share of questions the prior is estimated from, where all were put in every rotation."""


def fixed(reading: Reading) -> np.ndarray:
    """int (question,): the option of the largest letter logit in the bank's order; NONE where there are no logits."""
    scores = _log_probabilities(reading)[:, 0]
    return _best(scores)


def averaged(reading: Reading) -> np.ndarray:
    """int (question,): the option of the largest mean log-probability over all rotations of its question."""
    scores = by_option(reading).mean(1)
    scores[~reading.turned] = np.nan
    return _best(scores)


def prior(reading: Reading, seed: int = 0) -> dict[int, np.ndarray]:
    """The letters' prior by the number of options, estimated from questions put in every rotation (equation 7).

    For a question, the softmax over letters of the mean over rotations of log P(letter | question, rotation): every
    option has stood at every letter, so what is left is the letter's own. The mean of that over the questions.
    """
    chances, turned = _log_probabilities(reading), reading.turned
    found = {}
    for count in np.unique(reading.count[turned]):
        some = np.flatnonzero(turned & (reading.count == count) & np.isfinite(chances).any((1, 2)))
        if not len(some):
            continue
        if turned.all():
            size = max(1, round(ESTIMATION * len(some)))
            some = np.random.default_rng(seed).choice(some, size, replace=False)
        means = chances[some, :count, :count].mean(1)
        found[int(count)] = _softmax(means).mean(0)
    return found


def debiased(reading: Reading, seed: int = 0) -> np.ndarray:
    """int (question,): the option of the largest P(letter) / prior(letter) in the bank's order (equation 8); NONE where
    there are no logits, or no prior for that number of options."""
    scores = _log_probabilities(reading)[:, 0].copy()
    priors = prior(reading, seed)
    for count in np.unique(reading.count):
        these = reading.count == count
        if int(count) in priors:
            scores[these, :count] -= np.log(priors[int(count)])
        else:
            scores[these] = np.nan
    return _best(scores)


def recall(reading: Reading, chosen: np.ndarray, rotation: int = 0) -> np.ndarray:
    """float64 (letter,): of the questions with as many options as any has, how often the right one was chosen when it
    stood at each letter; chosen: option (question,), in that rotation. NaN where none stood there."""
    most = int(reading.count.max())
    full = (reading.count == most) & (reading.said[:, rotation] != -2)
    place = (reading.answer[full] - rotation) % most
    right = (chosen == reading.answer)[full]
    with np.errstate(invalid="ignore"):
        return np.bincount(place, weights=right, minlength=most) / np.bincount(place, minlength=most)


def recall_over_rotations(reading: Reading) -> np.ndarray:
    """float64 (letter,): `recall` of the replies, every rotation of the questions put in all of them."""
    most = int(reading.count.max())
    full = (reading.count == most) & reading.turned
    turns = np.arange(most)
    place = (reading.answer[full, None] - turns) % most
    right = reading.said[full] == reading.answer[full, None]
    with np.errstate(invalid="ignore"):
        sizes = np.bincount(place.ravel(), minlength=most)
        return np.bincount(place.ravel(), weights=right.ravel(), minlength=most) / sizes


def by_option(reading: Reading) -> np.ndarray:
    """float64 (question, rotation, option): log-probabilities, from the letters they stood at to the options."""
    chances = _log_probabilities(reading)
    found = np.full_like(chances, np.nan)
    turns = np.arange(chances.shape[1])
    for count in np.unique(reading.count):
        these = np.flatnonzero(reading.count == count)
        shown = (np.arange(count)[None, :] - turns[:count, None]) % count  # rotation, option -> its letter
        found[these[:, None, None], turns[None, :count, None], np.arange(count)] = chances[
            these[:, None, None], turns[None, :count, None], shown[None]
        ]
    with np.errstate(invalid="ignore"):
        beyond = turns[None, :] >= reading.count[:, None]
    found[beyond] = 0  # rotations a question does not have leave its mean's order as it is
    found[np.broadcast_to(np.arange(chances.shape[2]) >= reading.count[:, None, None], found.shape)] = np.nan
    return found


def _log_probabilities(reading: Reading) -> np.ndarray:
    """float64 (question, rotation, letter): log-softmax over the letters shown."""
    logits = reading.logits.astype(np.float64)
    top = np.where(np.isfinite(logits), logits, -np.inf).max(2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = logits - np.where(np.isfinite(top), top, 0)
        return shifted - np.log(np.nansum(np.exp(shifted), 2, keepdims=True))


def _softmax(values: np.ndarray) -> np.ndarray:
    shifted = np.exp(values - values.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def _best(scores: np.ndarray) -> np.ndarray:
    """The place of each row's largest number; NONE for a row without one."""
    some = np.isfinite(scores)
    return np.where(some.any(1), np.where(some, scores, -np.inf).argmax(1), NONE)
