"""Park et al.'s estimator: its reference values, its closed form, and what its criterion says of noise."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.geometry import park_criterion, park_directions, unified_space
from commandline import InputError


@pytest.mark.parametrize("estimator", ["lda", "mean"])
def test_reference_values(shared, estimator):
    if shared is None:
        pytest.skip("no real data here")
    reference = np.load(shared / "data/geometry/park_reference.npz")
    names = [str(name) for name in reference["names"]]
    sets = {name: reference["rows_" + name.replace("/", "_")] for name in names}
    g = unified_space(reference["gamma"])
    found = park_directions(g, sets, estimator)
    assert np.abs(np.array([found[name] for name in names]) - reference[f"{estimator}_directions"]).max() < 1e-5
    parents = {name: name.split("/")[0] for name in names if "/" in name}
    cosines = park_criterion(g, sets, parents, estimator).true.reshape(2, 3)
    assert np.abs(cosines - reference[f"{estimator}_cos_child_minus_parent__parent"]).max() < 1e-5


def test_closed_form():
    """The steps of the published code, one after the other, with the shrinkage written out."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 10)) @ rng.normal(size=(10, 10)) + 3
    g = unified_space(rows)
    assert np.allclose(g.mean(0), 0, atol=1e-9)
    assert np.allclose(g.T @ g / 300, np.eye(10), atol=1e-9)
    members = g[:40]
    m, x = members.mean(0), members - members.mean(0)
    S = x.T @ x / 40
    mu = np.trace(S) / 10
    distance = ((S - mu * np.eye(10)) ** 2).sum()
    error = min(sum(((np.outer(row, row) - S) ** 2).sum() for row in x) / 40**2, distance)
    S = (1 - error / distance) * S + error / distance * mu * np.eye(10)
    u = np.linalg.pinv(S) @ m
    u /= np.linalg.norm(u)
    assert np.allclose(park_directions(g, {"w": np.arange(40)})["w"], (m @ u) * u, atol=1e-10)


def test_the_criterion_calls_noise_orthogonal():
    rng = np.random.default_rng(0)
    g = unified_space(rng.normal(size=(1200, 64)))
    sets = {f"p{i}": np.arange(i * 300, i * 300 + 300) for i in range(4)}
    parents = {f"p{i}c{j}": f"p{i}" for i in range(4) for j in range(3)}
    sets |= {f"p{i}c{j}": np.arange(i * 300 + j * 100, i * 300 + j * 100 + 100) for i in range(4) for j in range(3)}
    assert park_criterion(g, sets, parents).reads_orthogonal


def test_rows_without_an_inverse_covariance_are_refused():
    with pytest.raises(InputError, match="no inverse"):
        unified_space(np.random.default_rng(0).normal(size=(20, 30)))
