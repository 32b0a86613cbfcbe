"""Paired differences, against truth that is known."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from analysis.intervals import HCA, Hits, changes
from probing.results import ProbeRun
from tests.probing.planted import ragged_tree
from tests.probing.test_run import planted, probe


def hits(difference: float, seed: int = 0, n: int = 4000) -> Hits:
    """Two sites, one level: the second loses `difference` of what the first has, sample by sample."""
    rng = np.random.default_rng(seed)
    leaf = rng.integers(0, 80, n).astype(np.int32)
    easy = rng.random(80)[leaf]
    first = rng.random(n) < 0.5 + 0.4 * easy
    second = first & (rng.random(n) >= difference)
    right = np.stack([first, second])[:, :, None].astype(np.float32)
    return Hits(("a", "b"), ("level",), leaf, right)


def test_a_paired_difference_is_narrower_than_two_intervals_side_by_side() -> None:
    found = hits(0.03)
    (change, path) = changes(found, [("a", "b")], 1000, 0)
    assert (change.of, path.of) == ("level", HCA)
    assert change.difference == path.difference == pytest.approx(np.mean(found.right[1]) - np.mean(found.right[0]))
    assert change.low < change.difference < change.high < 0
    assert change.clear
    from probing.bootstrap import LeafBootstrap

    low, high = LeafBootstrap.of(found.leaf, 1000, 0).interval(found.right[0, :, 0])
    assert change.high - change.low < 0.6 * (high - low)


def test_the_interval_covers_the_planted_loss() -> None:
    covered = 0
    for seed in range(40):
        found = hits(0.1, seed, n=1500)
        change = changes(found, [("a", "b")], 400, seed)[0]
        rng = np.random.default_rng(seed)
        rng.integers(0, 80, 1500)
        expected = -0.1 * (0.5 + 0.4 * rng.random(80).mean())
        covered += change.low <= expected <= change.high
    assert covered >= 34


def test_paired_intervals_draw_leaves_not_samples() -> None:
    leaf = np.repeat(np.arange(80), 50).astype(np.int32)
    right = np.stack([np.ones(4000), leaf % 5 > 0])[:, :, None].astype(np.float32)  # whole leaves are lost
    change = changes(Hits(("a", "b"), ("level",), leaf, right), [("a", "b")], 4000, 0)[0]
    assert change.difference == pytest.approx(-0.2)
    assert change.high - change.low == pytest.approx(2 * 1.96 * np.sqrt(0.2 * 0.8 / 80), rel=0.1)


def test_no_difference_is_exactly_none() -> None:
    same = hits(0)
    change = changes(same, [("a", "b")], 200, 0)[0]
    assert (change.difference, change.low, change.high, change.clear) == (0, 0, 0, False)


@pytest.mark.slow
def test_hits_are_those_of_the_predictions(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr", ragged_tree())
    run = probe(store)
    sites = [record["site"] for record in run.hca]
    found = Hits.of(run.predictions(), sites, ["kind", "name"])
    assert found.right.shape == (5, 32, 2)
    ids = np.unique(run.predictions()["id"].to_numpy())
    assert found.leaf.tolist() == [int(name[1:]) // 16 for name in ids]  # sample s<row>, 16 rows a leaf
    for record in run.probes:
        if record["level"] != "root":
            share = np.nanmean(found.scores(record["site"])[record["level"]])
            assert share == pytest.approx(record["accuracy"])
    for record in run.hca:
        assert np.nanmean(found.scores(record["site"])[HCA]) == pytest.approx(record["hca"])
    assert np.isnan(found.right[0, np.isin(found.leaf, [6, 7]), 1]).all()


def test_columns_in_several_chunks_are_read_alike(tmp_path: Path) -> None:
    run = ProbeRun.open(probe(planted(tmp_path / "planted.zarr"), sites=["encoder.*"]).path)
    table = run.predictions()
    pieces = pa.concat_tables([table.slice(0, 7), table.slice(7, 60), table.slice(67)])
    levels = ["order", "family", "species"]
    whole = Hits.of(table, ["encoder.1", "encoder.2"], levels)
    np.testing.assert_array_equal(Hits.of(pieces, ["encoder.1", "encoder.2"], levels).right, whole.right)
