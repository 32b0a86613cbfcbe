"""Batches by length, clusters by what stands up to the image's end, halves where memory runs out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evaluation.asks import Ask
from evaluation.backends.batches import by_length, clusters, halving, together
from evaluation.backends.rendering import Prompt

ROWS = st.integers(1, 9)


@given(st.lists(st.integers(1, 20), max_size=40), ROWS, st.booleans())
def test_batches_hold_every_index_once_and_ascend(lengths, rows, equal):
    batches = by_length(lengths, rows, equal)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    ordered = [lengths[index] for batch in batches for index in batch]
    assert ordered == sorted(ordered)
    assert all(1 <= len(batch) <= rows for batch in batches)
    if equal:
        assert all(len({lengths[index] for index in batch}) == 1 for batch in batches)
    else:
        assert len(batches) == -(-len(lengths) // rows)


@given(st.integers(1, 40), st.integers(0, 40))
def test_halving_does_everything_once_whatever_fits(count, room):
    sizes: list[int] = []
    told: list[int] = []

    def work(items):
        if len(items) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(items))
        return [(item, "done") for item in items]

    found = list(halving(work, list(range(count)), lambda item, error: [(item, "alone")], told.append))
    assert found == [(item, "done" if room else "alone") for item in range(count)]
    assert all(size <= room for size in sizes)
    assert bool(told) == (count > max(room, 1))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def work(items):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(halving(work, [1, 2], lambda item, error: [], lambda size: None))


def prompt(ids, end, pixels=2):
    inputs = {"input_ids": torch.tensor([ids]), "pixel_values": torch.zeros(pixels, 3)}
    return Prompt(Ask("", None, "", ()), inputs, end, "")


def test_prompts_that_differ_before_the_images_end_are_not_shared():
    prompts = [prompt([1, 9, 9, 5, 6], 3), prompt([2, 9, 9, 5, 6], 3), prompt([1, 9, 9, 5, 7, 8], 3)]
    found = clusters(prompts)
    assert [cluster.prompts for cluster in found] == [(prompts[0], prompts[2]), (prompts[1],)]
    assert [cluster.shared for cluster in found] == [4, 4]


def test_only_images_of_one_shape_go_together():
    found = [clusters([prompt([1, 9, 9, word, 6], 3, pixels)])[0] for word, pixels in [(4, 2), (5, 3), (6, 2), (7, 2)]]
    assert together(found, 2) == [[found[0], found[2]], [found[3]], [found[1]]]
    assert together(found, 1) == [[found[0]], [found[2]], [found[3]], [found[1]]]
