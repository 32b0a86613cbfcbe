"""Ask a server that speaks OpenAI's chat protocol: vLLM, GPT-4o, and their like."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from commandline import InputError, first_line
from evaluation.asks import Answer, Ask, failed
from evaluation.backends import chat
from evaluation.backends.budget import Budget, Prices, estimate
from evaluation.config import AskConfig
from taxonomy.pictures import UnreadableImage

if TYPE_CHECKING:
    from evaluation.asking import Plan

TRIES = 6
LONGEST_WAIT = 120.0
"""Seconds between two tries, at most, whatever the server says."""
TIMEOUT = 120.0
HOPELESS = 16
"""Errors without one answer after which a server is given up."""
RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
LOCAL = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}


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
    temperature: float = 0.0
    image_detail: str = "auto"
    budget: Budget = field(default_factory=Budget)
    first_wait: float = 1.0
    """Seconds before the second try; twice as long before each one after it."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._jitter = random.Random()
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
            temperature=config.temperature,
            image_detail=config.image_detail,
            budget=Budget(prices, config.max_cost, config.requests_per_minute),
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
            "image_side": chat.SIDE,
        }

    def answer(self, groups: Sequence[Sequence[Ask]]) -> Iterator[Answer]:
        """Answers as they come.

        Raises InputError, once what is under way has been answered, where the server refuses the key or the model, has
        answered nothing at all, or the budget is used up.
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
            body = chat.request(ask, self.model, self.temperature, self.image_detail)
        except UnreadableImage as error:
            return failed(ask, str(error))
        try:
            return self._counted(self._tried(client, ask, body))
        except InputError as error:
            with self._lock:
                self._stopped = self._stopped or error
            return None

    def _tried(self, client: httpx.Client, ask: Ask, body: dict[str, Any]) -> Answer:
        """The answer, in as many tries as it takes or as there are. Raises InputError where the run is to stop."""
        why = ""
        for attempt in range(TRIES):
            self._check_hope()
            reserved = self.budget.reserve(ask)
            try:
                return self._once(client, ask, body)
            except _Retry as error:
                why, wait = str(error), error.after
            finally:
                self.budget.release(reserved)
            if attempt + 1 < TRIES:
                self._sleep(wait, attempt)
        return failed(ask, f"no answer in {TRIES} tries; the last: {why}")

    def _check_hope(self) -> None:
        with self._lock:
            if self._stopped:
                raise self._stopped
            if not self._answered and self._errors >= HOPELESS:
                raise InputError(
                    f"{self.base_url} has answered nothing in {self._errors} asks; the errors are in the run's answers"
                )

    def _once(self, client: httpx.Client, ask: Ask, body: dict[str, Any]) -> Answer:
        """One request. Raises _Retry where another may do better, InputError where none can."""
        try:
            response = client.post(f"{self.base_url}/chat/completions", json=chat.without(body, self._left_out))
        except httpx.TimeoutException as error:
            raise _Retry(f"no answer within {TIMEOUT:g} s") from error
        except httpx.InvalidURL as error:
            raise InputError(f"--base_url {self.base_url!r} is no address: {error}") from error
        except httpx.HTTPError as error:
            raise _Retry(f"the connection failed ({self._safe(first_line(error))})") from error
        if response.status_code != 200:
            return self._refused(ask, response)
        try:
            found = chat.answer(ask, response.json())
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _Retry(f"not an answer of the chat protocol: {self._words(response)[:80]!r}") from error
        self.budget.spend(found.tokens_in, found.tokens_out)
        return replace(found, text=self._safe(found.text))

    def _refused(self, ask: Ask, response: httpx.Response) -> Answer:
        status, said = response.status_code, self._words(response)[:200]
        if status in (401, 403):
            raise InputError(f"{self.base_url} refuses the key (HTTP {status}); set another in the environment")
        if status in (404, 405):
            raise InputError(
                f"{self.base_url} has no model {self.model!r} to chat with (HTTP {status}: {said}); check "
                "--base_url, which usually ends in /v1, and --model"
            )
        if status == 400:
            unknown = {name for name in chat.OPTIONAL if name in said} - self._left_out
            if unknown:
                self._left_out |= unknown
                raise _Retry(f"the server does not take {', '.join(sorted(unknown))}", 0.0)
        if status in RETRIED or status >= 500:
            raise _Retry(f"HTTP {status}: {said}", _retry_after(response.headers.get("retry-after")))
        return failed(ask, f"HTTP {status}: {said}")

    def _sleep(self, after: float | None, attempt: int) -> None:
        wait = self.first_wait * 2**attempt * self._jitter.uniform(0.5, 1.5) if after is None else after
        time.sleep(min(wait, LONGEST_WAIT))

    def _counted(self, answer: Answer) -> Answer:
        with self._lock:
            self._answered += answer.status == "ok"
            self._errors += answer.status == "error"
        return answer

    def _words(self, response: httpx.Response) -> str:
        return self._safe(" ".join(response.text.split()))

    def _safe(self, text: str) -> str:
        """A server's words without the key, should it repeat it."""
        return text.replace(self.key, "[key]") if self.key else text


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
