"""A network that is absent, refuses, fails or hangs: the command ends in time, and the run stays on disk."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.tracking.offline import only
from tracking import Record, Tracking, track


@contextmanager
def server(look: int | None, post: int | None) -> Iterator[tuple[str, list[str]]]:
    """A server that answers a look at it, and what is posted, with these codes; None: never. With what was asked."""
    asked: list[str] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            code = look if self.command == "GET" else post
            asked.append(f"{self.command} {self.path}")
            if code is None:
                over.wait()
                return
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = answer

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
@pytest.mark.parametrize("post", [None, 500])
def test_an_upload_that_comes_to_nothing_is_given_up(post, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with server(200, post) as (address, asked):
        started = time.monotonic()
        assert "not uploaded within 2 s" in logged(address, monkeypatch, capsys, 2)
        assert time.monotonic() - started < 30  # wandb by itself goes on for more than ten minutes
        assert "POST /graphql" in asked
