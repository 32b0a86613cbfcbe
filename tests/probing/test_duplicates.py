"""Copies across the split, planted and found."""

import numpy as np
import pytest

from probing.duplicates import find_duplicates
from probing.plan import capped


def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 unlike rows, of which test row 50 is the file of row 3, and test row 51 nearly the picture of row 7."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(60, 32)) + 50).astype(np.float32)  # a common part that makes all cosines nearly 1
    split = np.array(["train"] * 40 + ["validation"] * 10 + ["test"] * 10)
    sha = np.array([f"{row:064d}" for row in range(60)], object)
    X[50], sha[50] = X[3], sha[3]
    X[51] = X[7] + 0.02 * rng.normal(size=32)
    return X, split, sha


def test_equal_files_and_nearly_equal_pictures_are_found_and_nothing_else() -> None:
    X, split, sha = planted()
    found = find_duplicates(split, sha, X)
    assert np.flatnonzero(found.exact).tolist() == [50]
    assert np.flatnonzero(found.near).tolist() == [50, 51]
    assert found.nearest[[50, 51]].tolist() == [3, 7]
    report = found.report([f"s{row}" for row in range(60)], split, np.arange(60))
    assert (report["test"], report["exact"], report["near"], report["other_leaf"]) == (10, 1, 2, 2)
    assert report["pairs"] == [{"test": "s50", "fitted": "s3"}, {"test": "s51", "fitted": "s7"}]
    assert report["similarity"]["0.5"] < 0.9


def test_similarity_is_the_largest_cosine_less_the_mean_in_blocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probing.duplicates.BLOCK_ROWS", 3)
    X, split, sha = planted()
    found = find_duplicates(split, sha, X)
    assert found.similarity is not None
    centred = X - X[:50].mean(0)
    for row in range(50, 60):
        cosines = [c @ centred[row] / np.linalg.norm(c) / np.linalg.norm(centred[row]) for c in centred[:50]]
        assert found.similarity[row] == pytest.approx(max(cosines), abs=1e-4)
    assert np.isnan(found.similarity[:50]).all()


def test_without_features_only_files_are_compared_and_unknown_hashes_are_not() -> None:
    _, split, sha = planted()
    sha[4] = sha[52] = ""
    assert np.flatnonzero(find_duplicates(split, sha).near).tolist() == [50]


def test_a_cap_leaves_test_alone_and_goes_by_id() -> None:
    rng = np.random.default_rng(0)
    leaf, split = np.repeat(np.arange(5), 12), np.tile(["train"] * 7 + ["validation"] * 2 + ["test"] * 3, 5)
    ids = [f"s{row}" for row in range(60)]
    keep = capped(split, leaf, ids, 4, seed=0)
    assert (np.bincount(leaf[keep & (split != "test")]) == 4).all()
    assert keep[split == "test"].all()
    order = rng.permutation(60)
    again = capped(split[order], leaf[order], [ids[row] for row in order], 4, seed=0)
    assert {ids[row] for row in np.flatnonzero(keep)} == {ids[order[row]] for row in np.flatnonzero(again)}
    assert {ids[r] for r in np.flatnonzero(keep)} != {ids[r] for r in np.flatnonzero(capped(split, leaf, ids, 4, 1))}
