"""Draws that depend on nothing but what is asked: sha256 of data set, image, level and seed.

One digest is four 64-bit words (little-endian): three place the distractors, the fourth the options' order. What was
drawn before, skipped, or left to another machine plays no part.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence

import numpy as np

from taxonomy.questions.question import OPTIONS

_ORDERS = [np.array(list(itertools.permutations(range(count))), np.int64) for count in range(OPTIONS + 1)]


def words(dataset: str, ids: Sequence[str], level: str, seed: int) -> np.ndarray:
    """uint64 (image, 4): sha256 of the JSON array `[dataset, id, level, seed]` (UTF-8) of each image."""
    head, tail = f"[{_json(dataset)}, ", f", {_json(level)}, {seed}]"
    digests = b"".join(hashlib.sha256(f"{head}{_json(image)}{tail}".encode()).digest() for image in ids)
    return np.frombuffer(digests, "<u8").reshape(len(ids), OPTIONS).astype(np.uint64)


def without_replacement(random: np.ndarray, start: Sequence[int], stop: Sequence[int]) -> np.ndarray:
    """int64 (image, draw): draw d is uniform over `start[d] .. stop[d] - 1` less what earlier draws took.

    random: uint64 (image, draw). Ranges of different draws are equal or do not meet, equal ones follow one another.
    The remainder of a 64-bit number is uniform to one part in 2^64 / range.
    """
    taken = np.empty(random.shape, np.int64)
    for draw, (low, high) in enumerate(zip(start, stop, strict=True)):
        first = next(earlier for earlier in range(draw + 1) if start[earlier] == low)
        left = high - low - (draw - first)
        place = low + (random[:, draw] % np.uint64(left)).astype(np.int64)
        for other in np.sort(taken[:, first:draw], axis=1).T:  # step over the places that are gone, lowest first
            place += place >= other
        taken[:, draw] = place
    return taken


def orders(random: np.ndarray, count: int) -> np.ndarray:
    """int64 (image, option): a permutation of `count` options for each word, all equally likely."""
    return _ORDERS[count][(random % np.uint64(len(_ORDERS[count]))).astype(np.int64)]


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
