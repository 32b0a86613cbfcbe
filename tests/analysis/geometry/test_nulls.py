"""Batched nulls against loops over the samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.geometry.angles import Arithmetic, edge_products
from analysis.geometry.directions import Leaves, Space
from analysis.geometry.layout import Layout
from analysis.geometry.nulls import dealt_rows, leaf_orders, level_test, rehung
from taxonomy import Taxonomy
from tests.analysis.geometry.planted import RAGGED, planted, tree
from tests.analysis.geometry.test_angles import measured


@pytest.mark.parametrize("taxonomy", [tree(2, 3, 2), RAGGED], ids=["balanced", "ragged"])
def test_rehung_leaves_are_those_of_relabelled_samples(taxonomy):
    features, leaf = planted(taxonomy, 60, 40, 0.3, 0)
    _, layout, leaves = measured(taxonomy, features, leaf)
    compact = Space(None, None, None, None, None).place(leaves.vectors, leaves.noise, compact=True)
    orders = leaf_orders(len(taxonomy), 7, 0)
    batched = [
        edge_products(Arithmetic.like(layout, each.vectors).nodes(each)).cosine
        for each in rehung(compact, orders, len(layout), 1e5)
    ]
    batched = torch.cat(batched, 1)
    for draw, order in enumerate(orders):
        place = np.argsort(order)  # the leaf that hangs in place i is order[i]
        _, _, moved = measured(taxonomy, features, place[leaf])
        single = edge_products(Arithmetic.like(layout, moved.vectors).nodes(moved)).cosine[:, 0]
        assert torch.allclose(batched[:, draw], single, atol=1e-6, equal_nan=True)


def test_dealt_samples_are_those_of_shuffled_labels():
    taxonomy = tree(2, 3)
    features, leaf = planted(taxonomy, 50, 12, 0.3, 0)
    samples, _layout, _ = measured(taxonomy, features, leaf)
    space = Space(None, None, None, None, None)
    batches = list(dealt_rows(samples, space, samples.squares(None), 5, seed=3))
    rng = np.random.default_rng([3, 2])
    draw = 0
    for batch in batches:
        for column in range(batch.vectors.shape[1]):
            order = rng.permutation(50)
            _, _, single = measured(taxonomy, features[order], leaf)
            assert torch.allclose(batch.vectors[:, column].double(), single.vectors[:, 0], atol=1e-5)
            assert torch.allclose(batch.noise[:, column], single.noise[:, 0], rtol=1e-3)
            draw += 1
    assert draw == 5


def test_a_level_is_there_when_children_share_directions_and_not_when_only_leaves_differ():
    taxonomy = tree(3, 3, 2)
    for rho, level_is_there in ((0.0, True), (None, False)):
        features, leaf = planted(taxonomy, 180, 60, rho, 1)
        _, layout, leaves = measured(taxonomy, features, leaf)
        p = [level_test(layout, level, leaves, 0.025, 400, 0).p_value for level in (0, 1)]  # pyright: ignore
        assert (max(p) <= 0.025) if level_is_there else (min(p) > 0.025)


def test_a_level_between_real_ones_that_groups_at_random_is_not_there():
    real = tree(4, 6, 3)
    features, leaf = planted(real, 72 * 10, 200, 0.0, 1)
    rng = np.random.default_rng(0)
    middle = {
        node: f"m{rank % 2}"
        for top in real.nodes(0)
        for rank, node in enumerate([[n for n in real.nodes(1) if n[0] == top[0]][i] for i in rng.permutation(6)])
    }

    extra = Taxonomy.from_paths([[p[0], p[0] + middle[p[:2]], p[1], p[2]] for p in real.paths])
    _, layout, leaves = measured(extra, features, leaf)
    tests = [level_test(layout, level, leaves, 0.025, 400, 0) for level in (0, 1, 2)]
    assert tests[0] and tests[1] and tests[2]
    assert tests[0].p_value <= 0.025
    assert tests[1].p_value > 0.025
    assert tests[2].p_value <= 0.025


def test_counts_of_arrangements():
    layout = Layout.of(tree(2, 2, 2), np.arange(8))
    leaves = Leaves(torch.randn(8, 1, 5, dtype=torch.float64), torch.zeros(8, 1, dtype=torch.float64), None)
    found = level_test(layout, 0, leaves, 0.025, 20, 0)
    assert found is not None
    assert found.arrangements == pytest.approx(315)  # 8 leaves in two nodes of two children of two


def test_a_level_of_only_children_has_no_test():

    chain = Taxonomy.from_paths([["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"]])
    leaves = Leaves(torch.randn(3, 1, 5, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64), None)
    assert level_test(Layout.of(chain, np.arange(3)), 1, leaves, 0.025, 20, 0) is None
