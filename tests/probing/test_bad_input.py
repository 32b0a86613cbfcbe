"""Input that is wrong, odd or too little, through `python -m probing` and `LinearProbe`: defined, or one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from commandline import main
from probing import LinearProbe
from probing.__main__ import COMMANDS
from probing.results import ProbeRun
from tests.probing.planted import balanced_tree, clusters, ragged_tree, rows_of, write_store

TREE = balanced_tree((2, 4, 8))
LEAF, SPLIT = rows_of(TREE, 16)
X = clusters(TREE, LEAF, 0.3)[0]


def command(store: Path) -> int:
    words = [str(store), "--penalties=[1.0,0.01]", "--shuffles=1", "--bootstrap=1000", "--duplicates=ignore"]
    return main("python -m probing", COMMANDS, "run", words)


def probed(folder: Path, features: np.ndarray = X, leaf: np.ndarray = LEAF, split: np.ndarray = SPLIT, tree=TREE):
    """The records of a run by level, that of the site, and the run."""
    store = write_store(folder / "s.zarr", {"llm.0": features}, leaf, split, tree)
    assert command(store) == 0
    found = ProbeRun.open(store)
    return {record["level"]: record for record in found.probes}, found.hca[0], found


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (slice(0, 1), "of 1 usable rows none is in the test split"),
        (slice(15, 16), "of 1 usable rows none is in the train split"),
        (
            slice(0, 16),
            "no level can be probed (order: its training rows are all of one node; family: its",
        ),
    ],
)
def test_too_few_samples_are_told_in_a_sentence(
    tmp_path: Path, part: slice, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "s.zarr", {"llm.0": X[part]}, LEAF[part], SPLIT[part], TREE)
    assert command(store) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "s.probe").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_told_by_their_sample(
    tmp_path: Path, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = X.copy()
    broken[7, 3] = value
    store = write_store(tmp_path / "s.zarr", {"llm.0": broken}, LEAF, SPLIT, TREE)
    assert command(store) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ")
    assert "1 rows marked ok hold NaN or infinity at llm.0, the first is sample 's7'" in told


def test_a_level_of_one_class_is_kept_and_not_scored(tmp_path: Path) -> None:
    tree = ragged_tree()
    leaf, split = rows_of(tree, 16)
    levels, whole, _ = probed(tmp_path, clusters(tree, leaf, 0.1)[0], leaf, split, tree)
    assert levels["root"]["unscored"] == "it has one node"
    assert whole["levels"] == "kind,name"


def test_a_level_with_one_class_in_training_is_kept_and_not_scored(tmp_path: Path) -> None:
    """The second order's leaves are all in test: orders cannot be told apart, and its families count as wrong."""
    split = np.where(LEAF >= 4, "test", SPLIT)
    levels, whole, _ = probed(tmp_path, split=split)
    assert levels["order"]["unscored"] == "its training rows are all of one node"
    assert whole["levels"] == "family,species"


def test_a_class_without_training_rows_counts_as_wrong_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = np.where(LEAF == 7, "test", SPLIT)
    levels, _, found = probed(tmp_path, split=split)
    species = levels["species"]
    assert (species["unseen"], species["n_test"], species["classes"]) == (16, 44, 7)
    rows = [row for row in found.predictions().to_pylist() if row["level"] == "species"]
    assert {row["predicted"] for row in rows if row["true"] == 7} <= set(range(7))
    assert species["accuracy"] <= 28 / 44 < levels["family"]["accuracy"]
    assert np.isfinite(species["log_loss"]), "samples of it are left out of losses"
    assert "Test samples whose species was never trained on: 16; they count as wrong." in capsys.readouterr().out


def test_constant_features_know_nothing_and_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "all").mkdir()
    padded = np.hstack([X, np.full((len(X), 3), 5, np.float32), np.zeros((len(X), 1), np.float32)])
    plain, padded_levels = probed(tmp_path, X)[0], probed(tmp_path / "some", padded)[0]
    for level, record in plain.items():
        assert padded_levels[level]["accuracy"] == record["accuracy"]
        assert padded_levels[level]["log_loss"] == pytest.approx(record["log_loss"], abs=1e-3)
    levels, whole, _ = probed(tmp_path / "all", np.full_like(X, 3))
    for record in levels.values():
        assert record["accuracy"] == record["majority"] == 1 / record["classes"]
        assert record["converged"]
        assert record["p_adjusted"] > 0.05
        assert record["usable_bits"] == pytest.approx(0, abs=1e-4)
    assert whole["hca"] <= whole["shuffled_high"]


def test_fewer_samples_than_features(tmp_path: Path) -> None:
    wide = clusters(TREE, LEAF, 0.3, width=400)[0]
    levels, whole, _ = probed(tmp_path, wide)
    assert whole["hca"] == 1
    assert all(record["converged"] and record["n_train"] < 400 for record in levels.values())


def test_codes_with_gaps_are_read_as_they_are(tmp_path: Path) -> None:
    """Only every third leaf of the tree has samples: the classes are the codes that there are."""
    tree = balanced_tree((3, 12, 36))
    leaf = np.repeat(np.arange(1, 36, 3, dtype=np.int32), 16)
    split = np.tile(SPLIT[:16], 12)
    levels, whole, found = probed(tmp_path, clusters(tree, leaf, 0.05)[0], leaf, split, tree)
    assert levels["species"]["classes"] == 12
    predicted = {row["predicted"] for row in found.predictions().to_pylist() if row["level"] == "species"}
    assert predicted == set(range(1, 36, 3))
    assert min(whole["hca"], whole["leaf_lookup"], whole["joint"], whole["top_down"]) > 0.9


Y = LEAF[SPLIT == "train"] * 3 - 5
"""Labels with gaps, some below 0."""
TRAINING = X[SPLIT == "train"].astype(np.float64)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (TRAINING, np.zeros(64, int), "the labels hold one class"),
        (TRAINING[:1], Y[:1], "the labels hold one class"),
        (TRAINING[:0], Y[:0], "0 sample"),
        (np.where(np.arange(12) == 3, np.nan, TRAINING), Y, "NaN"),
        (np.where(np.arange(12) == 3, np.inf, TRAINING), Y, "infinity"),
        (TRAINING, Y[:9], "inconsistent numbers of samples"),
        (TRAINING, TRAINING[:, 0], "Unknown label type"),
    ],
)
def test_linear_probe_refuses_in_a_sentence(features: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearProbe().fit(features, labels)


def test_linear_probe_on_odd_but_sound_input() -> None:
    probe = LinearProbe(penalty=1e-3, tol=1e-8).fit(TRAINING, Y)
    assert probe.classes_.tolist() == sorted(set(Y.tolist()))
    assert set(probe.predict(TRAINING)) <= set(Y)
    assert probe.score(TRAINING, np.where(Y[0] == Y, 999, Y)) == probe.score(TRAINING, Y) - 8 / 64

    padded = np.hstack([TRAINING, np.full((64, 2), 7.0)])
    constant = LinearProbe(penalty=1e-3, tol=1e-8).fit(padded, Y)
    assert not constant.coef_[:, 12:].any()
    np.testing.assert_allclose(constant.coef_[:, :12], probe.coef_, atol=1e-6)

    nothing = LinearProbe().fit(np.ones((64, 5)), Y)
    np.testing.assert_allclose(nothing.predict_proba(np.ones((1, 5))), np.full((1, 8), 1 / 8), atol=1e-4)

    wide = clusters(TREE, LEAF, 0.3, width=400)[0][SPLIT == "train"]
    many = LinearProbe().fit(wide, Y)
    assert many.converged_
    assert many.score(wide, Y) == 1
