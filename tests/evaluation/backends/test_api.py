"""Servers that answer, and servers that do not: a real one on a port of this machine."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commandline import InputError
from evaluation.asks import Answer, Ask
from evaluation.backends import api
from evaluation.backends.api import ApiBackend, key_of
from evaluation.backends.budget import Budget, Prices, estimate
from evaluation.backends.chat import letter_logits
from evaluation.results import AskRun
from evaluation.run import run
from tests.evaluation.planted import asks_of, settings, write_bank

KEY = "sk-very-secret-0123456789"
Reply = tuple[int, dict[str, str], bytes]


def said(text: str | None, top: dict[str, float] | None = None) -> Reply:
    entries = [{"token": token, "logprob": value} for token, value in (top or {}).items()]
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
    choice["logprobs"] = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": entries}]} if top else None
    data = {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}
    return 200, {}, json.dumps(data).encode()


@dataclass
class Server:
    """What it was sent, and what it says to the n-th request."""

    reply: Callable[[int, dict[str, Any]], Reply | None] = lambda number, body: said("A")
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state, lock = Server(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                state.requests.append(body)
                state.keys.append(self.headers.get("Authorization"))
                state.times.append(time.monotonic())
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
                number = len(state.requests) - 1
            try:
                found = state.reply(number, body)
            finally:
                with lock:
                    state.at_once -= 1
            if found is None:
                self.connection.close()
                return
            status, headers, data = found
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def backend(server: Server, **options: Any) -> ApiBackend:
    return ApiBackend(**({"base_url": server.url, "model": "m", "key": KEY, "first_wait": 0.01} | options))


def ask(number: int = 0, image: Path | None = None, **options: Any) -> Ask:
    return Ask(f"q{number}", image, f"Which? {number}", ("A", "B", "C", "D"), **options)


def only(answers: Iterator[Answer]) -> Answer:
    (answer,) = answers
    return answer


def test_what_is_sent(server: Server, tmp_path: Path) -> None:
    """Image before text, as a JPEG data URL, the system turn, greedy; the key as a bearer."""
    picture = tmp_path / "bird.png"
    Image.new("RGB", (2000, 500), (200, 30, 60)).save(picture)
    only(backend(server, image_detail="low").answer([[ask(image=picture, system="Be terse.", max_new_tokens=7)]]))
    (body,) = server.requests
    assert server.keys == [f"Bearer {KEY}"]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 7, 0.0)
    assert body["messages"][0] == {"role": "system", "content": "Be terse."}
    shown, text = body["messages"][1]["content"]
    assert text == {"type": "text", "text": "Which? 0"}
    assert shown["image_url"]["detail"] == "low"
    head, data = shown["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.size == (1680, 420)
    assert np.abs(np.asarray(image).mean((0, 1)) - (200, 30, 60)).max() < 4


def test_what_comes_back(server: Server) -> None:
    server.reply = lambda number, body: said("B", {"B": -0.5, " B": -1.5, "A": -3.0, "The": -2.0})
    answer = only(backend(server).answer([[ask()]]))
    assert (answer.key, answer.text, answer.tokens_in, answer.tokens_out) == ("q0", "B", 100, 2)
    assert answer.letter_logits is not None
    both = float(np.log(np.exp(-0.5) + np.exp(-1.5)))
    assert np.allclose(answer.letter_logits, [-3.0, both, -3.0, -3.0])


def test_no_letter_among_the_tokens() -> None:
    assert letter_logits({"content": [{"top_logprobs": [{"token": "The", "logprob": -0.1}]}]}, "AB") is None
    assert letter_logits(None, "AB") is None
    assert letter_logits({"content": []}, "AB") is None


def test_every_ask_has_its_own_answer(server: Server) -> None:
    """Whatever the order they come in, and no more at once than asked for."""

    def reply(number: int, body: dict[str, Any]) -> Reply:
        time.sleep(0.02 * (number % 3))
        return said(body["messages"][0]["content"])

    server.reply = reply
    groups = [[ask(4 * group + level) for level in range(4)] for group in range(6)]
    answers = list(backend(server, concurrency=3).answer(groups))
    assert sorted(answer.key for answer in answers) == sorted(f"q{number}" for number in range(24))
    assert all(answer.text == f"Which? {answer.key[1:]}" for answer in answers)
    assert 2 <= server.most_at_once <= 3


@pytest.mark.parametrize("header", ["0.3", pytest.param("date", marks=pytest.mark.slow)])
def test_429_waits_as_long_as_it_is_told(server: Server, header: str) -> None:
    wait = {"Retry-After": formatdate(time.time() + 2, usegmt=True) if header == "date" else header}
    server.reply = lambda number, body: (429, wait, b"slow down") if number == 0 else said("C")
    assert only(backend(server).answer([[ask()]])).text == "C"
    assert server.times[1] - server.times[0] >= (0.95 if header == "date" else 0.3)


def test_500_and_closed_connections_are_tried_again(server: Server) -> None:
    server.reply = lambda number, body: [(500, {}, b"oops"), None, (503, {}, b""), said("D")][min(number, 3)]
    assert only(backend(server).answer([[ask()]])).text == "D"
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "garbage",
    [
        b"<html>busy</html>",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": 3}}]}',
        b"\xff\xfe",
        b"[1]",
    ],
)
def test_garbage_is_an_error_after_some_tries(server: Server, garbage: bytes) -> None:
    server.reply = lambda number, body: (200, {}, garbage)
    answer = only(backend(server, first_wait=0.0).answer([[ask()]]))
    assert (answer.status, answer.text, answer.letter_logits) == ("error", "", None)
    assert answer.error is not None
    assert answer.error.startswith("no answer in 6 tries; the last: not an answer of the chat protocol")
    assert len(server.requests) == 6


def test_a_refusal_to_say_anything_is_an_empty_answer(server: Server) -> None:
    server.reply = lambda number, body: said(None)
    answer = only(backend(server).answer([[ask()]]))
    assert (answer.status, answer.text) == ("ok", "")


def test_one_bad_request_is_an_error_of_its_own(server: Server) -> None:
    server.reply = lambda number, body: (
        (400, {}, b"content policy") if "Which? 1" in str(body["messages"]) else said("A")
    )
    answers = {answer.key: answer for answer in backend(server).answer([[ask(0), ask(1), ask(2)]])}
    assert [answers[f"q{number}"].status for number in range(3)] == ["ok", "error", "ok"]
    assert answers["q1"].error == "HTTP 400: content policy"


def test_parameters_a_server_does_not_take_are_left_out(server: Server) -> None:
    def reply(number: int, body: dict[str, Any]) -> Reply:
        for name in ("logprobs", "max_tokens", "temperature"):
            if name in body:
                return 400, {}, f"Unsupported parameter: '{name}'".encode()
        return said("A" if body["max_completion_tokens"] == 1 else "?")

    server.reply = reply
    assert only(backend(server).answer([[ask()]])).text == "A"
    assert len(server.requests) == 4


@pytest.mark.parametrize(("status", "message"), [(401, "refuses the key"), (404, "has no model 'm'")])
def test_what_no_try_can_mend_stops_the_run(server: Server, status: int, message: str) -> None:
    server.reply = lambda number, body: (status, {}, f"bad {KEY}".encode())
    with pytest.raises(InputError, match=message) as raised:
        list(backend(server, concurrency=1).answer([[ask(number) for number in range(20)]]))
    assert len(server.requests) == 1
    assert KEY not in str(raised.value)


def test_no_part_of_the_key_stays_where_words_are_cut(server: Server) -> None:
    """A server that repeats the key across the place where its words are cut off."""
    for status, cut in ((422, 200), (200, 80)):
        server.reply = lambda number, body, status=status, cut=cut: (status, {}, b"x" * (cut - 8) + KEY.encode())
        answer = only(backend(server, first_wait=0.0).answer([[ask()]]))
        assert "sk-" not in str(answer.error)


def test_a_server_that_only_fails_is_given_up(server: Server) -> None:
    server.reply = lambda number, body: (422, {}, b"no images, please")
    with pytest.raises(InputError, match="has answered nothing in 16 asks"):
        list(backend(server, concurrency=1).answer([[ask(number) for number in range(40)]]))
    assert len(server.requests) == 16


def test_an_image_that_cannot_be_read_is_not_sent(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    found = list(backend(server).answer([[ask(0, tmp_path / "a.jpg")], [ask(1, tmp_path / "b.jpg")]]))
    assert server.requests == []
    assert sorted(str(answer.error).split(": ")[-1] for answer in found) == [
        "No such file or directory",
        "not an image of a format PIL knows",
    ]


def test_the_rate_is_kept(server: Server) -> None:
    list(backend(server, budget=Budget(requests_per_minute=600.0)).answer([[ask(number) for number in range(5)]]))
    assert np.diff(sorted(server.times)).mean() > 0.08


def test_it_stops_before_it_costs_too_much(server: Server) -> None:
    """100 tokens in at 1,000 and 2 out at 5,000 a million: 0.11 an answer, nine in 1."""
    asking = backend(server, budget=Budget(Prices(1000, 5000), max_cost=1.0), concurrency=1)
    with pytest.raises(InputError, match=r"stopped at a cost of 0\.99, before --max_cost 1 is passed"):
        list(asking.answer([[ask(number) for number in range(30)]]))
    assert len(server.requests) == 9
    assert asking.budget.spent == pytest.approx(0.99)


def test_what_is_under_way_counts_as_spent(server: Server) -> None:
    """Eight at a time, of which three more may be paid for after the first."""

    def reply(number: int, body: dict[str, Any]) -> Reply:
        time.sleep(0.1)
        return said("A")

    server.reply = reply
    asking = backend(server, budget=Budget(Prices(1000, 5000), max_cost=0.5), concurrency=8)
    only(asking.answer([[ask()]]))
    with pytest.raises(InputError, match=r"before --max_cost 0\.5 is passed"):
        list(asking.answer([[ask(number) for number in range(1, 9)]]))
    assert len(server.requests) == 4


def test_what_is_paid_for_is_kept_when_it_stops(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bank(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    costs = {"base_url": server.url, "price_in": 1000, "price_out": 5000, "concurrency": 2}
    with pytest.raises(InputError, match="max_cost"):
        run(settings(tmp_path, **costs, max_cost=2.0))
    kept = AskRun.open(tmp_path / "run").answers()
    assert 17 <= kept.num_rows == len(server.requests) <= 18  # two at a time: what is under way is put aside
    run(settings(tmp_path, **costs, max_cost=100.0))
    assert len(server.requests) == 48 * 3
    assert AskRun.open(tmp_path / "run").answers().num_rows == 48 * 3


def test_the_estimate(tmp_path: Path) -> None:
    write_bank(tmp_path)
    asks = asks_of(tmp_path)
    every = [asked.ask for group in asks.groups() for asked in group]
    tokens = sum(len(one.text) / 4 + 800 for one in every)
    assert estimate(asks, None).startswith(f"144 requests of about {tokens:,.0f} tokens, at most 432 in answer;")
    assert estimate(asks, Prices(2.0, 10.0)).endswith(f"estimated cost {(tokens * 2 + 432 * 10) / 1e6:.2f}")


@pytest.mark.slow
def test_the_key_is_in_nothing_that_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even where the server repeats it, in answers and in errors."""
    write_bank(tmp_path)
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setattr(api, "TRIES", 2)

    def reply(number: int, body: dict[str, Any]) -> Reply:
        if number % 7 == 3:
            return 418, {}, f"a teapot has {KEY}".encode()
        return said(f"A, says {KEY}") if number % 7 else (500, {"Retry-After": "0"}, f"died of {KEY}".encode())

    server.reply = reply
    run(settings(tmp_path, base_url=server.url, api_key_env="MY_KEY", model="gpt"))
    assert server.keys[0] == f"Bearer {KEY}"
    texts = AskRun.open(tmp_path / "run").answers()
    assert any("[key]" in str(error) for error in texts["error"].to_pylist())
    assert any("[key]" in text for text in texts["text"].to_pylist())
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(written) >= 6
    for path in written:
        assert KEY.encode() not in path.read_bytes(), path
    table = texts.to_pylist()
    assert KEY not in json.dumps(table)
    printed = capfd.readouterr()
    assert KEY not in printed.out + printed.err
    assert KEY not in repr(backend(server))


def test_where_the_key_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert key_of("OPENAI_API_KEY", "http://localhost:8000/v1") is None
    with pytest.raises(InputError, match=r"\$OPENAI_API_KEY is not set"):
        key_of("OPENAI_API_KEY", "https://api.openai.com/v1")
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert key_of("OPENAI_API_KEY", "https://api.openai.com/v1") == KEY
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    with pytest.raises(InputError, match="holds characters that no key has"):
        key_of("OPENAI_API_KEY", "https://api.openai.com/v1")


@pytest.mark.slow
def test_a_local_server_needs_no_key(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write_bank(tmp_path, per_leaf=1)
    run(settings(tmp_path, base_url=server.url))
    assert set(server.keys) == {None}
