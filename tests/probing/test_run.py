"""The command from a store on disk to its tables, and every way of using it wrongly."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import probing.run
from analysis.report import render
from commandline import InputError
from extract import Store
from probing import protocol
from probing.config import DEFAULT_PENALTIES, ProbeConfig
from probing.duplicates import THRESHOLD
from probing.grid import make_basis
from probing.paper import CHOICES
from probing.paper_training import PaperSettings, paper_probe
from probing.plan import make_plan
from probing.results import TABLES, ProbeRun
from probing.run import run
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree, clusters, ragged_tree, rows_of, write_store

QUICK = {"penalties": [1.0, 0.01], "shuffles": 1, "bootstrap": 1000}
SITES = ("encoder.1", "encoder.2", "projector", "llm.0", "llm.final")


def planted(path: Path, tree: Taxonomy | None = None, per_leaf: int = 16, **options) -> Path:
    """A store whose projector loses everything."""
    tree = tree or balanced_tree()
    leaf, split = rows_of(tree, per_leaf)
    features = {}
    for index, site in enumerate(SITES):
        lost = site not in ("encoder.1", "encoder.2")
        X = clusters(tree, leaf, 0.4, seed=index)[0]
        features[site] = np.random.default_rng(index).normal(size=X.shape).astype(np.float32) if lost else X
    features["projector"] = features["projector"][:, :5]
    return write_store(path, features, leaf, options.pop("split", split), tree, **options)


def probe(store: Path, **changes) -> ProbeRun:
    run(ProbeConfig(store=str(store), **(QUICK | changes)))
    return ProbeRun.open(changes.get("out") or store)


def test_from_store_to_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = planted(tmp_path / "planted.zarr")
    found = probe(store)
    assert found.path == tmp_path / "planted.probe"
    assert [record["site"] for record in found.hca] == list(SITES)
    assert len(found.probes) == 3 * len(SITES)
    cells = {(record["site"], record["level"]): record for record in found.probes}
    assert cells["encoder.2", "species"]["accuracy"] > cells["encoder.2", "species"]["shuffled_high"]
    assert cells["llm.0", "species"]["accuracy"] <= cells["llm.0", "species"]["shuffled_high"]
    assert (cells["llm.final", "order"]["stage"], cells["llm.final", "order"]["layer"]) == ("llm", None)
    assert cells["projector", "order"]["width"] == 5
    printed = capsys.readouterr().out
    for word in (*SITES, "order", "HCA", "product", "leaf lookup", "majority", "shuffled", "32 (8)", "64 train"):
        assert word in printed
    assert f"{100 * cells['encoder.1', 'family']['accuracy']:.1f} [" in printed


def test_the_wide_table_prints_what_the_default_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = planted(tmp_path / "planted.zarr")
    probe(store, sites=["encoder.2"])
    narrow = capsys.readouterr().out
    found = probe(store, sites=["encoder.2"], wide=True)
    printed = capsys.readouterr().out
    assert "selectivity" not in narrow
    species = found.probes[-1]
    for number in (f"{species['usable_bits']:.2f} [", f"{species['ece']:.3f}", f"{species['log_loss']:.3f}"):
        assert number in printed
        assert number not in narrow
    assert max(len(line) for line in narrow.splitlines()) <= 160


def test_every_column_is_described(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    (tmp_path / "q.jsonl").write_text(
        '{"id": "s12", "level": "order", "options": ["order 0"], "answer": "order 0"}\n'
        '{"id": "s12", "level": "family", "options": ["family 0"], "answer": "family 0"}\n'
        '{"id": "s12", "level": "species", "options": ["species 0"], "answer": "species 0"}\n'
    )
    others = {"random_init": str(store), "pixel_shuffled": str(store), "questions": str(tmp_path / "q.jsonl")}
    found = probe(store, sites=["encoder.2"], seeds=2, **others)
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    described = set(re.findall(r"`([a-z0-9_]+)`", text))
    for record in (found.probes[0], found.hca[0]):
        for key in record:
            stem = re.sub(r"_(low|high)$", "", key)
            assert key in described or stem in described, f"docs/results.md does not say what {key} is"


@pytest.mark.slow
def test_the_tables_agree_with_each_other(tmp_path: Path) -> None:
    found = probe(planted(tmp_path / "planted.zarr"))
    predictions = found.predictions().to_pylist()
    for record in found.probes:
        rows = [p for p in predictions if (p["site"], p["level"]) == (record["site"], record["level"])]
        assert len(rows) == record["n_test"]
        assert np.mean([p["true"] == p["predicted"] for p in rows]) == pytest.approx(record["accuracy"])
        assert {p["true_name"].rsplit(" / ", 1)[-1].rsplit(" ", 1)[0] for p in rows} == {record["level"]}
    for record in found.hca:
        right: dict[str, bool] = {}
        for p in (p for p in predictions if p["site"] == record["site"]):
            right[p["id"]] = right.get(p["id"], True) and p["true"] == p["predicted"]
        assert np.mean(list(right.values())) == pytest.approx(record["hca"])


@pytest.mark.slow
def test_the_summary_says_where_it_comes_from(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    probe(store, seed=5)
    summary = json.loads((tmp_path / "planted.probe" / "summary.json").read_text())
    assert summary["store"]["model"] == {"name": "planted"}
    assert len(summary["store"]["attributes_sha256"]) == 64
    assert summary["config"]["seed"] == 5
    assert summary["split"]["rows"] == {"train": 64, "validation": 32, "test": 32}
    assert {"torch", "numpy", "python", "taxoprobe"} <= set(summary["versions"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_tables(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    first, second = (probe(store, out=str(tmp_path / name)) for name in ("a", "b"))
    assert repr(first.probes) == repr(second.probes)  # a NaN equals itself there
    assert repr(first.hca) == repr(second.hca)
    assert first.predictions().equals(second.predictions())


def test_ragged_store_and_quarantined_rows(tmp_path: Path) -> None:
    tree = ragged_tree()
    status = ["ok"] * (16 * 8)
    status[3] = status[15] = "truncated JPEG"
    store = planted(tmp_path / "planted.zarr", tree, status=status)
    handle = Store.open(store, mode="r+")
    for row in (3, 15):
        handle.arrays["encoder"][:, row] = np.nan
    found = probe(store, sites=["encoder.*"])
    assert [record["site"] for record in found.hca] == ["encoder.1", "encoder.2"]
    root = next(record for record in found.probes if record["level"] == "root")
    assert root["unscored"] == "it has one node"
    assert root["accuracy"] is None
    assert found.hca[0]["n_test"] == 4 * 8 - 1
    rows = {(p["id"], p["level"]): p for p in found.predictions().to_pylist() if p["site"] == "encoder.2"}
    leaf, split = rows_of(tree, 16)
    asked = {
        (f"s{row}", level): (leaf[row], tree.codes[leaf[row], tree.level_index(level)])
        for row in np.flatnonzero((split == "test") & (np.array(status) == "ok"))
        for level in (("kind", "name") if leaf[row] < 6 else ("kind",))
    }
    assert {key: (p["leaf"], p["true"]) for key, p in rows.items()} == asked
    assert found.summary["store"]["rows"] == {"ok": 126, "quarantined": 2}


def test_ids_are_those_of_the_samples_that_have_the_level(tmp_path: Path) -> None:
    tree = ragged_tree()
    leaf, split = (values[::-1] for values in rows_of(tree, 16))  # the leaves without a name come first
    store = write_store(tmp_path / "r.zarr", {"encoder.1": clusters(tree, leaf, 0.4)[0]}, leaf, split, tree)
    for p in probe(store).predictions().to_pylist():
        row = int(p["id"][1:])
        assert (p["leaf"], split[row]) == (leaf[row], "test")
        assert p["true"] == tree.codes[leaf[row], tree.level_index(p["level"])]


def test_leaf_split_has_its_own_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = planted(tmp_path / "planted.zarr", balanced_tree((2, 4, 24)))
    run(ProbeConfig(store=str(store), split="leaf", sites=["encoder.2"], penalties=[0.1], shuffles=1))
    found = ProbeRun.open(tmp_path / "planted.probe-leaf")
    assert found.summary["config"]["split"] == "leaf"
    assert "Level species is not scored" in capsys.readouterr().out


def test_text_store(tmp_path: Path) -> None:
    tree = balanced_tree((2, 4, 40))
    leaf = np.repeat(np.arange(40, dtype=np.int32), 2)
    split = np.array(["train", "train", "validation", "test"])[leaf % 4]
    X, _ = clusters(tree, leaf, 0.05)
    store = write_store(tmp_path / "t.zarr", {"text.0": X}, leaf, split, tree, level=["order", "family"] * 40)
    found = probe(store)
    assert found.hca[0]["hca"] > 0.9
    assert found.hca[0]["n_test"] == 10
    assert set(found.predictions()["id"].to_pylist()) <= set(tree.leaves)


def test_text_store_with_a_quarantined_row(tmp_path: Path) -> None:
    tree = balanced_tree((2, 4, 40))
    leaf = np.repeat(np.arange(40, dtype=np.int32), 2)
    split = np.array(["train", "train", "validation", "test"])[leaf % 4]
    X, _ = clusters(tree, leaf, 0.05)
    status = ["ok"] * 80
    status[6] = status[15] = "NaN or infinity at text.0"  # the order of leaf 3 and the family of leaf 7, both tested
    store = write_store(tmp_path / "t.zarr", {"text.0": X}, leaf, split, tree, status, ["order", "family"] * 40)
    found = probe(store)
    assert [record["n_test"] for record in found.probes if not record["unscored"]] == [9, 9]
    assert (found.hca[0]["n_test"], found.hca[0]["hca"]) == (10, 1)


@pytest.mark.slow
def test_an_earlier_result_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    probe(store, seed=1)
    handle = Store.open(store, mode="r+")
    handle.arrays["llm"][0, 7] = np.nan
    with pytest.raises(InputError, match=r"1 rows marked ok hold NaN or infinity at llm.0, the first is sample 's7'"):
        probe(store, seed=2)
    assert ProbeRun.open(store).summary["config"]["seed"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["planted.probe", "planted.zarr"]
    probe(store, seed=3, sites=["encoder.1"])
    assert ProbeRun.open(store).summary["config"]["seed"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["planted.probe", "planted.zarr"]


@pytest.mark.slow
def test_a_killed_run_leaves_the_earlier_result_and_the_next_one_replaces_it(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    probe(store, seed=1)
    command = [sys.executable, "-m", "probing", str(store), "--seed=2", "--shuffles=300"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob(".planted.probe.*/*/predictions.parquet")):
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert ProbeRun.open(store).summary["config"]["seed"] == 1
    assert probe(store, seed=3).summary["config"]["seed"] == 3
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["planted.probe", "planted.zarr"]


@pytest.mark.slow
def test_an_unfinished_store_says_how_much_is_missing(tmp_path: Path) -> None:
    status = ["ok" if row % 4 else "pending" for row in range(128)]
    store = planted(tmp_path / "planted.zarr", status=status)
    with pytest.raises(InputError, match="32 of 128 rows are still pending"):
        probe(store)
    assert probe(store, allow_partial=True).summary["store"]["rows"] == {"ok": 96, "pending": 32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sites": ["encodr.1"]}, "no site matches 'encodr.1'; the nearest are encoder.1"),
        ({"sites": ["text.*"]}, r"no site matches 'text\.\*'"),
        ({"levels": ["genus"]}, "no level 'genus'; the levels are order, family, species"),
        ({"device": "cuda:7"}, "device 'cuda:7'"),
    ],
)
def test_bad_settings(tmp_path: Path, changes: dict, message: str) -> None:
    store = planted(tmp_path / "planted.zarr")
    with pytest.raises(InputError, match=message):
        probe(store, **changes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["planted.zarr"]


def test_bad_stores(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store here"):
        probe(tmp_path / "none.zarr")
    empty = planted(tmp_path / "empty.zarr", status=["unreadable"] * 128)
    with pytest.raises(InputError, match="none of its 128 rows holds activations"):
        probe(empty)
    no_test = planted(tmp_path / "no_test.zarr", split=np.full(128, "train"))
    with pytest.raises(InputError, match="none is in the test split"):
        probe(no_test)
    single = Taxonomy.from_paths([["a", "b"]], ["top", "leaf"])
    with pytest.raises(InputError, match="no level can be probed"):
        probe(planted(tmp_path / "single.zarr", single))
    few = planted(tmp_path / "few.zarr", per_leaf=2, split=np.array(["train", "test"] * 8))
    with pytest.raises(InputError, match="too few samples per leaf"):
        probe(few)


@pytest.mark.parametrize("summary", [None, "{}", '{"kind": "sweep", "schema_version": 1}', "[1]", "not JSON"])
def test_a_directory_that_is_not_ours_is_left_alone(tmp_path: Path, summary: str | None) -> None:
    store = planted(tmp_path / "planted.zarr")
    mine = tmp_path / "photos"
    mine.mkdir()
    (mine / "cat.jpg").write_bytes(b"x")
    if summary is not None:
        (mine / "summary.json").write_text(summary)
    with pytest.raises(InputError, match="holds no probe results"):
        probe(store, out=str(mine))
    assert (mine / "cat.jpg").exists()
    assert summary is None or (mine / "summary.json").read_text() == summary
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "planted.zarr"]


def test_what_lies_beside_the_results_stays(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    probe(store, seed=1, sites=["encoder.1"])
    for name in ("planted.probe.new", "planted.probe.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    (tmp_path / "planted.probe" / "thesis.tex").write_text("mine")
    (tmp_path / "planted.probe" / "report.html").write_text("earlier")
    found = probe(store, seed=2, sites=["encoder.2"])
    assert found.summary["config"]["seed"] == 2
    assert {record["site"] for record in found.probes} == {"encoder.2"}
    assert set(found.predictions()["site"].to_pylist()) == {"encoder.2"}
    assert (tmp_path / "planted.probe" / "thesis.tex").read_text() == "mine"
    assert (tmp_path / "planted.probe" / "report.html").read_text() == "earlier"
    assert all((tmp_path / name / "notes.txt").exists() for name in ("planted.probe.new", "planted.probe.old"))
    assert not list(tmp_path.glob(".*"))


def test_the_summary_is_replaced_after_the_tables(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    probe(store, seed=1, sites=["encoder.1"])
    for name in TABLES:
        (tmp_path / "planted.probe" / f"{name}.parquet").unlink()
        (tmp_path / "planted.probe" / f"{name}.parquet").mkdir()  # no file can be moved here
    with pytest.raises(IsADirectoryError):
        probe(store, seed=2, sites=["encoder.1"])
    summary = json.loads((tmp_path / "planted.probe" / "summary.json").read_text())
    assert summary["config"]["seed"] == 1


def test_an_out_that_cannot_be_made_is_told_before_any_work(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot write .+run: "):
        probe(store, out=str(tmp_path / "file" / "run"))


def test_the_results_of_something_else_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"kind": "sweep", "schema_version": 1}')
    with pytest.raises(InputError, match="not that of a probe run"):
        ProbeRun.open(tmp_path)


@pytest.mark.slow
def test_results_that_are_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no probe results here"):
        ProbeRun.open(tmp_path / "x.zarr")
    store = planted(tmp_path / "planted.zarr")
    probe(store)
    (tmp_path / "planted.probe" / "hca.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="damaged probe results"):
        ProbeRun.open(store)


def test_help_answers_without_the_heavy_imports() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "probing", "--help"]
    helped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--penalties" in helped.stdout
    imported = {line.split("|")[-1].strip() for line in helped.stderr.split("\n")}
    assert "pydantic" in imported
    assert not {"torch", "sklearn", "zarr", "pyarrow"} & imported


@pytest.mark.slow
def test_the_command_line(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    arguments = ["--sites=encoder.1", "--penalties=[0.1]", "--shuffles=1", "--levels=None"]
    subprocess.run([sys.executable, "-m", "probing", str(store), *arguments], check=True, capture_output=True)
    assert pq.read_table(tmp_path / "planted.probe" / "probes.parquet").num_rows == 3
    wrong = subprocess.run(
        [sys.executable, "-m", "probing", str(store), "--levels=genus"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert wrong.stderr == "error: no level 'genus'; the levels are order, family, species\n"


def test_every_number_stands_beside_that_of_an_untrained_store(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    tree = balanced_tree()
    leaf, split = rows_of(tree, 16)
    noise = np.random.default_rng(9).normal(size=(128, 12)).astype(np.float32)
    other = write_store(tmp_path / "random.zarr", {"encoder.1": noise, "encoder.2": noise[:, :4]}, leaf, split, tree)
    found = probe(store, random_init=str(other), pixel_shuffled=str(store), sites=["encoder.1", "llm.0"])
    cells = {(record["site"], record["level"]): record for record in found.probes}
    family = cells["encoder.1", "family"]
    assert family["random_init"] < 0.5 < family["accuracy"]
    assert family["above_random_init"] == pytest.approx(family["accuracy"] - family["random_init"])
    assert family["above_random_init_low"] > 0
    assert family["pixel_shuffled"] == family["accuracy"]
    assert family["above_pixel_shuffled_low"] == family["above_pixel_shuffled_high"] == 0
    assert cells["llm.0", "family"]["random_init"] is None
    assert found.hca[0]["above_random_init_low"] > 0
    few = write_store(tmp_path / "few.zarr", {"encoder.1": noise[:100]}, leaf[:100], split[:100], tree)
    with pytest.raises(InputError, match=r"--random_init .+few.zarr lacks 28 samples of 128 \(the first: 's100'\)"):
        probe(store, random_init=str(few))


def test_copies_are_told_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = planted(tmp_path / "planted.zarr")
    handle = Store.open(store, mode="r+")
    sha = np.array([f"{row:064d}" for row in range(128)], object)
    sha[15] = sha[0]  # both of leaf 0, the first in train, the other in test
    handle.group["sample/sha256"][:] = sha  # pyright: ignore
    found = probe(store, sites=["encoder.1"], duplicate_cosine=1)
    assert (found.summary["duplicates"]["exact"], found.summary["duplicates"]["near"]) == (1, 1)
    assert found.summary["duplicates"]["site"] == "encoder.2", "the encoder's last"
    assert ProbeConfig.model_fields["duplicate_cosine"].default == THRESHOLD
    assert "copy among the fitted ones: 1 (1 of them the same file" in capsys.readouterr().out
    assert found.hca[0]["n_test"] == 32
    found = probe(store, sites=["encoder.1"], duplicate_cosine=1, duplicates="drop")
    assert found.hca[0]["n_test"] == 31
    assert "s15" not in found.predictions()["id"].to_pylist()
    assert probe(store, sites=["encoder.1"], duplicates="ignore").summary["duplicates"] is None


def test_a_cap_on_leaves(tmp_path: Path) -> None:
    found = probe(planted(tmp_path / "planted.zarr"), sites=["encoder.1"], per_leaf=9)
    assert found.probes[0]["n_train"] == 8 * 9
    assert found.hca[0]["n_test"] == 32


def test_questions_add_what_the_options_allow(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    tree = balanced_tree()
    leaf, split = rows_of(tree, 16)
    rows = []
    for row in np.flatnonzero(split == "test").tolist():
        name = tree.leaves[leaf[row]]
        other = tree.leaves[(leaf[row] + 1) % 8]
        rows.append({"id": f"s{row}", "level": "species", "options": [name, other], "answer": name})
    (tmp_path / "bank.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = probe(store, questions=str(tmp_path / "bank.jsonl"), sites=["encoder.1"], levels=["species"])
    record = found.probes[0]
    assert record["choice_accuracy"] >= record["accuracy"]
    assert (record["choice_n"], record["choice_chance"], record["model_accuracy"]) == (32, 0.5, 1)
    assert record["recovery"] == pytest.approx(record["choice_accuracy"] - 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "batches"),
    [
        ({"split": "leaf"}, 2 * 3),  # other rows for each seed: two bases a seed
        ({"per_leaf": 9}, 2 * 3),
        ({"carved": True}, 3 + 1),  # penalties on other rows for each seed, refits on the same
    ],
)
def test_a_seed_among_several_is_what_it_is_alone(
    tmp_path: Path, changes: dict, batches: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = balanced_tree((2, 4, 24))
    leaf, split = rows_of(tree, 16)
    if changes.pop("carved", False):
        split = np.where(split == "validation", "train", split)
    store = write_store(tmp_path / "s.zarr", {"llm.0": clusters(tree, leaf, 2.0)[0]}, leaf, split, tree)
    made = []
    monkeypatch.setattr(protocol, "make_basis", lambda *given, **more: made.append(given) or make_basis(*given, **more))
    alone = [probe(store, seed=seed, out=str(tmp_path / f"{seed}"), **changes) for seed in (4, 5, 6)]
    made.clear()
    capsys.readouterr()
    found = probe(store, seed=4, seeds=3, out=str(tmp_path / "all"), **changes)
    assert len(made) == batches
    assert found.summary["draws"] == [[4], [5], [6]]
    assert found.predictions().equals(alone[0].predictions())
    for key, table in (("accuracy", "probes"), ("hca", "hca")):
        for record, *each in zip(*(getattr(one, table) for one in (found, *alone)), strict=True):
            if record.get("unscored"):
                continue
            values = [one[key] for one in each]
            assert (record[f"{key}_seed_low"], record[f"{key}_seed_high"]) == (min(values), max(values))
            assert record[f"{key}_seed_mean"] == pytest.approx(np.mean(values))
            for name, value in each[0].items():
                if isinstance(value, float) and name not in ("grad_norm", "objective", "validation_log_loss"):
                    assert record[name] == pytest.approx(value, abs=1e-3, nan_ok=True), name
    same_rows = batches == 4  # there the seeds choose the penalty only, and here they choose the same
    assert (found.hca[0]["hca_seed_high"] > found.hca[0]["hca_seed_low"]) != same_rows
    assert "3 seeds, 3 draws of rows and splits: this is the first; over all" in capsys.readouterr().out


def test_seeds_of_the_stored_split_add_nulls_and_controls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = planted(tmp_path / "planted.zarr")
    kept, probe_draws = [], protocol.probe_draws
    monkeypatch.setattr(probing.run, "probe_draws", lambda *given: kept.append(probe_draws(*given)) or kept[-1])
    one = probe(store, sites=["encoder.2"], seed=4)
    three = probe(store, sites=["encoder.2"], seed=4, seeds=3)
    ((alone,), (found,)) = kept
    assert (alone.shuffled.shape[0], found.shuffled.shape[0]) == (1, 3)
    assert (alone.shuffled[0] == found.shuffled[0]).all()
    assert len({probes.tobytes() for probes in found.shuffled}) == 3
    assert (len(alone.controls), len(found.controls)) == (2, 6)
    assert three.predictions().equals(one.predictions())
    for record in three.probes:
        assert record["accuracy_seed_low"] == record["accuracy_seed_high"] == record["accuracy"]
    assert three.summary["draws"] == [[4, 5, 6]]
    assert "3 seeds: all have this split" in capsys.readouterr().out


@pytest.mark.slow
def test_the_published_protocol_goes_through_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its tables are those of `probing.paper` on the same rows, beside a strict run that stays; it says what it is."""
    store = planted(tmp_path / "planted.zarr")
    probe(store, sites=["encoder.2"])
    capsys.readouterr()
    run(ProbeConfig(store=str(store), protocol="paper", epochs=5, shuffles=1, bootstrap=1000, seed=3))
    printed = capsys.readouterr().out
    found = ProbeRun.open(tmp_path / "planted.probe-paper")
    assert ProbeRun.open(store).summary["protocol"] == "strict"
    assert found.summary["protocol"] == "paper"
    assert len(found.summary["choices"]) == len(CHOICES)
    assert "PUBLISHED PROTOCOL" in printed.splitlines()[0]
    short = "Trained for 5 epochs, not for the published 500"
    assert short in printed
    assert short in render(found)
    for choice in CHOICES:
        assert choice.why in printed
    assert "--max_iter" not in printed
    assert "penalties" not in found.summary["config"]

    leaf, split = rows_of(balanced_tree(), 16)
    plan = make_plan(balanced_tree(), leaf, split, [f"s{row}" for row in range(128)])
    settings = PaperSettings(epochs=5, shuffles=1, seed=3, device="cpu")
    X = Store.open(store).matrix("encoder.2")
    expected = paper_probe(X, {level: plan.labels(level) for level in plan.scored}, split, settings)
    cells = {(record["site"], record["level"]): record for record in found.probes}
    predictions = found.predictions().to_pylist()
    for level, head in expected.items():
        assert cells["encoder.2", level]["accuracy"] == head.test_accuracy.max()
        assert cells["encoder.2", level]["n_iter"] == head.best.epoch
        mine = [p["predicted"] for p in predictions if (p["site"], p["level"]) == ("encoder.2", level)]
        assert mine == head.best.predicted.tolist()
    assert all(np.isnan(record["validation_hca"]) for record in found.hca)
    assert {record["of"] for record in found.extra("changepoints")} == {"order", "family", "species", "HCA"}
    text = render(found)
    assert "Published protocol (arXiv 2505.24840)" in text
    assert "was chosen on validation" not in text


def test_the_published_level_map_reaches_tables_and_names(tmp_path: Path) -> None:
    ranks = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
    paths = [
        ["Plantae", f"p{i // 8}", f"c{i // 4}", f"o{i // 4} {i // 2 % 2}", f"f{i // 2}", f"g{i}", f"s{i}"]
        for i in range(16)
    ]
    tree = Taxonomy.from_paths(paths, ranks)
    leaf, split = rows_of(tree, 12)
    X = clusters(tree, leaf, 0.1, width=64)[0]
    X = 30 * (X - X.mean(0))  # steps of 1e-4 go far on features this large
    store = write_store(tmp_path / "p.zarr", {"llm.0": X}, leaf, split, tree)
    out = str(tmp_path / "out")
    found = probe(store, protocol="paper", epochs=400, out=out, penalties=list(DEFAULT_PENALTIES))
    assert found.summary["published_levels"] == {"order": "phylum", "family": "class", "genus": "order"}
    for p in found.predictions().to_pylist():
        read = found.summary["published_levels"].get(p["level"], p["level"])
        code = tree.codes[p["leaf"], tree.level_index(read)]
        assert (p["true"], p["true_name"]) == (code, " / ".join(tree.nodes(read)[code]))
    (whole,) = found.hca
    species = next(record["accuracy"] for record in found.probes if record["level"] == "species")
    assert whole["leaf_lookup"] == species > 0.2, "the path of a leaf is made of the labels that were read"
    assert min(whole["top_down"], whole["joint"]) > 0.2
    (tmp_path / "q.jsonl").write_text('{"id": "s9", "level": "genus", "options": ["g0"], "answer": "g0"}\n')
    with pytest.raises(InputError, match="--questions cannot be kept to with --protocol paper"):
        probe(store, protocol="paper", questions=str(tmp_path / "q.jsonl"), penalties=list(DEFAULT_PENALTIES))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "paper", "penalties": [0.1]}, "--penalties is no part of the paper protocol"),
        ({"protocol": "paper", "seeds": 2}, "--seeds is no part of the paper protocol"),
        ({"protocol": "paper", "memory_budget": 100}, "--memory_budget is no part of the paper protocol"),
        ({"protocol": "paper", "refit": False}, "--refit is no part of the paper protocol"),
        ({"protocol": "paper", "random_init": "x.zarr"}, "--random_init is no part of the paper protocol"),
        ({"protocol": "paper", "description": True}, "--description is no part of the paper protocol"),
        ({"protocol": "paper", "conditional": ["llm.0+llm.final"]}, "--conditional is no part of the paper protocol"),
        ({"epochs": 5}, "--epochs is no part of the strict protocol"),
    ],
)
def test_settings_of_the_other_protocol_are_told(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(ProbeConfig(store=str(planted(tmp_path / "planted.zarr")), **changes))


@pytest.mark.slow
def test_bits_added_lengths_and_changes(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr")
    found = probe(store, conditional=["projector+encoder.2"], description=True)
    added = {record["level"]: record for record in found.extra("conditional")}
    assert added["species"]["added_low"] > 0.5
    assert (added["species"]["earlier"], added["species"]["later"]) == ("projector", "encoder.2")
    lengths = {(record["site"], record["level"]): record for record in found.extra("description")}
    assert lengths["encoder.1", "family"]["compression"] > lengths["llm.0", "family"]["compression"]
    change = next(record for record in found.extra("changepoints") if record["of"] == "species")
    assert (change["stage"], change["change"], change["change_low"]) == ("all", "projector", "projector")
    assert change["jump_high"] < -0.4
    plain = probe(store, sites=["encoder.*"])
    assert [plain.extra(name) for name in ("conditional", "description", "changepoints")] == [[], [], []]
    with pytest.raises(InputError, match="no pair of different sites"):
        probe(store, conditional=["projector"])


@pytest.mark.slow
def test_a_name_spells_its_parent(tmp_path: Path) -> None:
    """Binomials whose features are noise: words read the genus of species never seen, and not that of held-out ones."""
    paths = [[f"f{g // 6}", f"genus{g}", f"genus{g} sp{g}x{k}"] for g in range(12) for k in range(6)]
    tree = Taxonomy.from_paths(paths, ["family", "genus", "species"])
    leaf, level = np.repeat(np.arange(72, dtype=np.int32), 2), ["family", "genus"] * 72
    split = np.array(["train", "train", "validation", "test", "test", "test"])[leaf % 6]
    X = np.random.default_rng(0).normal(size=(144, 6)).astype(np.float32)
    store = write_store(tmp_path / "t.zarr", {"text.0": X}, leaf, split, tree, level=level)
    cells = {(record["site"], record["level"]): record for record in probe(store, baselines=True).probes}
    assert cells["baseline.words", "genus"]["accuracy"] == 1
    assert cells["text.0", "genus"]["accuracy"] < 0.3
    out = str(tmp_path / "held")
    held = probe(store, baselines=True, split="parent", out=out)
    cells = {(record["site"], record["level"]): record for record in held.probes}
    assert cells["baseline.words", "family"]["accuracy"] < 0.9
    assert cells["text.0", "genus"]["unscored"]
