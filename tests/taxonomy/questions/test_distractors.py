"""Which wrong options are drawn: against plain definitions, on ragged trees with names that meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from commandline import InputError
from taxonomy import Taxonomy
from taxonomy.names import normalise
from taxonomy.questions import draws
from taxonomy.questions.distractors import Rule, at_random, draw_questions, most_alike, nearest_in_tree
from tests.taxonomy.questions.trees import AWKWARD, trees

WIDE = Taxonomy.from_paths(
    [(f"o{a}", f"o{a}f{b}", f"o{a}f{b}s{c}") for a in range(3) for b in range(2) for c in range(3)]
)


def drawn(tree: Taxonomy, rule: Rule, copies: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(leaf, nodes, position) of questions about `copies` images of every leaf."""
    leaf = np.repeat(np.arange(len(tree)), copies)
    ids = [f"{row}.jpg" for row in range(len(leaf))]
    return leaf, *draw_questions(tree, leaf, [draws.words("d", ids, level, 0) for level in tree.levels], rule)


def by_hand(tree: Taxonomy, level: int, truth: int) -> dict[int, int]:
    """{code of a possible distractor: levels it shares with the truth}; of equal names the nearest, then the first."""
    nodes = tree.nodes(level)
    shares = [next((k for k in range(level + 1) if node[k] != nodes[truth][k]), level + 1) for node in nodes]
    best: dict[str, int] = {}
    for code, node in enumerate(nodes):
        name = normalise(node[-1])
        if name != normalise(nodes[truth][-1]) and (name not in best or shares[code] > shares[best[name]]):
            best[name] = code
    return {code: shares[code] for code in best.values()}


@given(trees(), st.sampled_from([at_random, nearest_in_tree]))
def test_every_question_is_one(tree: Taxonomy, rule: object) -> None:
    leaf, nodes, position = drawn(tree, rule(tree), copies=2)  # pyright: ignore[reportCallIssue]
    for row, path in enumerate(tree.codes[leaf]):
        for level, truth in enumerate(path.tolist()):
            options = [code for code in nodes[row, level].tolist() if code >= 0]
            if truth < 0:
                assert not options and position[row, level] == -1
                continue
            names = [normalise(tree.names(level)[code]) for code in options]
            assert options[position[row, level]] == truth
            assert len(set(names)) == len(names) == min(4, len({normalise(name) for name in tree.names(level)}))


@given(trees())
def test_siblings_are_the_nearest_there_are(tree: Taxonomy) -> None:
    leaf, nodes, _ = drawn(tree, nearest_in_tree(tree), copies=2)
    for row, path in enumerate(tree.codes[leaf]):
        for level, truth in enumerate(path.tolist()):
            if truth >= 0:
                pool = by_hand(tree, level, truth)
                wrong = [code for code in nodes[row, level].tolist() if code not in (-1, truth)]
                assert sorted((pool[code] for code in wrong), reverse=True) == sorted(pool.values(), reverse=True)[:3]


def test_ties_among_siblings_are_drawn_evenly() -> None:
    _, nodes, _ = drawn(WIDE, nearest_in_tree(WIDE), copies=1500)
    wrong = nodes[:1500, 2][nodes[:1500, 2] != 0]  # of the first species: two sisters always, one cousin of three
    counts = np.bincount(wrong, minlength=18)
    assert counts[1] == counts[2] == 1500
    assert counts[3:6].sum() == 1500 and counts[6:].sum() == 0
    assert chisquare(counts[3:6]).pvalue > 1e-3


def test_random_ones_are_drawn_evenly() -> None:
    _, nodes, position = drawn(WIDE, at_random(WIDE), copies=1500)
    wrong = nodes[:1500, 2][nodes[:1500, 2] != 0]
    assert chisquare(np.bincount(wrong, minlength=18)[1:]).pvalue > 1e-3
    assert chisquare(np.bincount(position[:, 2])).pvalue > 1e-3


def test_a_draw_depends_on_nothing_but_its_question() -> None:
    leaf = np.random.default_rng(0).integers(len(AWKWARD), size=300)
    ids = [f"{row}.jpg" for row in range(300)]
    chosen = np.random.default_rng(1).permutation(300)[:100]

    def some(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        random = [draws.words("d", [ids[row] for row in rows], level, 3) for level in AWKWARD.levels]
        return draw_questions(AWKWARD, leaf[rows], random, nearest_in_tree(AWKWARD))

    for one, other in zip(some(chosen), some(np.arange(300)), strict=True):
        np.testing.assert_array_equal(one, other[chosen])


@given(trees(), st.integers(0, 99))
def test_the_most_alike_are_those_of_a_full_sort(tree: Taxonomy, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = [rng.integers(4, size=(len(tree) * 2, len(tree.nodes(level)))) / 4 for level in tree.levels]  # many ties
    leaf, nodes, _ = drawn(tree, most_alike(tree, lambda level, truth, rows: table[level][rows]), copies=2)
    for row, path in enumerate(tree.codes[leaf]):
        for level, truth in enumerate(path.tolist()):
            if truth < 0:
                continue
            names = [normalise(name) for name in tree.names(level)]
            pool = [code for code, name in enumerate(names) if name != names[truth] and names.index(name) == code]
            best = sorted(pool, key=lambda code: (-table[level][row, code], code))[:3]
            assert sorted(code for code in nodes[row, level].tolist() if code not in (-1, truth)) == sorted(best)


def test_similarities_that_are_no_numbers() -> None:
    with pytest.raises(InputError, match="not all finite"):
        drawn(WIDE, most_alike(WIDE, lambda level, truth, rows: np.full((1, len(WIDE.nodes(level))), np.nan)))
