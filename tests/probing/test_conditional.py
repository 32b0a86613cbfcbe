"""A later site that repeats, that adds, and that adds noise."""

import numpy as np
import pytest

from commandline import InputError
from probing.conditional import conditional, parse_pairs
from probing.plan import make_plan
from probing.protocol import Settings
from probing.scores import Scorer
from tests.probing.planted import balanced_tree, clusters, rows_of


def test_what_is_added_is_found_and_what_is_repeated_is_not() -> None:
    tree = balanced_tree((2, 4, 8))
    leaf, split = rows_of(tree, 48)
    plan = make_plan(tree, leaf, split, [str(i) for i in range(len(leaf))])
    scorer = Scorer(plan, draws=1000, seed=0, refit=True)
    rng = np.random.default_rng(0)
    order = np.eye(2)[tree.codes[leaf, 0]] + 0.1 * rng.normal(size=(len(leaf), 2))
    order = order.astype(np.float32)
    settings = Settings((1.0, 1e-1, 1e-2, 1e-3))

    def added(later: np.ndarray) -> dict:
        return {record["level"]: record for record in conditional(order, later, plan, settings, scorer)}

    adds = added(clusters(tree, leaf, 0.2)[0])
    assert adds["order"]["bits_earlier"] > 0.9
    assert abs(adds["order"]["added"]) < 0.1
    assert adds["species"]["added_low"] > 1.2, "two of three bits are not in the earlier site"
    assert adds["species"]["added_null_high"] < 0.05
    assert adds["species"]["added"] == pytest.approx(adds["species"]["bits_both"] - adds["species"]["bits_earlier"])
    repeats = added(order @ rng.normal(size=(2, 2)).astype(np.float32))
    for record in repeats.values():
        assert abs(record["added"]) < 0.05
        assert record["converged"]
        assert (record["n_test"], record["leaves_test"]) == (96, 8)


def test_pairs() -> None:
    sites = ["projector", "llm.final"]
    assert parse_pairs(["projector+llm.final"], sites) == [("projector", "llm.final")]
    for wrong in ("projector", "projector+projector", "projector+llm.9", "a+b+c"):
        with pytest.raises(InputError, match="no pair of different sites"):
            parse_pairs([wrong], sites)
