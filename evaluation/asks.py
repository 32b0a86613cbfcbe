"""What is put to a model, and what comes back: the seam between the question bank and every backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np


@dataclass(frozen=True)
class Ask:
    """One question as a model is to see it, the options in the order they are shown."""

    key: str
    """Unique in a run: question, prompt variant and rotation."""
    image: Path | None
    """The photograph; None asks by text alone."""
    text: str
    """The user's message, without the image and without the chat template."""
    letters: tuple[str, ...]
    """The letters shown, one per option: ("A", "B", "C", "D")."""
    system: str | None = None
    """A system message."""
    max_new_tokens: int = 1
    """Room for the greedy answer; 1 for a letter, more for a chain of thought."""
    options: tuple[str, ...] = ()
    """The names shown, in the letters' order: for a backend that compares names with images and reads no text."""


@dataclass(frozen=True)
class Answer:
    """What a model said to one `Ask`, both scores from one forward."""

    key: str
    text: str
    """The greedy text, special tokens left out."""
    letter_logits: np.ndarray | None
    """float32 (letter,): for each letter of the ask, in its order, the log-sum-exp of the next-token logits of the
    tokens that say it ("A", " A"); None where the backend gives no logits."""
    tokens_in: int = 0
    tokens_out: int = 0
    status: Literal["ok", "error"] = "ok"
    error: str | None = None
    """Why there is no answer, in one sentence; such a question stays wrong and is counted apart."""


def failed(ask: Ask, why: str) -> Answer:
    """No answer, and why."""
    return Answer(ask.key, "", None, status="error", error=why)


class Backend(Protocol):
    """Something that answers. Groups of asks share an image; a backend may use that, or not."""

    @property
    def identity(self) -> dict[str, str | int | float | bool | None]:
        """Everything about the model that an answer depends on (id, revision, dtype, ...), for the run's record."""
        ...

    def answer(self, groups: Sequence[Sequence[Ask]]) -> Iterator[Answer]:
        """Answers to the asks of some images, each group of one image (or of none), in any order."""
        ...
