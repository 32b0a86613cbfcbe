"""The verdict of runs on disk: what is found beside them, what is missing, and what is written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import verdict
from analysis.__main__ import COMMANDS
from analysis.bottleneck.evidence import Number
from commandline import InputError, main
from evaluation.results import RECORD, TAXONOMY
from probing.results import ProbeRun
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree, clusters, rows_of, write_store
from tests.probing.test_run import planted, probe

LEVELS = ("order", "family", "species")
SITES = ("encoder.1", "projector", "llm.final")
QUICK = {"controls": 0, "penalties": [0.01]}


def readable(path: Path, tree: Taxonomy, per_leaf: int = 16) -> Path:
    """A store in which every level is read at every site."""
    leaf, split = rows_of(tree, per_leaf)
    features = clusters(tree, leaf, 0.05, width=24)[0]
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(24, 24)))[0].astype(np.float32)
    return write_store(
        path, {site: features @ turned if "llm" in site else features for site in SITES}, leaf, split, tree
    )


def ask(
    folder: Path, run: ProbeRun, tree: Taxonomy, wrong: tuple[str, ...] = (), text: bool = False, read: float = 1
) -> Path:
    """The answers of the probed model: right but at the `wrong` levels, where they are picked blindly."""
    rng = np.random.default_rng(1)
    leaf, split = rows_of(tree, 16)
    rows = []
    for row in np.flatnonzero(split == "test").tolist():
        for column, level in enumerate(LEVELS[: 2 if text else 3]):
            codes = tree.codes[:, column]
            options = rng.permutation(np.unique(codes))
            name = tree.nodes(level)[codes[leaf[row]]][-1]
            offered = [tree.nodes(level)[code][-1] for code in options.tolist()]
            said = str(rng.choice(offered)) if level in wrong else name
            said = said if rng.random() < read else "(no option)"
            rows.append({"id": f"s{row}", "level": level, "options": offered, "answer": said})
    weights = run.summary["store"]["model"]["weights_hash"]
    settings = {"text_only": text, "shown": "image", "prompts": {"p": {}}, "identity": {"weights": weights}}
    (folder / "strict_v1").mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps({"kind": "ask", "schema_version": 1, "settings": settings, "about": {}}))
    (folder / TAXONOMY).write_text(json.dumps(tree.to_dict()))
    pq.write_table(pa.Table.from_pylist(rows), folder / "strict_v1" / "answers-p.parquet")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Taxonomy]:
    """A store whose every site reads every level, probed."""
    tree = balanced_tree()
    store = readable(tmp_path_factory.mktemp("whole") / "whole.zarr", tree)
    run = probe(store, conditional=["llm.final+projector"], **QUICK)
    run.summary["store"]["model"]["weights_hash"] = "of this model"
    (run.path / "summary.json").write_text(json.dumps(run.summary))
    return store, tree


def test_from_probes_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = planted(tmp_path / "planted.zarr", per_leaf=32)
    probe(store, **QUICK)
    assert main("python -m analysis", COMMANDS, None, ["verdict", str(store)]) == 0
    printed = capsys.readouterr().out
    out = tmp_path / "planted.verdict"
    entries = json.loads((out / "verdict.json").read_text(encoding="utf-8"))
    assert [level["level"] for level in entries["levels"]] == list(LEVELS)
    assert {level["stage"] for level in entries["levels"]} == {"projector"}
    assert entries["judged"] == ["encoder", "projector", "llm"]
    for said in ("--images FOLDER", "--text_only true", "--conditional llm.final+projector", "--split leaf"):
        assert any(said in line for line in entries["missing"])
    assert "lost at the projector" in printed
    assert entries["rule"].split()[:4] == printed.split("The rule: ")[1].split()[:4]
    table = pq.read_table(out / "verdict.parquet")
    assert table.column_names == list(Number.__dataclass_fields__)
    assert min(table["n"].to_pylist()) > 0
    assert not np.isnan(table["null"].to_numpy()).any()
    values, low, high = (table[name].to_numpy() for name in ("value", "low", "high"))
    assert np.isfinite(low).all()
    assert (low <= high + 1e-12).all()
    assert {"accuracy", "readable", "fall", "kept", "lost", "never there"} <= set(table["quantity"].to_pylist())
    assert np.isfinite(values).all()


def test_the_function_says_what_the_command_writes(whole: tuple[Path, Taxonomy]) -> None:
    found = verdict(whole[0])
    assert [level.stage for level in found.levels] == ["none"] * 3
    assert found["family"].level == "family"
    assert "what it answers is not judged" in found["family"].why
    assert found == verdict(ProbeRun.open(whole[0]))  # drawn by its seed alone
    with pytest.raises(KeyError):
        found["kingdom"]


def test_answers_beside_the_store_are_taken_into_account(whole: tuple[Path, Taxonomy], tmp_path: Path) -> None:
    store, tree = whole
    run = ProbeRun.open(store)
    images = ask(tmp_path / "images.ask", run, tree, wrong=("family",))
    known, unknown = (
        ask(tmp_path / "a.ask", run, tree, text=True),
        ask(tmp_path / "b.ask", run, tree, ("family",), True),
    )
    stages = {level: verdict(run, images=images, names=known)[level].stage for level in LEVELS}
    assert stages == {"order": "none", "family": "binding", "species": "none"}
    assert verdict(run, images=images, names=unknown)["family"].stage == "text"
    assert verdict(run, images=images)["family"].stage == "answers"
    beside, again = (store.parent / f"{name}.ask" for name in ("beside", "again"))
    ask(beside, run, tree, wrong=("family",))
    try:
        assert verdict(run)["family"].stage == "answers"
        ask(again, run, tree)
        with pytest.raises(InputError, match=r"say which with --images"):
            verdict(run)
    finally:
        for folder in (beside, again):
            shutil.rmtree(folder, ignore_errors=True)


def test_replies_that_cannot_be_read_are_told_from_wrong_ones(whole: tuple[Path, Taxonomy], tmp_path: Path) -> None:
    store, tree = whole
    run = ProbeRun.open(store)
    found = verdict(run, images=ask(tmp_path / "images.ask", run, tree, read=0.1))
    assert {level.stage for level in found.levels} == {"not identifiable"}
    assert all("the replies could not be read" in level.why for level in found.levels)
    some = verdict(run, images=ask(tmp_path / "some.ask", run, tree, read=0.7))
    assert {level.stage for level in some.levels} == {"none"}


def test_answers_about_another_taxonomy_are_refused(whole: tuple[Path, Taxonomy], tmp_path: Path) -> None:
    store, tree = whole
    run = ProbeRun.open(store)
    folder = ask(tmp_path / "images.ask", run, tree)
    other = Taxonomy.from_paths([[f"{name} x" for name in path] for path in tree.paths], LEVELS)
    (folder / TAXONOMY).write_text(json.dumps(other.to_dict()))
    with pytest.raises(InputError, match="another taxonomy: its nodes at order"):
        verdict(run, images=folder)


def test_answers_of_another_model_are_refused(whole: tuple[Path, Taxonomy], tmp_path: Path) -> None:
    run = ProbeRun.open(whole[0])
    folder = ask(tmp_path / "images.ask", run, whole[1])
    record = folder / RECORD
    record.write_text(record.read_text().replace("of this model", "of another"))
    with pytest.raises(InputError, match="other weights than the probes'"):
        verdict(run, images=folder)


def test_answers_by_name_are_not_taken_for_answers_about_the_images(
    whole: tuple[Path, Taxonomy], tmp_path: Path
) -> None:
    store, tree = whole
    named = ask(tmp_path / "names.ask", ProbeRun.open(store), tree, text=True)
    with pytest.raises(InputError, match="was asked by name; give it as --names"):
        verdict(store, images=named)


def test_a_bank_may_be_about_more_leaves_than_the_store(whole: tuple[Path, Taxonomy], tmp_path: Path) -> None:
    store, tree = whole
    run = ProbeRun.open(store)
    folder = ask(tmp_path / "images.ask", run, tree, wrong=("family",))
    before = verdict(run, images=folder)
    more = [("order of its own", "family of its own", f"species {name}") for name in "ab"]
    larger = Taxonomy.from_paths([*more, *tree.paths], LEVELS)
    assert larger.codes[2:].tolist() != tree.codes.tolist()
    (folder / TAXONOMY).write_text(json.dumps(larger.to_dict()))
    assert verdict(run, images=folder) == before


def test_unseen_leaves_are_said_to_be_known_or_looked_up(tmp_path: Path) -> None:
    store = readable(tmp_path / "tree.zarr", balanced_tree((2, 4, 16)))
    probe(store, **QUICK)
    assert verdict(store)["order"].unseen == ""
    probe(store, split="leaf", **QUICK)
    assert "of what is read at llm.final is read of unseen leaves" in verdict(store)["order"].unseen


def test_a_geometry_beside_the_store_is_a_note(whole: tuple[Path, Taxonomy], tmp_path: Path) -> None:
    told = {"reason": "so it is", "alignment": 0.1, "low": 0.0, "high": 0.2, "n": 64, "leaves": 8, "leaves_mean": 0.3}
    rows = [
        {
            "site": site,
            "directions": way,
            "inner_product": "euclidean",
            "parent": "order",
            "child": "family",
            "verdict": word,
        }
        for site, way, word in (
            ("projector", "mean", "violated"),
            ("llm.final", "mean", "orthogonal"),
            ("x", "lda", "?"),
        )
    ]
    (tmp_path / "g").mkdir()
    pq.write_table(pa.Table.from_pylist([row | told for row in rows]), tmp_path / "g/verdicts.parquet")
    found = verdict(whole[0], geometry=tmp_path / "g")
    assert found["family"].geometry == "orthogonal to the directions of order at llm.final (so it is)"
    assert found["order"].geometry == ""
    angles = [entry for entry in found["family"].evidence if entry.quantity == "alignment with the level above"]
    assert [(entry.place, entry.value, entry.n) for entry in angles][1] == ("llm.final", 0.1, 64)
    assert all(np.isnan(entry.null) for entry in angles)  # a margin decides
    assert len(angles) == 2
    with pytest.raises(InputError, match="no geometry here"):
        verdict(whole[0], geometry=tmp_path)


def test_labels_may_hold_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marks = ("a / b", '<script>"x"</script>', "{x} %s", "naïve\u2028é")
    paths = [
        [f"{marks[leaf // 4 % 2]} {leaf // 8}", f"{marks[2]} {leaf // 2}", f"{marks[3]} / {leaf}"] for leaf in range(16)
    ]
    tree = Taxonomy.from_paths(paths, ["kind / of", "<family>", "leaf %s"])
    store = readable(tmp_path / "odd.zarr", tree)
    probe(store, **QUICK)
    assert main("python -m analysis", COMMANDS, None, ["verdict", str(store)]) == 0
    assert "<family>" in capsys.readouterr().out
    found = json.loads((tmp_path / "odd.verdict" / "verdict.json").read_text(encoding="utf-8"))
    assert [level["level"] for level in found["levels"]] == ["kind / of", "<family>", "leaf %s"]
    assert {level["stage"] for level in found["levels"]} == {"none"}


def test_what_no_verdict_can_rest_on_is_refused(whole: tuple[Path, Taxonomy], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no probe results here"):
        verdict(tmp_path / "nothing.zarr")
    run = ProbeRun.open(whole[0])
    with pytest.raises(InputError, match="published protocol"):
        verdict(replace(run, summary=run.summary | {"protocol": "paper"}))
    with pytest.raises(InputError, match="text store"):
        verdict(replace(run, summary=run.summary | {"store": run.summary["store"] | {"kind": "texts"}}))
