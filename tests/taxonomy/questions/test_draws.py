"""Draws: even, without repetition, and the same on every machine."""

from __future__ import annotations

import hashlib
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from taxonomy.questions.draws import orders, without_replacement, words


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.integers(0, 2**63))
def test_words_are_the_digest_of_what_is_asked(dataset: str, image: str, level: str, seed: int) -> None:
    digest = hashlib.sha256(json.dumps([dataset, image, level, seed], ensure_ascii=False).encode()).digest()
    expected = [int.from_bytes(digest[k : k + 8], "little") for k in (0, 8, 16, 24)]
    assert words(dataset, [image], level, seed).tolist() == [expected]


def test_words_on_this_machine_are_those_of_any() -> None:
    assert words("cub200", ["001/a.jpg"], "order", 0)[0, 0] == 0x8E69FA54D78126C3


def test_draws_without_replacement_are_even() -> None:
    random = words("d", [str(k) for k in range(60_000)], "l", 0)[:, :3]
    drawn = without_replacement(random, [0, 0, 0], [5, 5, 5])
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    counts = np.unique(drawn @ [25, 5, 1], return_counts=True)[1]
    assert len(counts) == 5 * 4 * 3
    assert chisquare(counts).pvalue > 1e-3


def test_draws_stay_in_their_ranges() -> None:
    random = words("d", [str(k) for k in range(2000)], "l", 0)[:, :3]
    drawn = without_replacement(random, [0, 2, 2], [2, 6, 6])
    assert set(drawn[:, 0]) == {0, 1}
    assert {tuple(row) for row in drawn[:, 1:].tolist()} == set(itertools.permutations(range(2, 6), 2))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_orders_are_even(count: int) -> None:
    found = orders(words("d", [str(k) for k in range(24_000)], "l", 1)[:, 3], count)
    kinds, counts = np.unique(found, axis=0, return_counts=True)
    assert [tuple(row) for row in kinds.tolist()] == sorted(itertools.permutations(range(count)))
    assert len(counts) == 1 or chisquare(counts).pvalue > 1e-3
