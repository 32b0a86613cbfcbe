"""Taxonomies: codes against a brute-force reading of the paths, the published trees' counts, and bad input."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commandline import InputError
from taxonomy import Taxonomy, load_taxonomy

BIRDS = {
    "Black-footed Albatross": ["Procellariiformes", "Diomedeidae", "Phoebastria", "Black-footed Albatross"],
    "Laysan Albatross": ["Procellariiformes", "Diomedeidae", "Phoebastria", "Laysan Albatross"],
    "Sayornis": ["Passeriformes", "Tyrannidae", "Sayornis", "Sayornis"],
}

PUBLISHED = {  # leaves; names per level; leaves by path length; distinct names, distinct nodes
    "hierarchy_Inat_animal": (5388, (1, 6, 27, 152, 715, 2988, 5388), {7: 5388}, 9277, 9277),
    "hierarchy_Inat_plantae": (4271, (1, 5, 14, 85, 286, 1702, 4271), {7: 4271}, 6364, 6364),
    "hierarchy_imagenet_animal": (
        397,
        (1, 2, 10, 37, 81, 123, 81, 65, 41, 64, 34, 2),
        {4: 15, 5: 44, 6: 95, 7: 67, 8: 56, 9: 33, 10: 52, 11: 33, 12: 2},
        541,
        541,
    ),
    "hierarchy_imagenet_artifact": (
        494,
        (1, 5, 40, 149, 205, 162, 62, 44),
        {3: 16, 4: 88, 5: 158, 6: 140, 7: 48, 8: 44},
        668,
        669,
    ),
    "hierarchy_CUB200": (200, (13, 37, 124, 200), {4: 200}, 372, 374),
    "hierarchy_Food": (84, (1, 6, 29, 40, 24), {3: 24, 4: 36, 5: 24}, 100, 100),
}


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[str, ...]]:
    """Ragged paths over few names, so that names repeat across branches and levels; no leaf above another."""
    paths = draw(
        st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5).map(tuple), min_size=1, max_size=25)
    )
    inner = {path[:length] for path in paths for length in range(1, len(path))}
    return sorted(set(paths) - inner)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_trees_have_the_published_counts(published: Path, name: str) -> None:
    leaves, nodes, lengths, names, paths = PUBLISHED[name]
    tree = Taxonomy.from_json(published / f"{name}.json")
    data = json.loads((published / f"{name}.json").read_text())
    assert (len(tree), tree.leaves) == (leaves, tuple(data))
    assert tuple(len(set(tree.names(level))) for level in tree.levels) == nodes  # the paper counts names
    assert Counter(tree.depths.tolist()) == lengths
    assert sum(len(tree.nodes(level)) for level in tree.levels) == paths
    assert len({name for level in tree.levels for name in tree.names(level)}) == names
    assert all(tree.path(leaf) == tuple(path) for leaf, path in data.items())


def test_names_with_two_parents_are_reported_and_kept_apart(published: Path) -> None:
    shared = {name: Taxonomy.from_json(published / f"{name}.json").shared_names for name in PUBLISHED}
    assert {name for name in shared if shared[name]} == {"hierarchy_imagenet_artifact"}
    above = ("artifact", "instrumentality")
    nodes = {(*above, parent, "sports equipment") for parent in ("implement", "equipment")}
    assert {name: set(paths) for name, paths in shared["hierarchy_imagenet_artifact"].items()} == {
        "sports equipment": nodes
    }
    assert nodes <= set(Taxonomy.from_json(published / "hierarchy_imagenet_artifact.json").nodes("level4"))
    assert set(Taxonomy.from_json(published / "hierarchy_CUB200.json").repeated_names) == {"Sayornis", "Geococcyx"}


def test_lca_depth_of_the_largest_tree(published: Path) -> None:
    tree = Taxonomy.from_json(published / "hierarchy_Inat_animal.json")
    assert tree.lca_depth.shape == (5388, 5388)
    assert tree.lca_depth.nbytes < 100e6
    rng = np.random.default_rng(0)
    for a, b in rng.integers(5388, size=(200, 2)):
        shared = [x == y for x, y in zip(tree.paths[a], tree.paths[b], strict=True)]
        assert tree.lca_depth[a, b] == ([*shared, False]).index(False)


def test_other_published_json_trees_load(published: Path) -> None:
    folder = published.parent / "hierarchies"
    cifar = Taxonomy.from_json(folder / "cifar100_coarse_fine.json", levels=("superclass", "class"))
    assert [len(cifar.nodes(level)) for level in ("superclass", "class")] == [20, 100]
    pets = Taxonomy.from_json(folder / "oxford_iiit_pet_species_breed.json", drop_root=True)
    assert [len(pets.nodes(level)) for level in pets.levels] == [2, 37]


def test_a_leaf_named_like_its_genus_is_two_nodes() -> None:
    tree = Taxonomy.from_dict(BIRDS, levels=("order", "family", "genus", "species"))
    assert tree.nodes("genus")[-1] == ("Passeriformes", "Tyrannidae", "Sayornis")
    assert tree.nodes("species")[-1] == (*tree.nodes("genus")[-1], "Sayornis")
    assert tree.codes.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 2]]
    assert tree.parent_codes("species").tolist() == [0, 0, 1]
    assert tree.parent_codes("order").tolist() == [-1, -1]
    assert tree.lca_depth.tolist() == [[4, 3, 0], [3, 4, 0], [0, 0, 4]]


@given(trees())
def test_codes_say_what_the_paths_say(paths: list[tuple[str, ...]]) -> None:
    tree = Taxonomy.from_paths(paths)
    assert tree.paths == tuple(paths)
    assert len(set(tree.leaves)) == len(paths)
    for leaf, path in enumerate(paths):
        codes = tree.codes[leaf]
        assert [tree.nodes(level)[code] for level, code in enumerate(codes) if code >= 0] == [
            path[: length + 1] for length in range(len(path))
        ]
        assert (codes >= 0).tolist() == [level < len(path) for level in range(len(tree.levels))]
        assert tree.index(tree.leaves[leaf]) == leaf
        for level in range(1, len(path)):
            assert tree.parent_codes(level)[codes[level]] == codes[level - 1]
    for a, one in enumerate(paths):
        for b, other in enumerate(paths):
            shared = sum(1 for k in range(1, min(len(one), len(other)) + 1) if one[:k] == other[:k])
            assert tree.lca_depth[a, b] == shared


@given(trees(), st.booleans())
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, paths: list[tuple[str, ...]], rooted: bool) -> None:
    tree = Taxonomy.from_paths([("root", *path) for path in paths] if rooted else paths)
    file = tmp_path_factory.mktemp("tree") / "taxonomy.json"
    tree.to_json(file)
    assert Taxonomy.from_json(file) == tree
    assert Taxonomy.from_dict(json.loads(json.dumps(tree.to_dict()))) == tree
    if rooted:
        dropped = Taxonomy.from_json(file, drop_root=True)
        assert dropped.paths == tuple(paths)
        assert dropped.levels == tree.levels[1:]


def test_leaves_of_one_name_get_labels_that_tell_them_apart() -> None:
    tree = Taxonomy.from_paths([("home", "other"), ("garden", "other"), ("garden", "spade")])
    assert tree.leaves == ("home/other", "garden/other", "spade")
    assert tree.shared_names == {"other": (("home", "other"), ("garden", "other"))}
    assert tree.path("Garden/Other") == ("garden", "other")
    with pytest.raises(InputError, match=r"'other' fits 2 leaves.*home/other.*garden/other"):
        tree.path("other")


def test_nested_objects_are_a_tree() -> None:
    data = {"animal": {"dog": {"beagle": {}, "boxer": None}, "cat": ["Bengal", "Persian"]}, "rock": {}}
    assert Taxonomy.from_dict(data).paths == (
        ("animal", "dog", "beagle"),
        ("animal", "dog", "boxer"),
        ("animal", "cat", "Bengal"),
        ("animal", "cat", "Persian"),
        ("rock",),
    )


def test_arrays_are_read_only() -> None:
    tree = Taxonomy.from_dict(BIRDS)
    for array in (tree.codes, tree.lca_depth, tree.depths, tree.parent_codes(1)):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_from_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for path in ("bird/owl", "bird/wren", "fish/cod/atlantic"):
            (tmp_path / split / path).mkdir(parents=True)
            (tmp_path / split / path / "x.JPG").write_bytes(b"x")
    (tmp_path / "train" / "empty").mkdir()
    expected = (("bird", "owl"), ("bird", "wren"), ("fish", "cod", "atlantic"))
    assert Taxonomy.from_folder(tmp_path).paths == expected
    assert load_taxonomy(tmp_path / "train").paths == expected
    (tmp_path / "train" / "bird" / "loose.png").write_bytes(b"x")
    with pytest.raises(InputError, match="bird is a leaf, and yet other leaves lie below it"):
        Taxonomy.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "at least one leaf"),
        ([], "should be an object"),
        ({"a": "b"}, "path of 'a' should be a list of names"),
        ({"a": []}, "a path should be a list of names"),
        ({"a": ["x", "b"]}, "path of 'a' should end in that leaf, but ends in 'b'"),
        ({"a": ["x", "", "a"]}, "not a name: ''"),
        ({"a": ["x", 3, "a"]}, "not a name: 3"),
        ({"A": ["x", "a"], "a": ["x", "a"]}, "'A' and 'a' have the same path: x / a"),
        ({"a": ["a"], "b": ["a", "b"]}, "a is a leaf, and yet other leaves lie below it"),
        ({"levels": ["one"], "leaves": ["a"], "paths": [["x", "a"]]}, r"1 level name \(one\) for paths of up to 2"),
        ({"levels": ["one", "one"], "leaves": ["a"], "paths": [["x", "a"]]}, "level names should be different"),
        ({"levels": ["one", "two"], "leaves": ["a", "b"], "paths": [["x", "a"]]}, "2 leaves but 1 paths"),
        ({"animal": {"dog": 3}}, "below animal / dog"),
    ],
)
def test_bad_data_is_one_clear_error(tmp_path: Path, data: Any, message: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(data))
    with pytest.raises(InputError, match=message) as raised:
        Taxonomy.from_json(file)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"a": ["x", "a"]', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b'{"a": ["x", "a"], "a": ["y", "a"]}', "the name 'a' is given twice"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_bad_files_are_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Taxonomy.from_json(file)


def test_absent_files_and_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Taxonomy.from_json(tmp_path / "absent.json")
    with pytest.raises(InputError, match="a folder, not a JSON file"):
        Taxonomy.from_json(tmp_path)
    with pytest.raises(InputError, match="3 level names"):
        Taxonomy.from_dict(BIRDS, levels=("a", "b", "c"))
    with pytest.raises(InputError, match="no root to drop: the top level 'level1' has 2 nodes"):
        Taxonomy.from_dict(BIRDS, drop_root=True)
    with pytest.raises(InputError, match="is the root itself"):
        Taxonomy.from_paths([("a",)], drop_root=True)
    with pytest.raises(InputError, match="no level 'ordre'; the levels are level1"):
        Taxonomy.from_dict(BIRDS).nodes("ordre")
    with pytest.raises(InputError, match="no leaf 'Laysan Albatros' in the taxonomy; nearest: 'Laysan Albatross'"):
        Taxonomy.from_dict(BIRDS).path("Laysan Albatros")


def test_byte_order_mark_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "bom.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(BIRDS).encode())
    assert Taxonomy.from_json(file) == Taxonomy.from_dict(BIRDS)
