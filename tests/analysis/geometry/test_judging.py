"""Verdicts where the truth is planted, and that they do not hang on what they should not."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.geometry import Rule, goes_with, orthogonality, versus
from commandline import InputError
from tests.analysis.geometry.planted import RAGGED, planted, tree

TAXONOMY = tree(3, 3, 3)
RULE = Rule(draws=99, halves=8)


@pytest.mark.parametrize(
    ("rho", "norm", "verdict"),
    [
        (0.0, 6.0, "orthogonal"),
        (0.5, 6.0, "violated"),
        (None, 6.0, "not identifiable"),
        (0.0, 0.0, "not identifiable"),
    ],
    ids=["orthogonal", "violated", "leaves only", "noise"],
)
def test_planted_truth(rho, norm, verdict):
    features, leaf = planted(TAXONOMY, 270, 90, rho, 0, norm)
    found = orthogonality(features, leaf, TAXONOMY, rule=RULE)
    assert set(found.verdicts) == {("level1", "level2"), ("level2", "level3")}
    assert set(found.verdicts.values()) == {verdict}, found.reasons


@pytest.mark.parametrize(("directions", "product"), [("lda", "euclidean"), ("mean", "within"), ("probe", "euclidean")])
def test_planted_truth_in_other_spaces(directions, product):
    for rho, verdict in ((0.0, "orthogonal"), (0.5, "violated")):
        features, leaf = planted(TAXONOMY, 540, 60, rho, 0)
        found = orthogonality(features, leaf, TAXONOMY, directions=directions, inner_product=product, rule=RULE)
        if directions == "probe":  # whitening by all samples shortens what varies most: it may bend true right angles
            assert "violated" not in found.verdicts.values() or rho
        else:
            assert set(found.verdicts.values()) == {verdict}, found.reasons
        assert found.conditioning.shrinkage


def test_a_refused_whitening_is_not_identifiable_and_says_why():
    features, leaf = planted(TAXONOMY, 90, 90, 0.0, 0)
    found = orthogonality(features, leaf, TAXONOMY, inner_product="within", shrinkage=None, rule=RULE)
    assert set(found.verdicts.values()) == {"not identifiable"}
    assert "n/d = 1.00" in (found.conditioning.refused or "")


def test_the_names_of_leaves_do_not_matter():
    from taxonomy import Taxonomy

    features, leaf = planted(TAXONOMY, 162, 40, 0.5, 0)
    renamed = Taxonomy.from_paths([[f"z{part}" for part in path] for path in TAXONOMY.paths])
    first, second = (orthogonality(features, leaf, each, rule=RULE) for each in (TAXONOMY, renamed))
    assert first.table == second.table or str(first.table) == str(second.table)
    order = np.random.default_rng(0).permutation(len(TAXONOMY))
    shuffled = Taxonomy.from_paths([TAXONOMY.paths[i] for i in order])
    third = orthogonality(features, np.argsort(order)[leaf], shuffled, rule=RULE)
    for a, b in zip(first.table, third.table, strict=True):
        assert a["statistic"] == b["statistic"]
        if a["statistic"] != "alignment":  # whose halvings are drawn in the leaves' order
            assert a["value"] == pytest.approx(b["value"], rel=1e-3, abs=1e-4, nan_ok=True)


def test_ragged_trees_chains_and_leaves_with_one_sample():
    features, leaf = planted(RAGGED, 8 * len(RAGGED), 40, 0.0, 0)
    keep = (leaf != 2) | (np.cumsum(leaf == 2) <= 1)
    found = orthogonality(features[keep], leaf[keep], RAGGED, rule=RULE)
    assert found.conditioning.left_out == 1
    assert len(found.verdicts) == 3
    shares = [row["value"] for row in found.explained if row["null"] == "leaves"]
    assert sum(shares) == pytest.approx(1)
    assert len(found.nodes) == len(found.cosines)


def test_one_node_at_the_top_has_no_direction():
    from taxonomy import Taxonomy

    rooted = Taxonomy.from_paths([["root", *path] for path in TAXONOMY.paths])
    features, leaf = planted(TAXONOMY, 270, 90, 0.0, 0)
    found = orthogonality(features, leaf, rooted, rule=RULE)
    assert list(found.verdicts.values()) == ["not identifiable", "orthogonal", "orthogonal"], found.reasons


def test_versus_pairs_the_draws():
    features, leaf = planted(TAXONOMY, 270, 60, 0.5, 0)
    first = orthogonality(features, leaf, TAXONOMY, rule=RULE)
    second = orthogonality(planted(TAXONOMY, 270, 60, 0.0, 0)[0], leaf, TAXONOMY, rule=RULE)
    same = versus(first, first)
    assert same and all(row["difference"] == row["low"] == row["high"] == 0 for row in same)
    bent = [row for row in versus(first, second) if row["statistic"] == "RMS cos"]
    assert all(row["low"] > 0 for row in bent)
    with pytest.raises(InputError, match="same seed"):
        versus(first, orthogonality(features, leaf, TAXONOMY, seed=1, rule=RULE))


def test_goes_with():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=12)
    found = goes_with(x, y, draws=2000)
    oracle = spearmanr(x, y)
    assert found.value == pytest.approx(oracle.statistic)
    assert found.p_value == pytest.approx(oracle.pvalue, abs=0.05)
    assert goes_with(x, -x, draws=500).p_value < 0.01
    with pytest.raises(InputError, match="four layers"):
        goes_with(x[:3], y[:3])


@pytest.mark.parametrize(
    ("features", "leaf", "match"),
    [
        (np.zeros((4, 2)), np.zeros(3, int), r"should be \(n, d\)"),
        (np.zeros((4, 2)), np.full(4, 99), "indices"),
        (np.full((4, 2), np.nan), np.array([0, 0, 1, 1]), "NaN"),
        (np.zeros((3, 2)), np.array([0, 0, 1]), "two leaves"),
    ],
)
def test_bad_input(features, leaf, match):
    with pytest.raises(InputError, match=match):
        orthogonality(features, leaf, TAXONOMY)
