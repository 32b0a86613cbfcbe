"""Ask a server that speaks OpenAI's chat protocol: vLLM, GPT-4o, and their like."""

from __future__ import annotations

import base64
import io
import math
import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from PIL import Image

from commandline import InputError, first_line
from evaluation.asks import Answer, Ask, failed
from evaluation.config import AskConfig
from taxonomy.pictures import UnreadableImage, read

if TYPE_CHECKING:
    from evaluation.asking import Plan

TRIES = 6
LONGEST_WAIT = 120.0
"""Seconds between two tries, at most, whatever the server says."""
TIMEOUT = 120.0
TOP_LOGPROBS = 20
SIDE = 1680
"""Longest side of an image that is sent, in pixels: the study's."""
IMAGE_TOKENS = 800
"""What an image is taken to be, in tokens, before a server has counted one; it depends on the model and the size."""
HOPELESS = 16
"""Errors without one answer after which a server is given up."""
RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
LOCAL = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost."""

    tokens_in: float
    tokens_out: float

    def of(self, tokens_in: float, tokens_out: float) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


class _Retry(Exception):
    """A try that failed, and after how many seconds the server wants the next one (None: as we like)."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


@dataclass
class ApiBackend:
    """A model behind `base_url`/chat/completions. The key goes into requests and nowhere else."""

    base_url: str
    model: str
    key: str | None = field(repr=False)
    concurrency: int = 8
    requests_per_minute: float | None = None
    temperature: float = 0.0
    image_detail: str = "auto"
    prices: Prices | None = None
    max_cost: float | None = None
    first_wait: float = 1.0
    """Seconds before the second try; twice as long before each one after it."""
    spent: float = 0.0
    """By the tokens the server has counted."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._jitter = random.Random()
        self._start, self._flying, self._dearest = 0.0, 0.0, 0.0
        self._answered, self._errors = 0, 0
        self._left_out: set[str] = set()  # parameters this server does not take
        self._stopped: InputError | None = None

    @classmethod
    def of(cls, config: AskConfig, asks: Plan) -> ApiBackend:
        """By the settings; says on stderr what the whole run is likely to cost. Raises InputError without prices for a
        `max_cost`, or without a key."""
        if config.max_cost is not None and (config.price_in is None or config.price_out is None):
            raise InputError("--max_cost needs the prices: --price_in and --price_out, of a million tokens each")
        prices = None
        if config.price_in is not None or config.price_out is not None:
            prices = Prices(config.price_in or 0.0, config.price_out or 0.0)
        print(estimate(asks, prices), file=sys.stderr)
        return cls(
            base_url=str(config.base_url).rstrip("/"),
            model=config.model,
            key=key_of(config.api_key_env, str(config.base_url)),
            concurrency=config.concurrency,
            requests_per_minute=config.requests_per_minute,
            temperature=config.temperature,
            image_detail=config.image_detail,
            prices=prices,
            max_cost=config.max_cost,
        )

    @property
    def identity(self) -> dict[str, str | int | float | bool | None]:
        """The server and how it is asked; what stands behind a model's name there may change without notice."""
        return {
            "backend": "api",
            "base_url": self.base_url,
            "model": self.model,
            "temperature": self.temperature,
            "image_detail": self.image_detail,
            "image_side": SIDE,
        }

    def answer(self, groups: Sequence[Sequence[Ask]]) -> Iterator[Answer]:
        """Answers as they come.

        Raises InputError, once what is under way has been answered, where the server refuses the key or the model, has
        answered nothing at all, or `max_cost` would be passed.
        """
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        limits = httpx.Limits(max_connections=self.concurrency)
        with httpx.Client(timeout=TIMEOUT, headers=headers, limits=limits) as client:
            pool = ThreadPoolExecutor(self.concurrency)
            try:
                coming = [pool.submit(self._answer, client, ask) for ask in chain.from_iterable(groups)]
                for future in as_completed(coming):
                    answer = future.result()
                    if answer is not None:
                        yield answer
            finally:
                pool.shutdown(cancel_futures=True)
        if self._stopped:
            raise self._stopped

    def _answer(self, client: httpx.Client, ask: Ask) -> Answer | None:
        """The answer, or None where the run was stopped before it was asked."""
        try:
            body = self._body(ask)
        except UnreadableImage as error:
            return failed(ask, str(error))
        why = ""
        for attempt in range(TRIES):
            reserved = self._reserve(ask, attempt)
            if reserved is None:
                return None
            try:
                return self._counted(self._once(client, ask, body))
            except _Retry as error:
                why, wait = self._safe(str(error)), error.after
            except InputError as error:
                with self._lock:
                    self._stopped = self._stopped or error
                return None
            finally:
                with self._lock:
                    self._flying -= reserved
            if attempt + 1 < TRIES:
                self._sleep(wait, attempt)
        return self._counted(failed(ask, f"no answer in {TRIES} tries; the last: {why}"))

    def _once(self, client: httpx.Client, ask: Ask, body: dict[str, Any]) -> Answer:
        """One request. Raises _Retry where another may do better, InputError where none can."""
        try:
            response = client.post(f"{self.base_url}/chat/completions", json=self._fitted(body))
        except httpx.TimeoutException as error:
            raise _Retry(f"no answer within {TIMEOUT:g} s") from error
        except httpx.InvalidURL as error:
            raise InputError(f"--base_url {self.base_url!r} is no address: {error}") from error
        except httpx.HTTPError as error:
            raise _Retry(f"the connection failed ({first_line(error)})") from error
        if response.status_code != 200:
            return self._refused(ask, response)
        return self._read(ask, response)

    def _refused(self, ask: Ask, response: httpx.Response) -> Answer:
        status, said = response.status_code, " ".join(response.text.split())[:200]
        if status in (401, 403):
            raise InputError(f"{self.base_url} refuses the key (HTTP {status}); set another in the environment")
        if status in (404, 405):
            raise InputError(
                f"{self.base_url} has no model {self.model!r} to chat with (HTTP {status}: {self._safe(said)}); check "
                "--base_url, which usually ends in /v1, and --model"
            )
        if status == 400:
            unknown = {name for name in _OPTIONAL if name in said} - self._left_out
            if unknown:
                self._left_out |= unknown
                raise _Retry(f"the server does not take {', '.join(sorted(unknown))}", 0.0)
        if status in RETRIED or status >= 500:
            raise _Retry(f"HTTP {status}: {said}", _retry_after(response.headers.get("retry-after")))
        return failed(ask, f"HTTP {status}: {self._safe(said)}")

    def _read(self, ask: Ask, response: httpx.Response) -> Answer:
        try:
            data = response.json()
            choice, usage = data["choices"][0], data.get("usage") or {}
            text = choice["message"].get("content") or ""
            tokens_in, tokens_out = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
            logits = letter_logits(choice.get("logprobs"), ask.letters)
            if not isinstance(text, str):
                raise TypeError("content is no text")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            said = " ".join(response.text.split())[:80]
            raise _Retry(f"not an answer of the chat protocol: {said!r}") from error
        if self.prices:
            cost = self.prices.of(tokens_in, tokens_out)
            with self._lock:
                self.spent += cost
                self._dearest = max(self._dearest, cost)
        return Answer(ask.key, self._safe(text), logits, tokens_in, tokens_out)

    def _reserve(self, ask: Ask, attempt: int) -> float | None:
        """What the request may cost, put aside until it has been answered; None where it may not be sent any more.

        Waits for its turn where the server takes only so many a minute.
        """
        guess = self._dearest or (self.prices.of(*_tokens(ask)) if self.prices else 0.0)
        with self._lock:
            if self.max_cost is not None and self.spent + self._flying + guess > self.max_cost:
                self._stopped = self._stopped or InputError(
                    f"stopped at a cost of {self.spent:.4g}, before --max_cost {self.max_cost:g} is passed; what was "
                    "answered is kept, and the same command with a larger --max_cost goes on"
                )
            if attempt == 0 and not self._answered and self._errors >= HOPELESS:
                self._stopped = self._stopped or InputError(
                    f"{self.base_url} has answered nothing in {self._errors} asks; the errors are in the run's answers"
                )
            if self._stopped:
                return None
            self._flying += guess
            start = self._start = max(self._start + 60 / (self.requests_per_minute or math.inf), time.monotonic())
        time.sleep(max(0.0, start - time.monotonic()))
        return guess

    def _sleep(self, after: float | None, attempt: int) -> None:
        wait = self.first_wait * 2**attempt * self._jitter.uniform(0.5, 1.5) if after is None else after
        time.sleep(min(wait, LONGEST_WAIT))

    def _counted(self, answer: Answer) -> Answer:
        with self._lock:
            self._answered += answer.status == "ok"
            self._errors += answer.status == "error"
        return answer

    def _body(self, ask: Ask) -> dict[str, Any]:
        content: Any = ask.text
        if ask.image is not None:
            picture = {"url": _data_url(ask.image), "detail": self.image_detail}
            content = [{"type": "image_url", "image_url": picture}, {"type": "text", "text": ask.text}]
        system = [] if ask.system is None else [{"role": "system", "content": ask.system}]
        return {
            "model": self.model,
            "messages": [*system, {"role": "user", "content": content}],
            "max_tokens": ask.max_new_tokens,
            "temperature": self.temperature,
            "logprobs": True,
            "top_logprobs": TOP_LOGPROBS,
        }

    def _fitted(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request without what this server does not take."""
        left_out = set(self._left_out)
        if left_out & {"logprobs", "top_logprobs"}:
            left_out |= {"logprobs", "top_logprobs"}
        kept = {name: value for name, value in body.items() if name not in left_out}
        return kept | ({"max_completion_tokens": body["max_tokens"]} if "max_tokens" in left_out else {})

    def _safe(self, text: str) -> str:
        """A server's words without the key, should it repeat it."""
        return text.replace(self.key, "[key]") if self.key else text


_OPTIONAL = ("max_tokens", "temperature", "logprobs", "top_logprobs")
"""Parameters that not every server takes; a newer OpenAI model wants `max_completion_tokens` for the first."""


def key_of(variable: str, base_url: str) -> str | None:
    """The key in an environment variable; None for a server on this machine that has none. Raises InputError."""
    key = os.environ.get(variable, "").strip()
    if key and (not key.isascii() or not key.isprintable() or " " in key):
        raise InputError(f"the key in ${variable} holds characters that no key has; copy it again")
    if not key and urlsplit(base_url).hostname not in LOCAL:
        raise InputError(
            f"${variable} is not set: put the server's key there (export {variable}=...), or name another variable "
            "with --api_key_env"
        )
    return key or None


def estimate(asks: Plan, prices: Prices | None) -> str:
    """What a run's tokens will be and cost, from the first asks: four characters to a token, and a guess for images."""
    some = list(islice((asked.ask for group in asks.groups() for asked in group), 1000))
    share = len(asks) / max(len(some), 1)
    tokens_in, tokens_out = (share * sum(counts) for counts in zip(*map(_tokens, some), strict=True))
    text = f"{len(asks):,} requests of about {tokens_in:,.0f} tokens, at most {tokens_out:,.0f} in answer"
    if prices is None:
        return f"{text}; --price_in and --price_out tell what they cost"
    return f"{text}: estimated cost {prices.of(tokens_in, tokens_out):.2f}"


def _tokens(ask: Ask) -> tuple[float, float]:
    """A guess of the tokens of a request, and the most its answer may have."""
    words = (len(ask.text) + len(ask.system or "")) / 4
    return words + (IMAGE_TOKENS if ask.image else 0), float(ask.max_new_tokens)


def letter_logits(logprobs: Any, letters: Sequence[str]) -> np.ndarray | None:
    """float32 (letter,): for each letter the log-sum-exp of the first token's log-probabilities that say it.

    A letter that is not among the tokens the server lists has the least of theirs, which is as much as it can have.
    None where the server lists none, or no letter is among them.
    """
    entries = (logprobs or {}).get("content") or []
    listed = entries[0].get("top_logprobs") or [] if entries else []
    if not listed:
        return None
    least = min(float(entry["logprob"]) for entry in listed)
    found = []
    for letter in letters:
        values = [float(entry["logprob"]) for entry in listed if entry["token"].strip() == letter]
        found.append(np.logaddexp.reduce(values) if values else None)
    if all(value is None for value in found):
        return None
    return np.array([least if value is None else value for value in found], np.float32)


@lru_cache(maxsize=64)
def _data_url(path: Path) -> str:
    image = read(path)
    if max(image.size) > SIDE:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=95)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _retry_after(header: str | None) -> float | None:
    """Seconds, from a number or a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
