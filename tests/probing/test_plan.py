"""Who is trained on and who is asked what."""

import numpy as np
import pytest

from commandline import InputError
from probing.plan import Plan, make_plan
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree, ragged_tree, rows_of


def plan_of(tree: Taxonomy, per_leaf: int = 8, **changes) -> Plan:
    leaf, split = rows_of(tree, per_leaf)
    settings = {"split": split, "ids": [f"s{i}" for i in range(len(leaf))]} | changes
    return make_plan(tree, leaf, **settings)


def test_the_stored_split_is_kept() -> None:
    plan = plan_of(balanced_tree())
    assert (plan.split == rows_of(balanced_tree(), 8)[1]).all()
    assert plan.scored == ("order", "family", "species")
    assert plan.leaf_level == "species"
    assert plan.leaf_lookup
    assert (plan.path == balanced_tree().codes[plan.leaf]).all()


def test_validation_is_carved_from_train_of_every_leaf() -> None:
    tree = balanced_tree()
    leaf, split = rows_of(tree, 8)
    split[split == "validation"] = "train"
    plan = plan_of(tree, split=split, validation_fraction=0.3)
    assert (np.bincount(leaf[plan.split == "validation"]) == 2).all()
    assert ((plan.split == "test") == (split == "test")).all()
    assert "set aside" in plan.split_source


def test_a_ragged_tree_keeps_its_root_unscored_and_leaves_absent_levels_out() -> None:
    plan = plan_of(ragged_tree())
    assert plan.unscored == {"root": "it has one node"}
    assert plan.scored == ("kind", "name")
    assert plan.leaf_level is None  # two leaves are not nodes of the finest level
    short = np.isin(plan.leaf, [6, 7])
    assert (plan.labels("name")[short] == -1).all()
    assert (plan.labels("name")[~short] >= 0).all()
    assert (plan.labels("kind") >= 0).all()


def test_leaf_split_holds_whole_leaves_out_and_asks_nobody_for_its_own() -> None:
    tree = balanced_tree((2, 4, 24))
    plan = plan_of(tree, kind="leaf", leaf_fraction=0.5, validation_fraction=0.3)
    parts = [set(plan.leaf[plan.split == part]) for part in ("train", "validation", "test")]
    assert all(parts)
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert plan.scored == ("order", "family")
    assert "species" in plan.unscored
    assert not plan.leaf_lookup


def test_leaf_split_of_a_ragged_tree_still_asks_deeper_leaves_for_the_level_where_others_end() -> None:
    plan = plan_of(ragged_tree(), kind="leaf")
    ends = np.isin(plan.leaf, [6, 7])
    assert (plan.labels("kind")[ends] == -1).all()
    assert (plan.labels("kind")[~ends] >= 0).all()


def test_leaf_split_of_few_leaves_validates_on_rows_and_says_so() -> None:
    plan = plan_of(ragged_tree(), kind="leaf")
    assert "the leaves being too few" in plan.split_source
    assert set(plan.leaf[plan.split == "validation"]) <= set(plan.leaf[plan.split == "train"])


def test_text_rows_are_asked_for_one_level_and_share_their_leaf_s_path() -> None:
    tree = balanced_tree((2, 4, 24))
    asked = np.tile(["order", "family"], 24)
    leaf = np.repeat(np.arange(24), 2)
    split = np.array(["train", "train", "validation", "test"])[leaf % 4]
    plan = make_plan(tree, leaf, split, [str(i) for i in range(48)], asked=asked)
    assert len(plan.leaf) == 24
    assert (plan.labels("order")[asked == "order"] == tree.codes[leaf[asked == "order"], 0]).all()
    assert (plan.labels("order")[asked == "family"] == -1).all()
    assert plan.scored == ("order", "family")
    assert len(plan.test_units) == 6
    assert not plan.leaf_lookup


def test_levels_can_be_picked_in_any_order() -> None:
    assert plan_of(balanced_tree(), levels=["species", "order"]).levels == ("order", "species")


def test_a_level_whose_test_nodes_were_never_trained_on_is_not_scored() -> None:
    tree = balanced_tree((2, 4, 8))
    split = np.where(rows_of(tree, 8)[0] % 2, "test", "train")
    split[::8] = "validation"
    plan = plan_of(tree, split=split)
    assert plan.unscored == {"species": "no test row is of a node that was trained on"}
    assert not plan.leaf_lookup


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": np.full(64, "train")}, "none is in the test split"),
        ({"split": np.full(64, "test")}, "none is in the train split"),
        ({"levels": ["genus"]}, "no level 'genus'; the levels are order, family, species"),
        ({"split": np.where(np.arange(64) % 8, "test", "train")}, "none is in the validation split"),
    ],
)
def test_bad_input(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_of(balanced_tree(), **change)


def test_only_one_node_levels_cannot_be_probed() -> None:
    with pytest.raises(InputError, match=r"no level can be probed \(root: it has one node\)"):
        plan_of(ragged_tree(), levels=["root"])


def asked_of(tree: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    """Leaf and asked level of a text store's rows: a row per leaf and level above it."""
    pairs = [(leaf, level) for leaf, path in enumerate(tree.paths) for level in tree.levels[: len(path) - 1]]
    return np.array([leaf for leaf, _ in pairs], np.int32), np.array([level for _, level in pairs])


def test_a_level_whose_row_is_missing_is_no_part_of_its_leaf_s_path() -> None:
    tree = balanced_tree((2, 4, 24))
    leaf, asked = asked_of(tree)
    kept = ~((leaf == 3) & (asked == "family"))
    leaf, asked = leaf[kept], asked[kept]
    split = np.array(["train", "train", "validation", "test"])[leaf % 4]
    plan = make_plan(tree, leaf, split, [str(i) for i in range(len(leaf))], asked=asked)
    assert plan.leaf[3] == 3
    assert plan.path[3].tolist() == [tree.codes[3, 0], -1, -1]
    others = plan.leaf != 3
    assert (plan.path[others, :2] == tree.codes[others, :2]).all()
    assert (plan.path[:, 2] == -1).all()


@pytest.mark.parametrize(
    ("kind", "tree"),
    [
        ("image", balanced_tree((2, 4, 24))),
        ("image", ragged_tree()),
        ("leaf", balanced_tree((2, 4, 24))),
        ("leaf", balanced_tree((2, 8, 16))),
    ],
)
def test_a_text_store_without_validation_sets_whole_leaves_aside(kind, tree: Taxonomy) -> None:
    leaf, asked = asked_of(tree)
    split = np.where(np.isin(leaf, [2, 5, 7]), "test", "train")
    plan = make_plan(tree, leaf, split, [str(i) for i in range(len(leaf))], asked=asked, kind=kind)
    held, trained = (set(leaf[plan.split == part].tolist()) for part in ("validation", "train"))
    assert held
    assert trained
    assert not held & trained
    assert ("leaves, whole," if kind == "image" else "other") in plan.split_source
    if kind == "image":
        assert ((plan.split == "test") == (split == "test")).all()
    for level in plan.scored:
        assert (plan.labels(level)[plan.split == "validation"] >= 0).any()


def test_where_no_parent_has_two_leaves_whole_leaves_are_set_aside_all_the_same() -> None:
    paths = [[f"o{i % 2}", f"f{i % 6}", f"s{i}"] for i in range(12)]
    tree = Taxonomy.from_paths(paths, ["order", "family", "species"])
    leaf, asked = asked_of(tree)
    tested = {index for index, path in enumerate(tree.paths) if int(path[-1][1:]) >= 6}  # each family's second leaf
    split = np.where(np.isin(leaf, list(tested)), "test", "train")
    plan = make_plan(tree, leaf, split, [str(i) for i in range(24)], asked=asked)
    held, trained = (set(leaf[plan.split == part].tolist()) for part in ("validation", "train"))
    assert len(held) == 1
    assert not held & trained
    assert "all training leaves" in plan.split_source


def test_leaves_are_looked_up_only_where_validation_can_choose_their_penalty() -> None:
    leaf, split = rows_of(ragged_tree(), 8)
    split[(split == "validation") & (leaf % 2 == 0)] = "train"
    split[(split == "train") & (leaf % 2 == 1)] = "validation"
    plan = plan_of(ragged_tree(), split=split)
    assert plan.scored == ("kind",)
    assert not plan.leaf_lookup


def test_held_out_parents_are_whole_and_nobody_is_asked_for_them() -> None:
    tree = balanced_tree((2, 4, 24, 72), ("order", "family", "genus", "species"))
    plan = plan_of(tree, kind="parent", validation_fraction=0.3)
    genus = tree.codes[plan.leaf, 2]
    parts = [set(genus[plan.split == part].tolist()) for part in ("train", "validation", "test")]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 24, "no genus is in two parts"
    assert plan.scored == ("order", "family")
    assert "held out whole" in plan.unscored["genus"]
    for family in range(4):
        assert set(plan.split[tree.codes[plan.leaf, 1] == family]) == {"train", "validation", "test"}
    assert len(parts[2]) == 12
    assert not plan.leaf_lookup


def test_held_out_parents_of_a_ragged_tree() -> None:
    paths = [["a", f"f{i % 3}", f"g{i % 12}", f"s{i}"] for i in range(36)]
    paths += [["b", f"h{i % 4}", f"t{i}"] for i in range(12)]
    plan = plan_of(Taxonomy.from_paths(paths, ["order", "family", "genus", "species"]), kind="parent")
    assert "order" in plan.scored
    short = plan.taxonomy.depths[plan.leaf] == 3
    assert (plan.labels("family")[short] == -1).all(), "their family is what was held out"
