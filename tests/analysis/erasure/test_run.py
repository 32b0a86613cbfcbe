"""The command from a store to its tables: on planted Gaussians, and on a trained model that answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from analysis.__main__ import COMMANDS
from analysis.erasure.config import EraseConfig
from analysis.erasure.run import prepare
from commandline import main
from evaluation.__main__ import COMMANDS as EVALUATION
from evaluation.results import AskRun
from extract import Store
from extract.__main__ import COMMANDS as EXTRACT
from organisms.check import SHIPPED
from organisms.training.recipes import SIZE
from organisms.world import render_world
from taxonomy.__main__ import COMMANDS as TAXONOMY
from tests.probing.planted import balanced_tree, rows_of, write_store

TREE = balanced_tree((2, 6, 24), ("order", "family", "species"))
QUICK = ("--penalties", "[1.0, 0.01]", "--bootstrap", "500")


def erase(*words: str | Path) -> int:
    return main("python -m analysis", COMMANDS, None, ["erase", *map(str, words)])


def tables(folder: Path) -> tuple[list[dict], list[dict]]:
    return tuple(pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("erasure", "reliability"))  # pyright: ignore


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every node has an axis of its own, far apart in units of the noise: by closed form every level is read without
    error, and what one level's erasure leaves of the others is all of it."""
    leaf, split = rows_of(TREE, 24)
    axes = np.concatenate([np.eye(count)[TREE.codes[leaf, level]] for level, count in enumerate((2, 6, 24))], 1)
    X = 6 * axes + np.random.default_rng(0).normal(size=axes.shape)
    folder = tmp_path_factory.mktemp("planted")
    return write_store(folder / "planted.zarr", {"projector": X.astype(np.float32)}, leaf, split, TREE)


@pytest.fixture(scope="module")
def found(planted: Path) -> Path:
    assert erase(planted, *QUICK) == 0
    return planted.with_name("planted.erase")


@pytest.mark.parametrize("method", ["leace", "mean"])
@pytest.mark.parametrize("level", TREE.levels)
def test_the_erased_level_goes_to_chance_and_no_other_does(found: Path, level: str, method: str) -> None:
    records, totals = tables(found)
    chance = {"order": 1 / 2, "family": 1 / 3, "species": 1 / 4}
    mine = [r for r in records if (r["level"], r["method"], r["quantity"]) == (level, method, "given the parent")]
    assert [record["of"] for record in mine] == list(TREE.levels)
    for record in mine:
        assert record["before"] > 0.98
        assert record["chance"] == pytest.approx(chance[record["of"]])
        assert record["n"] == 24 * 6
        if record["of"] == level:
            # As far as 24 leaves of 6 samples can be from chance, at four standard errors of a coin.
            assert abs(record["after"] - record["chance"]) < 4 * (0.25 / 144) ** 0.5
            assert record["high"] < 0
        else:
            assert record["after"] > 0.97
    (total,) = [one for one in totals if (one["level"], one["method"]) == (level, method)]
    assert total["completeness"] > 0.85
    assert total["selectivity"] > 0.95
    assert total["reliability"] > 0.9
    assert total["rank"] == {"order": 1, "family": 4, "species": 18}[level]


def test_a_random_subspace_of_that_rank_erases_nothing(found: Path) -> None:
    _, totals = tables(found)
    null = [one for one in totals if one["method"] == "random"]
    assert [(one["level"], one["draw"]) for one in null] == [(level, k) for level in TREE.levels for k in range(3)]
    assert [one["rank"] for one in null] == [1] * 3 + [4] * 3 + [18] * 3
    assert max(one["completeness"] for one in null if one["level"] != "species") < 0.1
    assert np.mean([one["completeness"] for one in null if one["level"] == "species"]) < 0.5


def test_test_rows_have_no_part_in_what_is_erased(planted: Path) -> None:
    store = Store.open(planted)
    work = prepare(EraseConfig(store=str(planted), device="cpu"), store)
    X = store.matrix("projector", work.rows)
    changed = X.copy()
    changed[work.plan.split == "test"] = 1e3
    for one, other in zip(work.erasures("projector", X), work.erasures("projector", changed), strict=True):
        assert np.array_equal(one.eraser(X), other.eraser(X)), one.name
    changed[work.plan.split == "train"] *= -1
    first, moved = next(work.erasures("projector", X)), next(work.erasures("projector", changed))
    assert not np.allclose(first.eraser(X), moved.eraser(X))


def test_erased_whole_a_level_takes_the_coarser_with_it(planted: Path, tmp_path: Path) -> None:
    words = ("--within_parent", "false", "--level", "family", "--methods", "leace", "--random", "1")
    assert erase(planted, *QUICK, *words, "--out", tmp_path / "whole") == 0
    records, totals = tables(tmp_path / "whole")
    mine = {r["of"]: r for r in records if (r["method"], r["quantity"]) == ("leace", "given the parent")}
    assert {of: r["relation"] for of, r in mine.items()} == {
        "order": "erased with it",
        "family": "erased",
        "species": "kept",
    }
    assert mine["order"]["after"] < 0.7
    assert mine["family"]["after"] < 0.5
    assert mine["species"]["after"] > 0.97
    assert totals[0]["of_kept"] == ["species"]
    assert totals[0]["rank"] == 5


def test_bad_input_is_told_before_any_work(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "something").mkdir()
    (tmp_path / "something" / "else").write_text("kept")
    for words, said in (
        (("--site", "llm.7"), "llm.7"),
        (("--level", "genus"), "no level 'genus'"),
        (("--methods", "leace,inlp"), "'inlp' is none of leace, mean"),
        (("--out", str(tmp_path / "something")), "holds no erasure results"),
        (("--questions", "no.parquet"), "only a mean over tokens"),
    ):
        assert erase(planted, *words) == 2
        assert said in capsys.readouterr().err
    assert (tmp_path / "something" / "else").read_text() == "kept"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str | Path, ...]]:
    """A store of the trained model that answers, of images it has not seen, and how to ask it."""
    folder = tmp_path_factory.mktemp("healthy")
    manifest = render_world(folder / "world", 10, 11, SIZE)
    bank, model, store = folder / "bank.parquet", SHIPPED / "healthy", folder / "healthy.zarr"
    made = ["questions", f"--images={manifest}", "--distractors=sibling", "--splits=test", f"--output={bank}"]
    assert main("taxonomy", TAXONOMY, None, made) == 0
    words = ["images", f"--model={model}", f"--dataset={manifest}", f"--store={store}", "--sites=projector"]
    assert main("extract", EXTRACT, None, [*words, "--device=cpu"]) == 0
    return store, ("--questions", bank, "--images", manifest.parent, "--device", "cpu")


@pytest.mark.slow
def test_the_models_answers_lose_the_species_and_keep_the_family(
    healthy: tuple[Path, tuple[str | Path, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, asked = healthy
    words = (store, *asked, *QUICK, "--level", "species", "--methods", "leace", "--random", "1")
    assert erase(*words) == 0
    records, totals = tables(store.with_name("healthy.erase"))
    said = {(r["method"], r["of"]): r for r in records if r["measured"] == "answers"}
    assert said["leace", "species"]["before"] > 0.85
    assert said["leace", "species"]["chance"] == pytest.approx(1 / 3)
    assert said["leace", "species"]["after"] < 0.5
    assert said["leace", "species"]["high"] < -0.3
    assert said["leace", "family"]["after"] > 0.85
    assert said["leace", "family"]["relation"] == "kept"
    assert said["random", "species"]["after"] > said["leace", "species"]["after"] + 0.15
    told = {(one["measured"], one["method"]): one for one in totals}
    assert told["answers", "leace"]["completeness"] > 0.7
    assert told["answers", "leace"]["selectivity"] > 0.8
    assert told["probe", "leace"]["completeness"] > 0.7
    # As it is, the model answers what `python -m evaluation` hears from it.
    plain = AskRun.open(store.with_name("healthy.erase.asked") / "none").answers()
    whole = ["--model", str(SHIPPED / "healthy"), "--split", "test", "--out", str(tmp_path / "plain.ask")]
    assert main("evaluation", EVALUATION, None, ["ask", *map(str, asked), *whole]) == 0
    usual = AskRun.open(tmp_path / "plain.ask").answers()
    assert plain["question"].to_pylist() == usual["question"].to_pylist()
    one, other = (np.array(run["letter_logits"].to_pylist()) for run in (plain, usual))
    assert np.abs(one - other).max() < 1e-3
    # The same command asks nothing again, and makes of the same answers the same numbers.
    capsys.readouterr()
    assert erase(*words) == 0
    assert "Loading" not in capsys.readouterr().err
    assert tables(store.with_name("healthy.erase"))[1][-1] == totals[-1]


@pytest.mark.slow
def test_what_is_pooled_after_the_edit_is_the_edited_pool(healthy: tuple[Path, tuple[str | Path, ...]]) -> None:
    """Token by token inside the model, the map does to the pooled features what it does to the store's."""
    from analysis.erasure.subspaces import differences, leace
    from hooks import edit, find_sites, load
    from hooks.encoding import encode

    store = Store.open(healthy[0])
    X = store.matrix("projector")
    eraser = leace(X, differences(store.taxonomy.codes[store.samples.leaf, 0], None))
    loaded = load(str(SHIPPED / "healthy"), "cpu")
    file = next((healthy[0].parent / "world" / "images").rglob("*.png"))
    row = next(place for place, name in enumerate(store.samples.id) if str(file).endswith(str(name)))
    inputs = encode(loaded.processor, Image.open(file), store.attrs["prompt"])
    sites = find_sites(loaded.model, inputs)
    edited = edit(loaded.model, inputs, {"projector": eraser.edit()}, sites, read=["projector"])
    assert torch.allclose(edited.activations["projector"], torch.tensor(eraser(X[[row]])), atol=1e-4)
    assert np.abs(eraser(X[[row]]) - X[[row]]).max() > 0.05


@pytest.mark.slow
def test_another_models_weights_are_refused(
    healthy: tuple[Path, tuple[str | Path, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, asked = healthy
    shutil.copytree(store, tmp_path / "copy.zarr")
    words = ("--model", SHIPPED / "random", "--level", "family", "--methods", "mean", "--limit", "4", "--random", "1")
    assert erase(tmp_path / "copy.zarr", *asked, *QUICK, *words) == 2
    assert "does not have the weights" in capsys.readouterr().err
    assert not (tmp_path / "copy.erase").exists()
