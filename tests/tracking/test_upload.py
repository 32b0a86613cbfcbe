"""A network that is absent, refuses, fails or hangs: the command ends in time, and the run stays on disk."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.tracking.offline import only
from tracking import Curve, Files, Record, Tracking, track


def wandb_says(body: bytes) -> bytes:
    """What a server of wandb's answers to GraphQL: the run is there, and every artifact is known already."""
    asked = json.loads(body)
    query, given = asked["query"].lower(), asked.get("variables") or {}
    if "mutation upsertbucket" in query:
        project = {"id": "P", "name": given.get("project"), "entity": {"id": "E", "name": "me"}}
        bucket = {"id": "B", "name": given["name"], "displayName": "n", "config": "{}", "historyLineCount": 0}
        found = {"upsertBucket": {"bucket": bucket | {"description": "", "project": project}, "inserted": True}}
    elif "mutation createartifact" in query:
        name = given["input"]["artifactCollectionName"]
        latest = {"id": "S", "latestArtifact": {"id": name, "versionIndex": 0}}
        found = {"createArtifact": {"artifact": {"id": name, "state": "COMMITTED", "artifactSequence": latest}}}
    else:
        found = {"serverInfo": {"features": []}, "createRunFiles": {"runID": "B", "uploadHeaders": [], "files": []}}
    return json.dumps({"data": found}).encode()


@contextmanager
def server(look: int | None, post: int | None, works: bool = False) -> Iterator[tuple[str, list[str]]]:
    """A server that answers a look at it, and what is posted, with these codes; None: never. With what was asked, and
    where it works, the bodies."""
    asked: list[str] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            code = look if self.command == "GET" else post
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(f"{self.command} {self.path}" + (f" {body.decode(errors='replace')}" if works else ""))
            if code is None:
                over.wait()
                return
            said = b"{}" if not works else wandb_says(body) if self.path == "/graphql" else b"{}"
            self.send_response(code)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}", asked
        finally:
            over.set()
            http.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no settings and no proxy of this machine's."""
    for name in ("http_proxy", "HTTP_PROXY", "WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    monkeypatch.chdir(tmp_path)


def logged(address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], patience: float) -> str:
    """What is said when a run is logged online to this address; the run is whole on disk."""
    monkeypatch.setenv("WANDB_BASE_URL", address)
    track(Tracking(project="p", mode="online", patience=patience), lambda: Record("probe", {"seed": 3}))
    (line,) = capsys.readouterr().err.splitlines()
    found = only(Path())
    assert found.finished
    assert found.config["seed"] == 3
    assert line.endswith(f"; kept in {found.folder}; `wandb sync {found.folder}` uploads it")
    return line


def test_nobody_there(monkeypatch, capsys) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        said = logged(f"http://127.0.0.1:{taken.getsockname()[1]}", monkeypatch, capsys, 60)
    assert "out of reach" in said


@pytest.mark.parametrize(("look", "said"), [(None, "out of reach (timed out)"), (503, "answers with 503")])
def test_a_server_that_hangs_or_fails_is_not_tried(look, said, monkeypatch, capsys) -> None:
    with server(look, None) as (address, asked):
        assert said in logged(address, monkeypatch, capsys, 0.5)
    assert asked == ["GET /"]


def test_without_a_key_it_is_said_and_nobody_is_asked_for_one(monkeypatch, capsys) -> None:
    with server(404, 500) as (address, _):
        assert "No API key configured" in logged(address, monkeypatch, capsys, 60)


@pytest.mark.slow
def test_an_upload_that_comes_to_nothing_is_given_up(monkeypatch, capsys) -> None:
    """wandb by itself would go on for many minutes."""
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with server(200, None) as (address, asked):
        assert "not uploaded within 2 s" in logged(address, monkeypatch, capsys, 2)
        assert asked[0] == "GET /"


@pytest.mark.slow
def test_a_server_that_works_gets_the_run_and_its_lineage_and_no_secret(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("MY_TOKEN", "hunter2-and-more")
    (tmp_path / "made.json").write_text('{"address": "https://u:hunter2-and-more@host"}')
    record = Record(
        "probe",
        {"model": "hunter2-and-more"},
        {"note": "hunter2-and-more", "hca": 0.5},
        [Curve("llm", {3: {"hca": 0.25}})],
        {"rows": [{"a": "hunter2-and-more"}]},
        used=[Files("the-store", "store", (), {"sha256": "x"})],
        made=[Files("the-probes", "probes", (tmp_path / "made.json",))],
    )
    with server(200, 200, works=True) as (address, asked):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        track(Tracking(project="taxoprobe", mode="online"), lambda: record)
        run = only(Path())
        assert capsys.readouterr().err == f"wandb: {address}/me/taxoprobe/runs/{run.run.run_id}\n"
    used = [json.loads(line.split(" ", 2)[2])["variables"]["input"] for line in asked if "mutation UseArtifact" in line]
    assert [(given["artifactID"], given["runName"]) for given in used] == [("the-store", run.run.run_id)]
    everything = "\n".join(asked)
    assert "the-probes" in everything
    assert "llm/hca" in everything
    assert "hunter2" not in everything
    assert "a" * 40 not in everything
