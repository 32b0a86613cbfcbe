"""What is logged, read back from wandb's own files; and that nothing of it is when it is not asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.config import ReportConfig
from commandline import Command
from commandline.parse import parse
from evaluation.config import ReparseConfig
from evaluation.report import reparse
from probing.config import ProbeConfig
from probing.results import ProbeRun
from probing.run import run as probe
from tests.evaluation.planted import RuleBackend, open_bank, settings, truths, write_bank
from tests.tracking.offline import only
from tests.tracking.stores import SITES, planted
from tracking import Record, Tracking, track
from tracking.config import MODES

SECRET = "hunter2-and-more"
KEY = "a" * 10 + "b" * 30


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """wandb as a process of its own would find it."""
    for name in ("WANDB_DIR", "WANDB_PROJECT", "WANDB_RUN_ID", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    monkeypatch.setenv("SOME_SERVICE_TOKEN", SECRET)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probed store, tracked, in an environment that holds secrets, one of them in a setting."""
    folder = tmp_path_factory.mktemp("probed")
    store = planted(folder / "planted.zarr")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SOME_SERVICE_TOKEN", SECRET)
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setattr(sys, "argv", ["probing", f"--address=https://user:{SECRET}@host"])
        bank = folder / f"{SECRET}.jsonl"
        bank.write_text('{"id": "s6", "level": "order", "options": ["order 0"], "answer": "order 0"}\n')
        options = Tracking(project="taxoprobe", group="g", tags="a,b", name="n", mode="offline")
        probe(
            ProbeConfig(
                store=str(store), penalties=[1.0, 0.01], shuffles=1, bootstrap=1000, questions=str(bank), wandb=options
            )
        )
    return folder


def test_the_configuration_is_the_command_line(run: Path) -> None:
    logged = only(run)
    assert (logged.run.project, logged.run.run_group, logged.run.display_name) == ("taxoprobe", "g", "n")
    assert (list(logged.run.tags), logged.run.job_type) == (["a", "b"], "probe")
    assert logged.finished
    config = {name: value for name, value in logged.config.items() if name != "_wandb"}
    again = parse("p", Command(ProbeConfig, lambda c: None), [f"--{name}={value}" for name, value in config.items()])
    found = ProbeRun.open(run / "planted.zarr").summary["config"]
    assert again.model_dump(mode="json", exclude={"wandb", "epochs", "questions"}) == {
        name: value for name, value in found.items() if name != "questions"
    }
    assert "wandb" not in found


def test_metrics_of_a_stage_have_the_layer_as_their_step(run: Path) -> None:
    logged, found = only(run), ProbeRun.open(run / "planted.zarr")
    assert logged.steps == {"encoder/*": "layer", "llm/*": "layer"}
    rows = [row for row in logged.history if "layer" in row]
    assert [row["layer"] for row in rows] == [0, 1, 2]
    cells = {(record["site"], record["level"]): record for record in found.probes}
    for row, site in zip(rows, ("llm.0", "encoder.1", "encoder.2"), strict=True):
        stage = site.partition(".")[0]
        for key in ("accuracy", "accuracy_low", "accuracy_high", "shuffled_high"):
            assert row[f"{stage}/family/{key}"] == cells[site, "family"][key]
        assert row[f"{stage}/hca"] == next(record["hca"] for record in found.hca if record["site"] == site)
    for site in ("projector", "llm.final"):  # those that are no layer of several
        assert logged.summary[f"{site}/order/accuracy"] == cells[site, "order"]["accuracy"]


def test_the_summary_has_what_a_sweep_chooses_by(run: Path) -> None:
    logged, found = only(run), ProbeRun.open(run / "planted.zarr")
    top = max(found.hca, key=lambda record: record["validation_hca"])
    for key in ("site", "validation_hca", "hca", "hca_low", "hca_high", "n_test"):
        assert logged.summary[key] == top[key]


def test_tables_are_long_and_every_number_has_its_interval_and_n(run: Path) -> None:
    logged, found = only(run), ProbeRun.open(run / "planted.zarr")
    rows = logged.table("probes")
    assert set(rows[0]) == {"site", "stage", "layer", "level", "measure", "value", "low", "high", "null", "n"}
    assert {row["site"] for row in rows} == set(SITES)
    accuracy = {(row["site"], row["level"]): row for row in rows if row["measure"] == "accuracy"}
    for record in found.probes:
        row = accuracy[record["site"], record["level"]]
        there = [row[key] for key in ("value", "low", "high", "null", "n")]
        assert there == [record[key] for key in ("accuracy", "accuracy_low", "accuracy_high", "shuffled", "n_test")]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows if row["measure"] == "accuracy")
    assert {row["measure"] for row in logged.table("hca")} >= {"hca", "top_down", "leaf_lookup"}


def test_every_penalty_of_a_layer_is_told_from_one_reading(run: Path) -> None:
    rows = only(run).table("penalties")
    assert len(rows) == len(SITES) * 3 * 2
    probes = {(record["site"], record["level"]): record for record in ProbeRun.open(run / "planted.zarr").probes}
    chosen = [row for row in rows if row["chosen"]]
    assert len(chosen) == len(probes)
    for row in chosen:
        record = probes[row["site"], row["level"]]
        assert (row["penalty"], row["log_loss"]) == (record["penalty"], record["validation_log_loss"])
        same = [other for other in rows if (other["site"], other["level"]) == (row["site"], row["level"])]
        assert row["log_loss"] == min(other["log_loss"] for other in same)


def test_no_secret_is_anywhere_in_it(run: Path) -> None:
    logged = only(run)
    everything = logged.bytes()
    assert b"planted" in everything
    for secret in (SECRET, KEY, "address=https"):
        assert secret.encode() not in everything
    assert logged.config["questions"].endswith("/***.jsonl")
    assert not logged.run.host
    assert not logged.run.git.remote_url
    names = {path.name for path in logged.folder.rglob("*") if path.is_file()}
    assert not names & {"wandb-metadata.json", "requirements.txt", "output.log"}
    assert not [name for name in names if name.endswith((".py", ".patch"))]


def test_a_store_goes_as_its_manifest_and_the_results_go_whole(run: Path) -> None:
    logged = only(run)
    assert set(logged.used) == {"store", "questions"}
    assert [entry.path for entry in logged.used["store"].manifest.contents] == ["manifest.json"]
    about = json.loads(logged.used["store"].metadata)
    assert about["uploaded"] is False
    assert about["bytes"] > sum(entry.size for entry in logged.used["store"].manifest.contents)
    tables = {entry.path for entry in logged.made["probes"].manifest.contents}
    assert tables >= {"probes.parquet", "hca.parquet", "predictions.parquet", "summary.json", "penalties.parquet"}


@pytest.mark.slow
def test_a_report_uses_the_very_probes_that_were_made(run: Path, tmp_path: Path) -> None:
    from analysis.report import run as report

    out = tmp_path / "report.html"
    options = Tracking(project="taxoprobe", mode="offline")
    report(ReportConfig(run=str(run / "planted.probe"), out=str(out), wandb=options))
    logged = only(tmp_path)
    assert logged.used["probes"].digest == only(run).made["probes"].digest
    assert logged.used["probes"].name == "planted.probe"
    pictures = {path.name for path in (tmp_path / "figures").glob("*.png")}
    assert len(pictures) > 3
    assert {entry.path for entry in logged.made["report"].manifest.contents} == {"report.html", *pictures}
    keys = {"/".join(key.split("/")[:2]) for row in logged.history for key in row}
    assert keys >= {"pages/report", *(f"figures/{name.removesuffix('.png')}" for name in pictures)}


def test_answers_are_logged_without_replies_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evaluation.run import run as ask

    write_bank(tmp_path)
    monkeypatch.setenv("MINE", "short!")  # neither its name nor its length says that it is a secret
    config = settings(tmp_path, api_key_env="MINE", split="test", wandb=Tracking(project="p", mode="offline"))
    ask(config, lambda _config, asks: RuleBackend(truths(open_bank(tmp_path))))
    logged = only(tmp_path)
    assert logged.run.job_type == "ask"
    scores = logged.table("scores")
    assert next(row["value"] for row in scores if row["score"] == "hca") == logged.summary["hca"]
    assert all(row["n"] for row in scores if row["score"] in ("hca", "accuracy"))
    names = {entry.path for entry in logged.made["answers"].manifest.contents}
    assert {name.partition("/")[0] for name in names} == {"strict_v1"}
    assert b"short!" not in logged.bytes()
    reparse(ReparseConfig(run=str(tmp_path / "run"), parser="released"))  # untracked: it stays the only run
    assert only(tmp_path).run.run_id == logged.run.run_id


def test_without_a_project_nothing_is_imported_nor_made(tmp_path: Path) -> None:
    program = (
        "import sys; import analysis.__main__, evaluation.__main__, extract.__main__, probing.__main__\n"
        "from tracking import Tracking, track\n"
        "def never(): raise AssertionError\n"
        "track(Tracking(), never); track(Tracking(mode='online'), never)\n"
        "track(Tracking(project='p', mode='disabled'), never)\n"
        "assert not {'wandb', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_of_wandb_is_said_once_and_ends_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    track(Tracking(project="p", mode="offline", dir=str(blocked)), lambda: Record("probe", {}))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wandb: not logged (FileExistsError")
    assert "the results are written all the same" in line


@pytest.mark.parametrize("said", [*MODES, "", "nonsense"])
def test_the_mode_is_the_environments_unless_given(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", said)
    assert Tracking(project="p").wanted == MODES.get(said, "online")
    assert Tracking(project="p", mode="offline").wanted == "offline"
    assert Tracking(mode="offline").wanted == "disabled"
