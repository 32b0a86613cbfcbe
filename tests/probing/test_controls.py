"""Controls keep what they say they keep, and read as they should on features whose structure is planted."""

import numpy as np
import pytest

from probing.controls import CONTROL, REHUNG, controls
from probing.plan import Plan, make_plan
from probing.protocol import Settings, probe_site
from probing.scores import Scorer
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree, clusters, ragged_tree, rows_of

SETTINGS = Settings((1.0, 1e-1, 1e-2, 1e-3), shuffles=1)


def planned(tree: Taxonomy, per_leaf: int = 8, **changes) -> Plan:
    leaf, split = rows_of(tree, per_leaf)
    return make_plan(tree, leaf, split, [str(i) for i in range(len(leaf))], **changes)


@pytest.mark.parametrize("tree", [balanced_tree((2, 4, 12)), ragged_tree()])
@pytest.mark.parametrize("kind", ["image", "leaf"])
def test_a_rehung_tree_has_the_true_one_s_shape(tree: Taxonomy, kind) -> None:
    plan = planned(tree, kind=kind)
    labels = controls(plan, plan.split != "test", 1, 3)[0]
    assert labels.kind == REHUNG
    assert ((labels.path >= 0) == (plan.path >= 0)).all()
    for part in ("train", "test"):
        units = plan.units(part)
        for column in range(plan.path.shape[1]):
            true, given = (np.bincount(path[units, column] + 1) for path in (plan.path, labels.path))
            assert sorted(true) == sorted(given)
    known = set(map(tuple, plan.path.tolist()))
    if kind == "image":
        assert set(map(tuple, labels.path.tolist())) == known, "the paths are those of the tree"
    by_leaf = {(leaf, *path) for leaf, path in zip(plan.leaf.tolist(), labels.path.tolist(), strict=True)}
    assert len(by_leaf) == len(tree), "a leaf's samples stay together"


def test_where_nodes_are_leaves_a_rehung_tree_only_renames() -> None:
    plan = planned(balanced_tree((2, 4, 12)))
    assert controls(plan, plan.split != "test", 1, 0)[0].same == ("species",)
    assert controls(plan, plan.split != "test", 1, 0)[0].levels == ("order", "family")
    # each family of the ragged tree that has leaves below regroups; those that are leaves themselves only swap
    assert controls(planned(ragged_tree()), planned(ragged_tree()).split != "test", 1, 0)[0].same == ("name",)


def test_a_control_task_gives_every_leaf_one_class_of_those_there_are() -> None:
    plan = planned(balanced_tree((2, 4, 12)))
    labels = controls(plan, plan.split != "test", 1, 0)[1]
    assert labels.kind == CONTROL
    assert labels.levels == ("order", "family", "species")
    for column, level in enumerate(plan.levels):
        assert set(labels.path[:, column]) <= set(range(len(plan.taxonomy.nodes(level))))
        for leaf in range(12):
            assert len(set(labels.path[plan.leaf == leaf, column])) == 1
    assert (labels.path[:, 0] != plan.path[:, 0]).any()


def test_a_level_of_one_leaf_a_part_has_no_control_and_says_so_by_nan() -> None:
    tree = Taxonomy.from_paths([["a", "b"], ["c", "d"]], ["kind", "name"])
    plan = planned(tree)
    labels = controls(plan, plan.split != "test", 1, 0)[0]
    assert labels.levels == ()
    X, _ = clusters(tree, plan.leaf, 0.1)
    levels, site = Scorer(plan, draws=100, seed=0, refit=True).score(probe_site(X, plan, SETTINGS))
    assert np.isnan(levels[0]["rehung"])
    assert np.isnan(site["rehung"])


def scored(X: np.ndarray, plan: Plan):
    levels, site = Scorer(plan, draws=300, seed=0, refit=True).score(probe_site(X, plan, SETTINGS))
    return {record["level"]: record for record in levels}, site


def test_separable_leaves_read_a_rehung_tree_as_well_as_the_true_one() -> None:
    """Measured on trained models too: on image-disjoint splits it is decoded almost as well where leaves are apart."""
    plan = planned(balanced_tree((2, 4, 32)), 16)
    rng = np.random.default_rng(0)
    leaves_only = np.eye(32)[plan.leaf] @ rng.normal(size=(32, 64)) + 0.1 * rng.normal(size=(len(plan.leaf), 64))
    levels, site = scored(leaves_only.astype(np.float32), plan)
    assert levels["family"]["accuracy"] > 0.95
    assert levels["family"]["rehung"] > 0.95
    assert levels["family"]["control"] > 0.95
    assert levels["family"]["selectivity_low"] < 0.05
    assert site["above_rehung"] == pytest.approx(site["hca"] - site["rehung"])
    assert abs(site["above_rehung"]) < 0.05


def test_features_that_hold_the_hierarchy_read_the_true_tree_better() -> None:
    plan = planned(balanced_tree((2, 4, 32)), 16)
    X, _ = clusters(plan.taxonomy, plan.leaf, 0.5, width=6)
    levels, site = scored(X, plan)
    assert levels["family"]["above_rehung_low"] > 0.2
    assert levels["family"]["selectivity_low"] > 0.2
    assert site["above_rehung_low"] > 0
    assert levels["family"]["usable_bits"] > levels["family"]["rehung_bits"] + 0.5


def test_on_unseen_leaves_a_rehung_tree_falls_to_chance() -> None:
    plan = planned(balanced_tree((2, 4, 40)), 8, kind="leaf")
    X, _ = clusters(plan.taxonomy, plan.leaf, 0.1, width=64)
    levels, _ = scored(X, plan)
    assert levels["family"]["accuracy"] > 0.9
    assert levels["family"]["rehung_low"] < 0.25 < 0.6
    assert levels["family"]["rehung"] < 0.5
    assert levels["family"]["majority"] == pytest.approx(0.25)
