"""What the analyses log, read back from wandb's own files, and that their lineage is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analysis.__main__ import COMMANDS
from commandline import main
from tests.analysis.bottleneck.test_run import ask, readable
from tests.probing.planted import balanced_tree
from tests.probing.test_run import probe
from tests.tracking.offline import Logged, read

pytestmark = pytest.mark.slow

REPLY = "a reply as the model wrote it"


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Logged]]:
    """A probed store, answers, a geometry and a verdict, both logged: the folder, and the runs by their job."""
    folder, tree = tmp_path_factory.mktemp("analysed"), balanced_tree()
    store = readable(folder / "whole.zarr", tree)
    found = probe(store, controls=0, penalties=[0.01])
    found.summary["store"]["model"]["weights_hash"] = "of this model"
    (found.path / "summary.json").write_text(json.dumps(found.summary))
    probe(store, controls=0, penalties=[0.01], split="leaf")
    for name, text in (("seen", False), ("named", True)):
        asked = ask(folder / f"{name}.ask", found, tree, ("species",), text=text)
        (asked / "answers").mkdir()
        (asked / "answers" / "part-0.parquet").write_text(REPLY)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DIR", "WANDB_PROJECT", "WANDB_RUN_ID", "WANDB_SWEEP_ID"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_DATA_DIR", str(folder / "staged"))
        patch.chdir(folder)
        options = ["--wandb.project", "taxoprobe", "--wandb.mode", "offline"]
        for command, *quick in (
            ("geometry", "--draws", "40", "--device", "cpu", "--inner_products", "euclidean"),
            ("verdict", "--bootstrap", "1000"),
        ):
            assert main("python -m analysis", COMMANDS, None, [command, str(store), *quick, *options]) == 0
    runs = [read(path) for path in (folder / "wandb").glob("offline-run-*")]
    return folder, {run.run.job_type: run for run in runs}


def rows(file: Path) -> list[dict[str, Any]]:
    return pq.read_table(file).to_pylist()


def test_a_verdict_by_level_and_the_numbers_it_rests_on(logged: tuple[Path, dict[str, Logged]]) -> None:
    folder, runs = logged
    run, written = runs["verdict"], json.loads((folder / "whole.verdict" / "verdict.json").read_text())
    assert run.finished
    assert "wandb" not in written["config"]
    assert {level["stage"] for level in written["levels"]} >= {"none"}
    for level in written["levels"]:
        for key in ("stage", "confident", "strength", "low", "high"):
            assert run.summary.get(f"{level['level']}/{key}") == level[key]
    evidence = rows(folder / "whole.verdict" / "verdict.parquet")
    assert [row["value"] for row in run.table("evidence")] == [row["value"] for row in evidence]
    assert set(run.table("evidence")[0]) >= {"level", "quantity", "place", "value", "low", "high", "n", "null"}
    assert [row["why"] for row in run.table("levels")] == [level["why"] for level in written["levels"]]


def test_a_verdicts_lineage_is_all_it_was_made_from(logged: tuple[Path, dict[str, Logged]]) -> None:
    _, runs = logged
    run, geometry = runs["verdict"], runs["geometry"]
    assert {(kind, name) for kind, name, _ in run.nodes} == {
        *(("probes", name) for name in ("whole.probe", "whole.probe-leaf")),
        *(("answers", name) for name in ("seen.ask-strict_v1", "named.ask-strict_v1")),
        ("geometry", "whole.geometry"),
    }
    assert ("geometry", "whole.geometry", geometry.made["geometry"].digest) in run.nodes
    assert {node for node in geometry.nodes if node[0] == "probes"} < run.nodes
    assert {entry.path for entry in run.made["verdict"].manifest.contents} == {"verdict.json", "verdict.parquet"}
    assert REPLY.encode() not in run.bytes()


def test_a_geometry_by_layer_with_its_null(logged: tuple[Path, dict[str, Logged]]) -> None:
    folder, runs = logged
    run, verdicts = runs["geometry"], rows(folder / "whole.geometry" / "verdicts.parquet")
    assert run.steps == {"encoder/*": "layer"}
    (step,) = [row for row in run.history if "layer" in row]
    assert step["layer"] == 1
    seen = 0
    for row in verdicts:
        pair = f"{row['child']} given {row['parent']}/mean/euclidean"
        stage, told = ("encoder", step) if row["site"] == "encoder.1" else (row["site"], run.summary)
        for key, column in (
            ("alignment", "alignment"),
            ("alignment_low", "low"),
            ("alignment_high", "high"),
            ("null_high", "leaves_high"),
        ):
            if row[column] == row[column]:
                assert told[f"{stage}/{pair}/{key}"] == row[column]
                seen += 1
    assert seen > 8
    table = run.table("geometry")
    assert len(table) == pq.read_metadata(folder / "whole.geometry" / "geometry.parquet").num_rows
    assert {row["layer"] for row in table if row["site"] == "encoder.1"} == {1}
    drawn = {path.stem for path in (folder / "whole.geometry").glob("*.png")}
    assert drawn
    keys = {"/".join(key.split("/")[:2]) for row in run.history for key in row}
    assert keys >= {"pages/orthogonality", *(f"figures/{name}" for name in drawn)}
    assert "wandb" not in json.loads((folder / "whole.geometry" / "summary.json").read_text())["config"]
