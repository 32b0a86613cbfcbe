"""Codes that decode: probabilities that sum to one, lengths known in closed form, planted features that save bits."""

import math

import numpy as np
import pytest

from probing.description import description, escape_bits, laplace_bits
from probing.plan import make_plan
from probing.protocol import Settings
from tests.probing.planted import balanced_tree, clusters, ragged_tree, rows_of

SETTINGS = Settings((1.0, 1e-1, 1e-2, 1e-3))


def test_laplace_s_code_has_its_closed_form() -> None:
    codes = np.array([0, 0, 1, -1, 0, 2])
    n, classes, counts = 5, 4, [3, 1, 1, 0]
    exact = math.log2(math.factorial(n + classes - 1) / math.factorial(classes - 1))
    exact -= sum(math.log2(math.factorial(count)) for count in counts)
    assert laplace_bits(codes, classes).sum() == pytest.approx(exact)


def test_escaping_leaves_a_probability_distribution() -> None:
    scores = np.log(np.random.default_rng(0).dirichlet(np.ones(3), 1))
    bits = [escape_bits(scores, np.array([1, 2, 5]), np.array([code]), 10, 7)[0] for code in range(7)]
    assert sum(2**-b for b in bits) == pytest.approx(1)
    assert bits[0] == pytest.approx(math.log2(17))
    assert escape_bits(scores, np.array([0, 1, 2]), np.array([-1]), 10, 3)[0] == 0


def test_planted_features_save_what_they_hold_and_noise_saves_nothing() -> None:
    tree = balanced_tree((2, 4, 8))
    leaf, split = rows_of(tree, 64)
    plan = make_plan(tree, leaf, split, [str(i) for i in range(len(leaf))])
    known = {r["level"]: r for r in description(clusters(tree, leaf, 0.1)[0], plan, SETTINGS, 1000)}
    noise = np.random.default_rng(0).normal(size=(len(leaf), 12)).astype(np.float32)
    for level, record in known.items():
        bits = math.log2(len(tree.nodes(level)))
        assert record["n"] == 384
        assert record["uniform_bits"] == pytest.approx(384 * bits)
        assert 0.75 * bits < record["saved"] < bits
        assert record["saved_low"] <= record["saved"] <= record["saved_high"]
        assert record["compression"] > 4
        assert record["converged"]
    for record in description(noise, plan, SETTINGS, 1000):
        assert record["saved"] < 0.02
        assert record["compression"] < 1.02


def test_less_data_needed_is_a_shorter_code_at_equal_final_accuracy() -> None:
    tree = balanced_tree((2, 4, 8))
    leaf, split = rows_of(tree, 64)
    plan = make_plan(tree, leaf, split, [str(i) for i in range(len(leaf))])
    X, _ = clusters(tree, leaf, 0.1)
    noisy = np.hstack([X, np.random.default_rng(0).normal(size=(len(leaf), 200)).astype(np.float32)])
    plain, hidden = (description(features, plan, SETTINGS, 1000)[-1]["online_bits"] for features in (X, noisy))
    assert plain < hidden


def test_ragged_levels_are_coded_where_they_are() -> None:
    tree = ragged_tree()
    leaf, split = rows_of(tree, 16)
    plan = make_plan(tree, leaf, split, [str(i) for i in range(len(leaf))])
    found = {r["level"]: r for r in description(clusters(tree, leaf, 0.1)[0], plan, SETTINGS, 1000)}
    assert (found["kind"]["n"], found["name"]["n"]) == (96, 72)
