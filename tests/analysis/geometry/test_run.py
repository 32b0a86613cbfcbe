"""The command from a store to its tables: planted truth, interruptions, and every way of using it wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

import analysis.geometry.run as command
from analysis.__main__ import COMMANDS
from analysis.geometry import Rule, orthogonality, writing
from commandline import main
from extract import Store
from probing.results import write_table
from tests.probing.planted import balanced_tree, write_store

TREE = balanced_tree((4, 16, 64), ("order", "family", "species"))
WIDTH, PER_LEAF = 96, 8
QUICK = ("--draws", "60", "--device", "cpu")


def planted(kind: str, seed: int = 0) -> np.ndarray:
    """Features (sample, feature): no tree at all; random offsets, all but orthogonal; or each family's offset at 60
    degrees from its order (and each species' from its family), one half of the children each way."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(64 * PER_LEAF, WIDTH))
    if kind == "noise":
        return X
    above = np.zeros((1, WIDTH))
    for level, size in enumerate((4, 16, 64)):
        offsets = rng.normal(size=(size, WIDTH)) / WIDTH**0.5
        if kind == "violated" and level:
            parent = above[TREE.parent_codes(level)]
            unit = parent / np.linalg.norm(parent, axis=1, keepdims=True)
            offsets -= (offsets * unit).sum(1, keepdims=True) * unit
            offsets /= np.linalg.norm(offsets, axis=1, keepdims=True)
            sign = np.tile([1, 1, -1, -1], size // 4)[:, None]
            offsets = 0.87 * offsets + 0.5 * sign * unit
        above = (above[TREE.parent_codes(level)] if level else above) + 8 * offsets * 0.7**level
    return X + np.repeat(above, PER_LEAF, 0)


def store_at(path: Path, sites: dict[str, str], tree: Any = TREE, **options: Any) -> Path:
    leaf = np.repeat(np.arange(64, dtype=np.int32), PER_LEAF)
    split = np.where(np.arange(len(leaf)) % PER_LEAF < 6, "train", "test")
    features = {site: planted(kind).astype(np.float32) for site, kind in sites.items()}
    return write_store(path, features, leaf, split, tree, **options)


SITES = {"encoder.1": "noise", "projector": "orthogonal", "llm.0": "violated"}


def geometry(*words: str | Path) -> int:
    return main("python -m analysis", COMMANDS, None, ["geometry", *map(str, words)])


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_at(tmp_path_factory.mktemp("geometry") / "planted.zarr", SITES)


@pytest.fixture(scope="module")
def found(store: Path) -> Path:
    assert geometry(store, *QUICK) == 0
    return store.with_name("planted.geometry")


def test_planted_truth_is_called_by_its_name(found: Path) -> None:
    wanted = {"noise": "not identifiable", "orthogonal": "orthogonal", "violated": "violated"}
    verdicts = rows(found, "verdicts")
    assert [(r["site"], r["inner_product"], r["child"]) for r in verdicts] == [
        (site, product, child)
        for site in SITES
        for product in ("euclidean", "within")
        for child in ("family", "species")
    ]
    for record in verdicts:
        # Whitening turns angles, so that only the Euclidean truth was planted there.
        if record["inner_product"] == "euclidean" or SITES[record["site"]] != "violated":
            assert record["verdict"] == wanted[SITES[record["site"]]], record
        assert (record["n"], record["d"], record["leaves"]) == (64 * 6, WIDTH, 64)
    summary = json.loads((found / "summary.json").read_text())
    assert [(one["site"], one["verdict"]) for one in summary["verdicts"]] == [
        (r["site"], r["verdict"]) for r in verdicts
    ]


def test_the_numbers_are_those_of_the_function(store: Path, found: Path) -> None:
    opened = Store.open(store)
    train = np.flatnonzero(opened.samples.split == "train")
    X, leaf = opened.matrix("projector", train), opened.samples.leaf[train]
    direct = orthogonality(X, leaf, TREE, 0, inner_product="within", rule=Rule(draws=60))
    mine = [r for r in rows(found, "geometry") if (r["site"], r["inner_product"]) == ("projector", "within")]
    wanted = {(r["statistic"], r["parent"], r["child"], r["null"]): r for r in direct.table}
    table = {(r["statistic"], r["parent"], r["child"], r["null"]): r for r in mine}
    assert wanted.keys() <= table.keys()
    for key, record in wanted.items():
        np.testing.assert_equal(table[key]["value"], record["value"])
        np.testing.assert_equal(table[key]["null_mean"], record["null_mean"])
    cosines = [r for r in rows(found, "cosines") if (r["site"], r["inner_product"]) == ("projector", "within")]
    assert [record["node"] for record in cosines] == [record["node"] for record in direct.nodes]
    assert np.array_equal(np.array([record["cosines"] for record in cosines], np.float32), direct.cosines)
    assert {record["site"] for record in rows(found, "edges")} == set(SITES)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures: they take longer than all else, and are looked at elsewhere."""
    monkeypatch.setattr(writing, "drawings", lambda *_: [])


@pytest.fixture
def counted(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is measured; the third measurement is interrupted once."""
    calls: list[str] = []
    stops = [2]

    def measure(*arguments: Any, **settings: Any) -> Any:
        if len(calls) in stops:
            stops.clear()
            raise KeyboardInterrupt
        calls.append(settings["inner_product"])
        return orthogonality(*arguments, **settings)

    monkeypatch.setattr(command, "orthogonality", measure)
    return calls


def test_it_goes_on_where_it_was_stopped_and_ends_the_same(
    store: Path, found: Path, counted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again.geometry"
    assert geometry(store, *QUICK, "--out", out) == 130
    assert "finished sites are kept" in capsys.readouterr().err
    assert not out.exists()
    parts = sorted((tmp_path / ".again.geometry.parts").iterdir())
    assert len(parts) == len(counted) == 2
    parts[0].write_bytes(parts[0].read_bytes()[:1000])  # as a full disk, or another program, may leave it
    assert geometry(store, *QUICK, "--out", out) == 0
    assert len(counted) == 2 + 5
    for name in ("verdicts", "geometry", "levels", "edges", "siblings", "cosines"):
        np.testing.assert_equal(rows(out, name), rows(found, name))
    assert not list(tmp_path.glob(".*.parts"))


def test_parts_of_another_question_are_not_looked_at(store: Path, counted: list[str], tmp_path: Path) -> None:
    words = (store, "--device", "cpu", "--inner_products", "euclidean", "--out", tmp_path / "out.geometry")
    assert geometry(*words, "--draws", "60") == 130
    counted.clear()
    assert geometry(*words, "--draws", "50") == 0
    assert len(counted) == 3


def test_an_untrained_model_and_unseen_leaves_stand_beside(store: Path, tmp_path: Path, undrawn: None) -> None:
    other = store_at(tmp_path / "untrained.zarr", {"projector": "noise", "llm.0": "noise"})
    many = store_at(
        tmp_path / "many.zarr", {f"llm.{layer}": "orthogonal" for layer in range(4)} | {"llm.4": "violated"}
    )
    words = (*QUICK, "--inner_products", "euclidean")
    assert geometry(store, *words, "--random_init", other, "--out", tmp_path / "beside") == 0
    beside = [r for r in rows(tmp_path / "beside", "geometry") if r["null"] == "random init"]
    assert {record["site"] for record in beside} == {"projector", "llm.0"}
    mean = {(r["site"], r["child"]): r for r in beside if r["statistic"] == "RMS cos"}
    assert mean["llm.0", "species"]["value"] > mean["llm.0", "species"]["null_mean"]
    assert {"random_init_mean", "random_init_effect"} <= rows(tmp_path / "beside", "verdicts")[-1].keys()

    accuracy = [0.9, 0.8, 0.7, 0.95, 0.2]
    probes = [{"site": f"llm.{k}", "level": "order", "accuracy": value} for k, value in enumerate(accuracy)]
    (tmp_path / "many.probe-leaf").mkdir()
    write_table(tmp_path / "many.probe-leaf", "probes", probes)
    assert geometry(many, *words, "--draws", "40") == 0
    made = rows(tmp_path / "many.geometry", "generalisation")
    assert [(record["parent"], record["child"], record["n"]) for record in made] == [("order", "family", 5)]
    by_site = {
        r["site"]: r["alignment"] for r in rows(tmp_path / "many.geometry", "verdicts") if r["child"] == "family"
    }
    wanted = spearmanr([by_site[f"llm.{k}"] for k in range(5)], accuracy)[0]
    assert made[0]["value"] == pytest.approx(wanted)


def test_bad_input_is_told_before_any_work(
    store: Path, found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "something").mkdir()
    (tmp_path / "something" / "else").write_text("kept")
    half = store_at(tmp_path / "half.zarr", {"projector": "noise"}, status=["broken", *["ok"] * (64 * PER_LEAF - 1)])
    plain = store_at(tmp_path / "plain.zarr", {"projector": "noise"}, certified=False)
    for words, said in (
        ((store, "--sites", "llm.9"), "llm.9"),
        ((store, "--directions", "median"), "'median' is none of mean, lda, probe"),
        ((store, "--inner_products", "cosine"), "'cosine' is none of"),
        ((store, "--split", "dev"), "it has test, train"),
        ((store, "--random_init", half), "lacks 1 of the 384 samples, 's0' for one"),
        ((store, "--leaf_probes", tmp_path), "no probe results here"),
        ((store, "--inner_products", "causal", "--sites", "projector"), "choose sites llm.*"),
        ((store, "--inner_products", "causal"), "does not say what model it is of"),
        ((store, "--out", tmp_path / "something"), "holds no geometry results"),
        ((store, "--device", "cuda:7"), "cuda:7"),
        ((plain,), "not certified"),
        ((tmp_path / "no.zarr",), "no store here"),
    ):
        assert geometry(*words) == 2, words
        error = capsys.readouterr().err
        assert said in error, (words, error)
    assert (tmp_path / "something" / "else").read_text() == "kept"
    assert not list(tmp_path.glob(".*.parts"))
