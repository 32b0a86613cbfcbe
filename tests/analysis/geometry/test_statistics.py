"""Statistics with weighed nodes, against the same tree with nodes left out or repeated by hand."""

import numpy as np
import pytest
import torch

from analysis.geometry import Rule, orthogonality
from analysis.geometry.angles import Arithmetic
from analysis.geometry.directions import Leaves
from analysis.geometry.layout import Layout
from analysis.geometry.statistics import EXPLAINED, OVERLAP, SIMPLEX, Reader, everything
from tests.analysis.geometry.planted import RAGGED, planted, tree


def placed(taxonomy, seed=0):
    layout = Layout.of(taxonomy, np.arange(len(taxonomy)))
    rng = np.random.default_rng(seed)
    leaves = Leaves(
        torch.from_numpy(rng.normal(size=(len(taxonomy), 1, 9))), torch.full((len(taxonomy), 1), 0.1).double(), None
    )
    return Reader(layout), Arithmetic.like(layout, leaves.vectors), leaves


@pytest.mark.parametrize("taxonomy", [tree(3, 3, 3), RAGGED])
def test_equal_weights_change_nothing(taxonomy):
    reader, at, leaves = placed(taxonomy)
    plain = everything(reader, at, leaves)
    weighed = everything(reader, at, leaves, weights=torch.full((2, len(reader.layout)), 0.7).double())
    assert plain.keys() == weighed.keys()
    for key, value in plain.items():
        assert weighed[key] == pytest.approx(np.repeat(value, 2), nan_ok=True), key


def test_weights_by_a_loop():
    reader, at, leaves = placed(tree(2, 3, 3))
    layout = reader.layout
    weight = np.random.default_rng(1).integers(0, 4, len(layout)).astype(float)
    found = everything(reader, at, leaves, weights=torch.from_numpy(weight)[None])
    nodes = at.nodes(leaves)
    vectors, squared = nodes.vectors[:, 0].numpy(), nodes.squared[:, 0].numpy()
    above = np.where(layout.parent[:, None] < 0, 0, vectors[np.maximum(layout.parent, 0)])
    offset = vectors - above

    def shared(a, b):
        members = [np.flatnonzero(layout.level == level) for level in (a, b)]
        return sum(weight[i] * weight[j] * (offset[i] @ offset[j]) ** 2 for i in members[0] for j in members[1])

    assert found[OVERLAP, 1, 2][0] == pytest.approx(shared(1, 2) / np.sqrt(shared(1, 1) * shared(2, 2)))
    gain = squared - np.where(layout.parent < 0, 0, squared[np.maximum(layout.parent, 0)])
    gain = weight * gain * layout.root_share
    assert found[EXPLAINED, -1, 1][0] == pytest.approx(gain[layout.level == 1].sum() / gain.sum())
    total = count = 0.0
    for parent in np.flatnonzero(layout.level == 1):
        children = np.flatnonzero(layout.parent == parent)
        for k, i in enumerate(children):
            for j in children[k + 1 :]:
                cosine = offset[i] @ offset[j] / np.linalg.norm(offset[i]) / np.linalg.norm(offset[j])
                total += weight[i] * weight[j] * (cosine + 1 / 2) ** 2
                count += weight[i] * weight[j]
    assert found[SIMPLEX, 1, 2][0] == pytest.approx(np.sqrt(total / count))


def test_every_statistic_of_a_table_has_an_interval_about_it():
    taxonomy = tree(3, 3, 3)
    features, leaf = planted(taxonomy, 540, 64, 0.0, 3, norm=4)
    found = orthogonality(features, leaf, taxonomy, rule=Rule(draws=99, halves=4))
    for row in [*found.explained, *found.overlap, *found.table]:
        assert row["low"] - 0.05 <= row["value"] <= row["high"] + 0.05, row
        assert row["low"] < row["high"], row
