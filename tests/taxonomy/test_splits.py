"""Splits: what holds for every data set, and the study's own split by species."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commandline import InputError
from taxonomy import Taxonomy
from taxonomy.splits import carve_validation, leaf_disjoint, parse_split, publisher, stratified

FRACTIONS = st.sampled_from([(0.6, 0.2, 0.2), (0.8, 0.0, 0.2), (0.5, 0.5, 0.0), (0.1, 0.1, 0.8), (1.0, 0.0, 0.0)])


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[str], np.ndarray]:
    leaf = draw(st.lists(st.integers(0, 4), max_size=60))
    ids = draw(st.permutations([f"image{number}" for number in range(len(leaf))]))
    return list(ids), np.array(leaf, dtype=np.int32)


@st.composite
def forests(draw: st.DrawFn) -> tuple[Taxonomy, np.ndarray]:
    families = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    paths = [(f"f{family}", f"s{family}.{species}") for family, n in enumerate(families) for species in range(n)]
    leaf = draw(st.lists(st.integers(0, len(paths) - 1), min_size=1, max_size=80))
    return Taxonomy.from_paths(paths), np.array(leaf)


@given(labelled(), FRACTIONS, st.integers(0, 3))
def test_every_leaf_is_split_by_the_fractions(
    data: tuple[list[str], np.ndarray], fractions: tuple[float, float, float], seed: int
) -> None:
    ids, leaf = data
    split = stratified(ids, leaf, fractions, seed)
    for index in np.unique(leaf):
        rows = leaf == index
        n = int(rows.sum())
        counts = [int((split[rows] == name).sum()) for name in ("train", "validation", "test")]
        assert sum(counts) == n
        assert counts[0] >= 1
        for count, fraction in zip(counts[1:], fractions[1:], strict=True):
            assert (count == 0) == (fraction == 0) or n < 3
            assert abs(count - fraction * n) <= 1 or n * min(part for part in fractions if part) < 1
        if n == 2:
            assert counts == ([1, 0, 1] if fractions[2] else [1, 1, 0] if fractions[1] else [2, 0, 0])


@given(labelled(), st.integers(0, 3), st.data())
def test_the_split_is_of_the_images_not_of_their_order(
    data: tuple[list[str], np.ndarray], seed: int, draw: st.DataObject
) -> None:
    ids, leaf = data
    order = np.array(draw.draw(st.permutations(range(len(ids)))), dtype=int)
    again = stratified([ids[row] for row in order], leaf[order], seed=seed)
    assert (again == stratified(ids, leaf, seed=seed)[order]).all()


@given(labelled(), st.integers(0, 4))
def test_another_image_moves_few_and_none_of_another_leaf(data: tuple[list[str], np.ndarray], where: int) -> None:
    ids, leaf = data
    before = stratified(ids, leaf)
    after = stratified([*ids, "another"], np.append(leaf, where))[:-1]
    moved = before != after
    assert not moved[leaf != where].any()
    for side in ("test", "validation"):
        assert ((before == side) != (after == side)).sum() <= 1


def test_seeds_differ() -> None:
    ids, leaf = [str(number) for number in range(200)], np.zeros(200, dtype=int)
    splits = [stratified(ids, leaf, seed=seed) for seed in (0, 0, 1)]
    assert (splits[0] == splits[1]).all()
    assert 40 < (splits[0] != splits[2]).sum() < 160
    tree = Taxonomy.from_paths([("family", f"species {number}") for number in range(200)])
    sides = [leaf_disjoint(tree, np.arange(200), seed=seed) for seed in (0, 0, 1)]
    assert (sides[0] == sides[1]).all()
    assert 60 < (sides[0] != sides[2]).sum() < 140


@given(labelled(), st.floats(0.01, 0.99), st.booleans(), st.data())
def test_validation_is_carved_from_training_alone(
    data: tuple[list[str], np.ndarray], fraction: float, named: bool, draw: st.DataObject
) -> None:
    ids, leaf = data
    split = np.array(
        draw.draw(st.lists(st.sampled_from(["train", "test"]), min_size=len(ids), max_size=len(ids))), dtype="<U10"
    )
    carved = carve_validation(split, leaf, fraction, ids=ids if named else None)
    assert ((carved == "test") == (split == "test")).all()
    for index in np.unique(leaf):
        train = (split == "train") & (leaf == index)
        n, out = int(train.sum()), int((carved[train] == "validation").sum())
        assert (out >= 1 and n - out >= 1) if n > 1 else out == 0
        assert n < 2 or abs(out - fraction * n) <= 1


@given(forests(), st.floats(0.01, 0.99), st.sampled_from([0.0, 0.3]), st.integers(0, 3))
def test_leaves_are_on_one_side_and_families_on_both(
    data: tuple[Taxonomy, np.ndarray], fraction: float, validation: float, seed: int
) -> None:
    tree, leaf = data
    split = leaf_disjoint(tree, leaf, fraction, seed, validation)
    sides = {int(index): set(split[leaf == index]) for index in np.unique(leaf)}
    assert all(len(side) == 1 for side in sides.values())
    families: dict[tuple[str, ...], Counter[str]] = {}
    for index, (side,) in ((index, tuple(side)) for index, side in sides.items()):
        families.setdefault(tree.paths[index][:-1], Counter())[side] += 1
    for counts in families.values():
        n = counts.total()
        assert counts["train"] >= 1
        if n > 1:
            assert counts["test"] >= 1
            assert counts["test"] - fraction * n < 1
        if n > 2 and validation and n - counts["test"] > 1:
            assert counts["validation"] >= 1
    assert validation or not (split == "validation").any()
    other_order = np.arange(len(leaf))[::-1]
    assert (leaf_disjoint(tree, leaf[other_order], fraction, seed, validation) == split[other_order]).all()


@pytest.mark.parametrize(("name", "file"), [("CUB200", "hierarchy_CUB200"), ("Inat21_Plant", "hierarchy_Inat_plantae")])
def test_halving_gives_the_study_s_numbers_of_species(published: Path, name: str, file: str) -> None:
    tree = Taxonomy.from_json(published / f"{file}.json")
    folder = published.parent / "text_probe" / name
    theirs = {
        side: Counter(tuple(path[:-1]) for path in json.loads((folder / f"{side}_taxonomy.json").read_text()).values())
        for side in ("train", "test")
    }
    ours = leaf_disjoint(tree, np.arange(len(tree)), 0.5)
    for side, counts in theirs.items():
        assert Counter(tree.paths[leaf][:-1] for leaf in np.flatnonzero(ours == side)) == counts


def test_publisher_s_names() -> None:
    assert publisher(["train", "Val", "test"]).tolist() == ["train", "validation", "test"]
    assert publisher(["training", "valid"]).tolist() == ["train", "test"]
    assert publisher(["trainval", "test"]).tolist() == ["train", "test"]
    assert parse_split("fold1") is None
    with pytest.raises(InputError, match="unknown split names 'fold1', 'fold2'; known are train, training"):
        publisher(["train", "fold2", "fold1"])


def test_impossible_fractions() -> None:
    for fractions in ((0.5, 0.2, 0.2), (0.0, 0.5, 0.5), (1.2, -0.2, 0.0), (1.0,)):
        with pytest.raises(InputError, match="should add up to 1"):
            stratified(["a"], np.zeros(1, dtype=int), fractions)
    for fraction in (0.0, 1.0, -1.0):
        with pytest.raises(InputError, match="between 0 and 1"):
            carve_validation(np.array(["train"]), np.zeros(1, dtype=int), fraction)
        with pytest.raises(InputError, match="between 0 and 1"):
            leaf_disjoint(Taxonomy.from_paths([("a",)]), np.zeros(1, dtype=int), fraction)
