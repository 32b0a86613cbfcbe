"""Node vectors and edge products against plain loops, closed forms, and the average over real halves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.geometry.angles import Arithmetic, edge_products
from analysis.geometry.directions import Leaves, Space
from analysis.geometry.layout import Layout
from analysis.geometry.leaf_means import Samples
from tests.analysis.geometry.planted import RAGGED, planted, tree


def vectors_by_hand(taxonomy, means):
    """{path: mean of the children's means}, less the root's."""
    found = {path: means[i] for i, path in enumerate(taxonomy.paths)}
    for level in reversed(range(len(taxonomy.levels))):
        for node in taxonomy.nodes(level):
            if node not in found:
                found[node] = np.mean([v for path, v in found.items() if path[:-1] == node], 0)
    root = np.mean([found[node] for node in taxonomy.nodes(0)], 0)
    return {path: v - root for path, v in found.items()}


def measured(taxonomy, features, leaf):
    samples = Samples.of(torch.from_numpy(features), leaf)
    layout = Layout.of(taxonomy, np.unique(leaf))
    means = samples.means()
    noise = samples.noise(means, samples.squares(None))
    return samples, layout, Leaves(means, noise, None)


@pytest.mark.parametrize("taxonomy", [tree(2, 3, 2), RAGGED], ids=["balanced", "ragged"])
def test_node_vectors_are_means_of_children(taxonomy):
    features, leaf = planted(taxonomy, 60, 40, 0.3, 0)
    _, layout, leaves = measured(taxonomy, features, leaf)
    nodes = Arithmetic.like(layout, leaves.vectors).nodes(leaves)
    by_hand = vectors_by_hand(taxonomy, np.array([features[leaf == i].mean(0) for i in range(len(taxonomy))]))
    for node in range(len(layout)):
        path = taxonomy.nodes(int(layout.level[node]))[layout.code[node]]
        assert np.allclose(nodes.vectors[node, 0], by_hand[path], atol=1e-5)


@pytest.mark.parametrize("taxonomy", [tree(2, 3, 2), RAGGED], ids=["balanced", "ragged"])
def test_in_sample_cosines_are_those_of_the_vectors(taxonomy):
    features, leaf = planted(taxonomy, 60, 40, 0.3, 0)
    _, layout, leaves = measured(taxonomy, features, leaf)
    edges = edge_products(Arithmetic.like(layout, leaves.vectors).nodes(leaves))
    by_hand = vectors_by_hand(taxonomy, np.array([features[leaf == i].mean(0) for i in range(len(taxonomy))]))
    for index, child in enumerate(layout.edges):
        path = taxonomy.nodes(int(layout.level[child]))[layout.code[child]]
        step, up = by_hand[path] - by_hand[path[:-1]], by_hand[path[:-1]]
        expected = step @ up / np.linalg.norm(step) / np.linalg.norm(up)
        assert edges.in_sample_cosine[index, 0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("taxonomy", [tree(3, 2), RAGGED], ids=["balanced", "ragged"])
def test_cross_fitted_products_are_the_mean_over_random_halves(taxonomy):
    features, leaf = planted(taxonomy, 8 * len(taxonomy), 30, 0.5, 1, norm=1.0)
    samples, layout, leaves = measured(taxonomy, features, leaf)
    at = Arithmetic.like(layout, leaves.vectors)
    edges = edge_products(at.nodes(leaves))
    rng, total = np.random.default_rng(0), 0.0
    child, parent, grand = at.child_E, at.parent_E, at.grand_E
    for _ in range(500):
        a, b = (
            at.nodes(Leaves(half[:, None], torch.zeros(len(half), 1, dtype=half.dtype), None)).vectors[:, 0]
            for half in samples.halves(leaves.vectors[:, 0], rng)
        )
        up = [v[parent] - torch.where(grand[:, None] < 0, 0, v[grand]) for v in (a, b)]
        products = [
            ((a[child] - a[parent]) * b[parent]).sum(1) + ((b[child] - b[parent]) * a[parent]).sum(1),
            2 * ((a[child] - a[parent]) * (b[child] - b[parent])).sum(1),
            2 * (a[parent] * b[parent]).sum(1),
            ((a[child] - a[parent]) * up[1]).sum(1) + ((b[child] - b[parent]) * up[0]).sum(1),
            2 * (up[0] * up[1]).sum(1),
        ]
        total = total + torch.stack(products) / 2 / 500
    known = ~edges.along_offset[:, 0].isnan()
    exact = torch.stack([edges.along, edges.offset, edges.parent, edges.along_offset, edges.parent_offset])[:, :, 0]
    raw = float((edges.offset_noise + edges.parent_noise).mean())
    assert torch.allclose(total[:, known], exact[:, known], atol=0.12 * raw)
    biased = exact + torch.stack([edges.along_noise, edges.offset_noise, edges.parent_noise] * 2)[:5, :, 0]
    assert not torch.allclose(total[1:3], biased[1:3], atol=0.12 * raw)


def test_cosines_do_not_change_with_rotation_scale_shift_or_order_of_leaves():
    taxonomy = tree(2, 2, 3)
    features, leaf = planted(taxonomy, 60, 24, 0.5, 2)
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    moved = (3 * features.astype(float) @ rotation + 7).astype(np.float32)
    shuffle = rng.permutation(len(leaf))
    cosines = []
    for x, codes in ((features, leaf), (moved, leaf), (features[shuffle], leaf[shuffle])):
        _, layout, leaves = measured(taxonomy, x, codes)
        cosines.append(edge_products(Arithmetic.like(layout, leaves.vectors).nodes(leaves)).cosine)
    assert torch.allclose(cosines[0], cosines[1], atol=1e-5)
    assert torch.allclose(cosines[0], cosines[2], atol=1e-5)


def test_edges_without_an_angle_are_left_out():
    layout = Layout.of(RAGGED, np.arange(len(RAGGED)))
    names = {"/".join(RAGGED.nodes(int(layout.level[c]))[layout.code[c]]) for c in layout.edges}
    assert names == {"a/b", "a/e", "a/b/c", "a/b/d", "g/h", "g/k", "g/l", "g/l/m", "g/l/n", "g/l/n/o", "g/l/n/p"}


def test_lda_directions_have_the_length_of_the_projected_mean():
    taxonomy = tree(2, 3)
    features, leaf = planted(taxonomy, 240, 20, 0.3, 3)
    samples, layout, leaves = measured(taxonomy, features, leaf)
    space = Space.of(samples, leaves.vectors[:, 0], "lda", "euclidean", 0.2, None)
    placed = space.place(leaves.vectors, torch.zeros_like(leaves.noise), compact=True)
    nodes = Arithmetic.like(layout, placed.vectors).nodes(placed)
    residual = features - np.array([features[leaf == i].mean(0) for i in range(6)])[leaf]
    S = residual.T.astype(float) @ residual / len(residual)
    S = 0.8 * S + 0.2 * np.trace(S) / 20 * np.eye(20)
    by_hand = vectors_by_hand(taxonomy, np.array([features[leaf == i].mean(0) for i in range(6)]))
    expected = []
    for node in range(len(layout)):
        m = by_hand[taxonomy.nodes(int(layout.level[node]))[layout.code[node]]]
        u = np.linalg.solve(S, m)
        u /= np.linalg.norm(u)
        expected.append((m @ u) * u)
    expected = np.array(expected)
    assert np.allclose(nodes.vectors[:, 0] @ nodes.vectors[:, 0].T, expected @ expected.T, atol=1e-3)
