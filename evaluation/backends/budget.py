"""What asking a server costs, before and while it is asked, and how often it may be asked."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from commandline import InputError
from evaluation.asks import Ask

if TYPE_CHECKING:
    from evaluation.asking import Plan

IMAGE_TOKENS = 800
"""What an image is taken to be, in tokens, before a server has counted one; it depends on the model and the size."""


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost."""

    tokens_in: float
    tokens_out: float

    def of(self, tokens_in: float, tokens_out: float) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


@dataclass
class Budget:
    """What may still be spent, and when the next request may go out; for many threads."""

    prices: Prices | None = None
    max_cost: float | None = None
    requests_per_minute: float | None = None
    spent: float = 0.0
    """By the tokens the server has counted."""
    _reserved: float = 0.0
    """For requests under way."""
    _dearest: float = 0.0
    _next: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reserve(self, ask: Ask) -> float:
        """Put aside what a request may cost (as the dearest so far, or by a guess) and wait for its turn.

        Raises InputError where `max_cost` would be passed.
        """
        guess = self._dearest or (self.prices.of(*tokens(ask)) if self.prices else 0.0)
        with self._lock:
            if self.max_cost is not None and self.spent + self._reserved + guess > self.max_cost:
                raise InputError(
                    f"stopped at a cost of {self.spent:.4g}, before --max_cost {self.max_cost:g} is passed; what was "
                    "answered is kept, and the same command with a larger --max_cost goes on"
                )
            self._reserved += guess
            start = self._next = max(self._next + 60 / (self.requests_per_minute or math.inf), time.monotonic())
        time.sleep(max(0.0, start - time.monotonic()))
        return guess

    def release(self, reserved: float) -> None:
        """The request is over."""
        with self._lock:
            self._reserved -= reserved

    def spend(self, tokens_in: int, tokens_out: int) -> None:
        """Count an answer, by the server's tokens."""
        if self.prices:
            cost = self.prices.of(tokens_in, tokens_out)
            with self._lock:
                self.spent += cost
                self._dearest = max(self._dearest, cost)


def estimate(asks: Plan, prices: Prices | None) -> str:
    """What a run's tokens will be and cost, from the first asks: four characters to a token, and a guess for images."""
    some = list(islice((asked.ask for group in asks.groups() for asked in group), 1000))
    share = len(asks) / max(len(some), 1)
    tokens_in, tokens_out = (share * sum(counts) for counts in zip(*map(tokens, some), strict=True))
    text = f"{len(asks):,} requests of about {tokens_in:,.0f} tokens, at most {tokens_out:,.0f} in answer"
    if prices is None:
        return f"{text}; --price_in and --price_out tell what they cost"
    return f"{text}: estimated cost {prices.of(tokens_in, tokens_out):.2f}"


def tokens(ask: Ask) -> tuple[float, float]:
    """A guess of the tokens of a request, and the most its answer may have."""
    words = (len(ask.text) + len(ask.system or "")) / 4
    return words + (IMAGE_TOKENS if ask.image else 0), float(ask.max_new_tokens)
