"""Both protocols on one store: the steps between them are what they say, and add up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from commandline import InputError, main
from extract import Store
from probing import LinearProbe
from probing.__main__ import COMMANDS
from probing.ladder import LAST_EPOCH, OWN_LEVELS, PAPER, SHUFFLED, SOLVED, STANDARDISED, STRICT, climb
from probing.paper_training import PaperSettings, paper_probe
from probing.plan import Plan, make_plan
from probing.protocol import Settings, probe_site
from probing.results import ProbeRun
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree, clusters, ragged_tree, rows_of, write_store

QUICK = PaperSettings(epochs=6, learning_rate=1e-2, batch_size=16)
SETTINGS = Settings((1.0, 1e-2), shuffles=1, controls=0)


def command(*words: str | Path) -> int:
    return main("python -m probing", COMMANDS, "run", [*map(str, words), "--allow_uncertified=true"])


def planted(path: Path, sites: tuple[str, ...] = ("encoder.1", "projector")) -> Path:
    tree = balanced_tree((2, 4, 8))
    leaf, split = rows_of(tree, 12)
    features = {site: clusters(tree, leaf, 0.8, seed=seed)[0] for seed, site in enumerate(sites)}
    return write_store(path, features, leaf, split, tree)


def probed(tree: Taxonomy) -> tuple[np.ndarray, Plan, np.ndarray]:
    """Features of a tree's clusters, their plan, and what the strict probes say: int (test unit, scored level)."""
    leaf, split = rows_of(tree, 12)
    X, _ = clusters(tree, leaf, 0.8)
    plan = make_plan(tree, leaf, split, [str(row) for row in range(len(leaf))])
    probes = probe_site(X, plan, SETTINGS)
    strict = np.column_stack([probes.levels[level].predicted for level in plan.scored])
    return X, plan, strict


def tables(folder: Path) -> tuple[list[dict], list[dict], dict]:
    comparison, steps = (pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("comparison", "steps"))
    return comparison, steps, json.loads((folder / "summary.json").read_text())


def test_every_step_changes_one_choice() -> None:
    """Each step against its own computation: the published training with that change, LinearProbe, strict."""
    tree = balanced_tree()
    X, plan, strict = probed(tree)
    right = climb(X, plan, strict, SETTINGS, QUICK).right
    test = plan.split == "test"
    trained = {
        (PAPER, LAST_EPOCH): QUICK,
        (None, SHUFFLED): replace(QUICK, shuffle=True),
        (None, STANDARDISED): replace(QUICK, shuffle=True, standardize=True),
    }
    for column, level in enumerate(plan.scored):
        y = plan.labels(level)
        for (best, last), settings in trained.items():
            probe = paper_probe(X, {level: y}, plan.split, settings)[level]
            assert (right[last][:, column] == (probe.last.predicted == y[test])).all()
            if best:
                assert right[best][:, column].mean() == probe.test_accuracy.max()
        solved = LinearProbe(penalty=1e-2, max_iter=SETTINGS.max_iter).fit(X[~test], y[~test])
        assert (right[SOLVED][:, column] == (solved.predict(X[test]) == y[test])).all()
        assert (right[STRICT][:, column] == (strict[:, column] == y[test])).all()
    for values in right.values():
        assert (values[:, -1] == values[:, :-1].all(1)).all()
    assert OWN_LEVELS not in right


def test_plants_are_probed_with_the_published_level_map() -> None:
    ranks = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
    paths = [
        ["Plantae", f"p{i // 8}", f"c{i // 4}", f"o{i // 4} {i // 2 % 2}", f"f{i // 2}", f"g{i}", f"s{i}"]
        for i in range(16)
    ]
    tree = Taxonomy.from_paths(paths, ranks)
    X, plan, strict = probed(tree)
    ladder = climb(X, plan, strict, SETTINGS, QUICK)
    test = plan.split == "test"
    for level, read in {"order": "phylum", "family": "class", "genus": "order", "species": "species"}.items():
        column, y = plan.scored.index(level), plan.labels(read)
        assert set(ladder.paper[level].classes) == set(y)
        assert ladder.right[PAPER][:, column].mean() == (ladder.paper[level].best.predicted == y[test]).mean()
    genus = plan.scored.index("genus")
    assert ladder.right[PAPER][:, genus].mean() > ladder.right[OWN_LEVELS][:, genus].mean()


def test_ragged_levels_count_where_they_are() -> None:
    tree = ragged_tree()
    X, plan, strict = probed(tree)
    right = climb(X, plan, strict, SETTINGS, QUICK).right
    truth = plan.scored_path[plan.test_units]
    for values in right.values():
        assert (np.isfinite(values[:, :-1]) == (truth >= 0)).all()
        assert np.isfinite(values[:, -1]).all()


@pytest.mark.slow
def test_tables_add_up_and_a_strict_run_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = planted(tmp_path / "s.zarr")
    assert command("compare", store, "--epochs=5") == 0
    fitted = tables(tmp_path / "s.compare")
    assert command(store, "--sites=projector", "--shuffles=3") == 0
    capsys.readouterr()
    assert command("compare", store, "--epochs=5") == 0
    printed = capsys.readouterr().out
    assert "Trained for 5 epochs, not for the published 500" in printed
    comparison, steps, summary = tables(tmp_path / "s.compare")
    assert summary["strict"]["read_from"] == str(tmp_path / "s.probe")
    assert fitted[2]["strict"]["read_from"] is None
    assert comparison == fitted[0]
    assert steps == fitted[1]
    assert [choice["paper"] for choice in summary["choices"]]
    for record in comparison:
        own = [step for step in steps if step["site"] == record["site"] and step["level"] == record["level"]]
        assert [step["step"] for step in own] == [PAPER, LAST_EPOCH, SHUFFLED, STANDARDISED, SOLVED, STRICT]
        assert sum(step["change"] for step in own[1:]) == pytest.approx(-record["difference"])
        assert (own[0]["accuracy"], own[-1]["accuracy"]) == (record["paper"], pytest.approx(record["strict"]))
        assert record["difference_low"] <= record["difference"] <= record["difference_high"]
        assert f"{100 * record['strict']:.1f}" in printed
    for level in ("order", "HCA"):
        mean = np.mean([record["strict"] for record in comparison if record["level"] == level])
        (whole,) = (s for s in steps if (s["site"], s["level"], s["step"]) == ("(mean)", level, STRICT))
        assert whole["accuracy"] == pytest.approx(mean)
    strict = {r["level"]: r["accuracy"] for r in pq.read_table(tmp_path / "s.probe/probes.parquet").to_pylist()}
    assert {r["level"]: r["strict"] for r in comparison if r["site"] == "projector" and r["level"] in strict} == strict


@pytest.mark.slow
def test_the_strict_run_of_another_store_is_not_read(tmp_path: Path) -> None:
    store = planted(tmp_path / "s.zarr", ("projector",))
    assert command(store) == 0
    Store.open(store)
    (tmp_path / "t").mkdir()
    other = planted(tmp_path / "t/s.zarr", ("projector", "llm.0"))
    (tmp_path / "s.probe").rename(tmp_path / "t/s.probe")
    assert command("compare", other, "--epochs=2") == 0
    assert tables(tmp_path / "t/s.compare")[2]["strict"]["read_from"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sites=decoder"], "decoder"),
        (["--epochs=0"], "--epochs"),
        (["--device=abacus"], "abacus"),
    ],
)
def test_bad_settings_are_told_before_any_work(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = planted(tmp_path / "s.zarr")
    assert command("compare", store, *words) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "s.compare").exists()


def test_a_comparison_is_no_probe_run_and_is_replaced_by_the_next(tmp_path: Path) -> None:
    store = planted(tmp_path / "s.zarr", ("projector",))
    for epochs in (1, 2):
        assert command("compare", store, f"--epochs={epochs}") == 0
    assert tables(tmp_path / "s.compare")[2]["config"]["epochs"] == 2
    with pytest.raises(
        InputError, match=r"s\.compare: holds what `python -m probing compare STORE` wrote, not a probe run"
    ):
        ProbeRun.open(tmp_path / "s.compare")
    assert command(store, f"--out={tmp_path / 's.compare'}") == 2
    assert tables(tmp_path / "s.compare")[2]["kind"] == "probe comparison"


def test_something_else_in_the_way_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = planted(tmp_path / "s.zarr")
    (tmp_path / "s.compare").mkdir()
    (tmp_path / "s.compare/notes.txt").write_text("mine")
    assert command("compare", store) == 2
    assert "s.compare" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "s.compare").iterdir()] == ["notes.txt"]
