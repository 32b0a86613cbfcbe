"""Erasers against closed forms: what is to vanish vanishes, what is to stay stays."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from analysis.erasure.subspaces import Eraser, differences, leace, mean_projection, random_subspace
from analysis.erasure.tree import parents_of
from commandline import InputError
from hooks.edits import project_out
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree, clusters, ragged_tree, rows_of

TREE = balanced_tree((2, 4, 12), ("order", "family", "species"))
FITTERS = {"leace": leace, "mean": mean_projection}


def planted(tree: Taxonomy = TREE, width: int = 24) -> tuple[np.ndarray, np.ndarray]:
    leaf, _ = rows_of(tree, 20)
    return clusters(tree, leaf, 1.0, width)[0].astype(np.float64), leaf


def concept(tree: Taxonomy, leaf: np.ndarray, level: str, within: bool) -> np.ndarray:
    codes = tree.codes[leaf, tree.level_index(level)]
    return differences(codes, parents_of(tree, level)[codes] if within else None)


def means(X: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.stack([X[codes == code].mean(0) for code in range(codes.max() + 1)])


@pytest.mark.parametrize("method", FITTERS)
@pytest.mark.parametrize("level", TREE.levels)
def test_within_parents_every_child_gets_its_parents_mean(method: str, level: str) -> None:
    X, leaf = planted()
    codes, parents = TREE.codes[leaf, TREE.level_index(level)], parents_of(TREE, level)
    eraser = FITTERS[method](X, concept(TREE, leaf, level, within=True))
    after = means(eraser(X), codes)
    above = means(eraser(X), parents[codes])
    assert np.abs(means(X, codes) - means(X, parents[codes])[parents]).max() > 0.1
    assert np.allclose(after, above[parents], atol=1e-9)
    assert eraser.rank == {"order": 1, "family": 2, "species": 8}[level]


@pytest.mark.parametrize("method", FITTERS)
def test_a_level_erased_whole_takes_the_coarser_ones_with_it(method: str) -> None:
    X, leaf = planted()
    eraser = FITTERS[method](X, concept(TREE, leaf, "family", within=False))
    assert eraser.rank == 3
    for level in ("order", "family"):
        assert np.ptp(means(eraser(X), TREE.codes[leaf, TREE.level_index(level)]), axis=0).max() < 1e-9
    assert np.ptp(means(eraser(X), leaf), axis=0).max() > 0.1
    left = LinearRegression().fit(eraser(X), np.eye(4)[TREE.codes[leaf, 1]])
    assert left.score(eraser(X), np.eye(4)[TREE.codes[leaf, 1]]) < 1e-9


def test_offsets_of_orthogonal_levels_are_taken_out_one_at_a_time() -> None:
    """Means in closed form: each node has an axis of its own, so mean projection of one level moves no other's."""
    leaf = np.repeat(np.arange(12), 5)
    axes = np.concatenate([np.eye(4)[TREE.codes[leaf, 1]] * 3, np.eye(12)[leaf]], 1)
    eraser = mean_projection(axes, concept(TREE, leaf, "species", within=True))
    wanted = axes.copy()
    wanted[:, 4:] = means(axes[:, 4:], TREE.codes[leaf, 1])[TREE.codes[leaf, 1]]
    assert np.allclose(eraser(axes), wanted, atol=1e-12)


def test_the_mean_projection_is_the_usual_edit_about_the_mean() -> None:
    X, leaf = planted()
    eraser = mean_projection(X, concept(TREE, leaf, "order", within=False))
    step = means(X, TREE.codes[leaf, 0])
    usual = project_out(torch.tensor(step[1] - step[0]), torch.tensor(X.mean(0)))
    assert np.allclose(eraser(X), usual(torch.tensor(X), None).numpy(), atol=1e-9)  # pyright: ignore


def test_leace_is_its_papers_closed_form() -> None:
    """Theorem 4.3: r = x - W^+ P W (x - mean), P the orthogonal projection onto the column space of W cov(x, z).

    With enough rows the package's shrinkage of the covariance is all but none.
    """
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40_000, 5)) @ rng.normal(size=(5, 5))
    z = np.eye(3)[rng.integers(0, 3, len(X))]
    X += z @ rng.normal(size=(3, 5)) * 2
    centred, target = X - X.mean(0), z - z.mean(0)
    sizes, axes = np.linalg.eigh(centred.T @ centred / len(X))
    W, back = axes / np.sqrt(sizes) @ axes.T, axes * np.sqrt(sizes) @ axes.T
    span = np.linalg.svd(W @ (centred.T @ target / len(X)))[0][:, :2]
    wanted = X - centred @ (back @ span @ span.T @ W).T
    assert np.abs(leace(X, target)(X) - wanted).max() < 2e-3 * np.abs(X).max()


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_an_eraser_commutes_with_the_mean_over_tokens(seed: int, tokens: int) -> None:
    rng = np.random.default_rng(seed)
    eraser = Eraser(rng.normal(size=(7, 2)), rng.normal(size=(2, 7)), rng.normal(size=7))
    x = rng.normal(size=(tokens, 7))
    assert np.allclose(eraser(x).mean(0), eraser(x.mean(0)[None])[0], atol=1e-9)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_the_edit_is_the_map_in_the_models_dtype(dtype: torch.dtype, off: float) -> None:
    X, leaf = planted()
    eraser = leace(X, concept(TREE, leaf, "family", within=True))
    rows = torch.tensor(X[:9]).to(dtype)
    edited = eraser.edit()(rows)  # pyright: ignore[reportCallIssue]
    assert edited.dtype == dtype
    assert np.abs(edited.double().numpy() - eraser(rows.double().numpy())).max() < off
    with pytest.raises(InputError, match="24 values, and the rows have 3"):
        eraser.edit()(rows[:, :3])  # pyright: ignore[reportCallIssue]


def test_a_random_subspace_has_the_rank_and_leaves_the_rest() -> None:
    rng = np.random.default_rng(0)
    eraser = random_subspace(3, rng.normal(size=9), rng)
    x = rng.normal(size=(50, 9))
    assert eraser.rank == 3
    assert np.linalg.matrix_rank(eraser(x) - x) == 3
    assert np.allclose(eraser(eraser(x)), eraser(x))
    assert np.allclose(eraser(eraser.centre[None]), eraser.centre)


def test_rows_without_the_level_have_no_part_in_it() -> None:
    tree = ragged_tree()
    X, leaf = planted(tree, 12)
    found = concept(tree, leaf, "name", within=True)
    without = tree.codes[leaf, 2] < 0
    assert without.any()
    assert not found[without].any()
    assert np.allclose(found.sum(0), 0)
    assert mean_projection(X, found).rank == 4


def test_where_nothing_differs_nothing_is_erased() -> None:
    with pytest.raises(InputError, match="nothing to erase"):
        concept(ragged_tree(), np.arange(8), "root", within=True)
    chain = Taxonomy.from_paths([["a", "b"], ["c", "d"]], ["one", "two"])
    with pytest.raises(InputError, match="no parent has two nodes"):
        concept(chain, np.arange(2), "two", within=True)
