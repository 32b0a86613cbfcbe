"""Readings of the same probes, against brute force over every leaf of small trees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probing.decoding import LevelScores, independent, joint, leaf_lookup, top_down
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree, ragged_tree

TREES = [
    balanced_tree((2, 4, 8)),
    balanced_tree((3, 5, 5)),
    ragged_tree(),
    Taxonomy.from_paths([["a", "b", "c", "d"], ["a", "b", "e"], ["f", "g"], ["a", "h", "i", "j"]], list("wxyz")),
]
Case = tuple[Taxonomy, np.ndarray, list[LevelScores], np.ndarray | None]


@st.composite
def cases(draw: st.DrawFn, with_options: bool = False) -> Case:
    """A tree, true leaves, scores of probes (some classes never trained on), and four options a level."""
    tree = draw(st.sampled_from(TREES))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    leaf = rng.integers(0, len(tree), draw(st.integers(1, 9)))
    truth = tree.codes[leaf]
    scores = []
    for level in range(len(tree.levels)):
        count = len(tree.nodes(level))
        classes = np.sort(rng.choice(count, size=max(1, count - draw(st.integers(0, 2))), replace=False))
        values = np.log(rng.dirichlet(np.ones(len(classes)), len(leaf))).astype(np.float32)
        values[truth[:, level] < 0] = np.nan
        scores.append(LevelScores(classes, values))
    if not with_options:
        return tree, truth, scores, None
    options = np.full((*truth.shape, 4), -1)
    for (sample, level), code in np.ndenumerate(truth):
        others = rng.permutation(len(tree.nodes(level)))
        if code >= 0:
            options[sample, level, : min(4, len(others))] = [code, *others[others != code]][:4]
    return tree, truth, scores, options


def value(score: LevelScores, sample: int, code: int) -> float:
    place = np.flatnonzero(score.classes == code)
    return float(score.values[sample, place[0]]) if len(place) else -np.inf


def paths_like(tree: Taxonomy, true: np.ndarray) -> list[list[int]]:
    """The paths of leaves cut to the levels that a sample has, in the order of their codes."""
    levels = np.flatnonzero(true >= 0)
    return [list(path) for path in sorted({tuple(row[levels]) for row in tree.codes if (row[levels] >= 0).all()})]


@settings(max_examples=150, deadline=None)
@given(cases())
def test_joint_decoding_finds_the_path_that_brute_force_finds(case: Case) -> None:
    tree, truth, scores, _ = case
    found = joint(scores, tree.codes, truth)
    for sample, true in enumerate(truth):
        levels = np.flatnonzero(true >= 0)
        totals = [
            sum(value(scores[level], sample, code) for level, code in zip(levels, path, strict=True))
            for path in paths_like(tree, true)
        ]
        if np.isfinite(max(totals)):
            got = paths_like(tree, true).index(found[sample, levels].tolist())
            assert totals[got] == pytest.approx(max(totals), abs=1e-4)
        else:
            assert (found[sample] == -1).all()
        assert (found[sample, true < 0] == -1).all()


@settings(max_examples=150, deadline=None)
@given(cases())
def test_top_down_goes_from_child_to_best_child(case: Case) -> None:
    tree, truth, scores, _ = case
    found = top_down(scores, tree.codes, truth)
    for sample, true in enumerate(truth):
        left = paths_like(tree, true)
        for column, level in enumerate(np.flatnonzero(true >= 0)):
            children = sorted({path[column] for path in left})
            best = max(children, key=lambda code: value(scores[level], sample, code), default=-1)
            if best < 0 or not np.isfinite(value(scores[level], sample, best)):
                best = -1
            assert found[sample, level] == best
            left = [path for path in left if path[column] == best]


@settings(max_examples=100, deadline=None)
@given(cases(with_options=True))
def test_options_bind_every_reading(case: Case) -> None:
    tree, truth, scores, options = case
    assert options is not None
    alone, down, whole = (
        independent(scores, truth, options),
        top_down(scores, tree.codes, truth, options),
        joint(scores, tree.codes, truth, options),
    )
    for sample, true in enumerate(truth):
        levels = np.flatnonzero(true >= 0)
        for column, level in enumerate(levels):
            offered = [code for code in options[sample, level] if code >= 0]
            best = max(offered, key=lambda code: value(scores[level], sample, code))
            finite = np.isfinite(value(scores[level], sample, best))
            assert alone[sample, level] == (best if finite else -1)
            assert down[sample, level] in ([*offered] if finite else [-1])
            if column and finite:
                parent = {row[level]: row[levels[column - 1]] for row in tree.codes if row[level] >= 0}
                below = [
                    code
                    for code in offered
                    if parent[code] == down[sample, levels[column - 1]]
                    and np.isfinite(value(scores[level], sample, code))
                ]
                expected = max(below or offered, key=lambda code: value(scores[level], sample, code))
                assert down[sample, level] == expected
        paths = [path for path in paths_like(tree, true) if path[-1] in options[sample, levels[-1]]]
        totals = [sum(value(scores[k], sample, code) for k, code in zip(levels, path, strict=True)) for path in paths]
        if np.isfinite(max(totals)):
            got = totals[paths.index(whole[sample, levels].tolist())]
            assert got == pytest.approx(max(totals), abs=1e-4)


def test_without_options_independent_is_the_plain_argmax_and_coherent_scores_agree_everywhere() -> None:
    tree = balanced_tree()
    truth = tree.codes
    scores = [
        LevelScores(np.arange(count), np.where(np.arange(count) == truth[:, [level]], 0, -9).astype(np.float32))
        for level, count in enumerate((2, 4, 8))
    ]
    for found in (
        independent(scores, truth),
        top_down(scores, tree.codes, truth),
        joint(scores, tree.codes, truth),
        leaf_lookup(np.arange(8), scores[2].values, tree.codes, truth),
    ):
        np.testing.assert_array_equal(found, truth)


def test_joint_and_top_down_differ_where_a_sure_child_outweighs_an_unsure_parent() -> None:
    tree = balanced_tree((2, 4), ("genus", "species"))
    truth = tree.codes[:1]
    scores = [
        LevelScores(np.arange(2), np.log([[0.4, 0.6]]).astype(np.float32)),
        LevelScores(np.arange(4), np.log([[0.94, 0.02, 0.02, 0.02]]).astype(np.float32)),
    ]
    assert independent(scores, truth).tolist() == [[1, 0]]
    assert top_down(scores, tree.codes, truth).tolist() == [[1, 2]]
    assert joint(scores, tree.codes, truth).tolist() == [[0, 0]]
    assert leaf_lookup(np.arange(4), scores[1].values, tree.codes, truth).tolist() == [[0, 0]]


def test_leaf_lookup_among_options_is_the_best_offered_leaf() -> None:
    tree = balanced_tree()
    truth = tree.codes[[5]]
    values = np.log(np.array([[0.5, 0.2, 0.05, 0.05, 0.05, 0.06, 0.04, 0.05]], np.float32))
    options = np.full((1, 3, 4), -1)
    options[0, 2] = [5, 6, 7, 3]
    assert leaf_lookup(np.arange(8), values, tree.codes, truth, options).tolist() == [tree.codes[5].tolist()]
