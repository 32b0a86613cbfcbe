"""OpenAI's chat protocol: an ask as a request, and a reply as an answer."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evaluation.asks import Answer, Ask
from taxonomy.pictures import read

TOP_LOGPROBS = 20
SIDE = 1680
"""Longest side of an image that is sent, in pixels: the study's."""
OPTIONAL = ("max_tokens", "temperature", "logprobs", "top_logprobs")
"""Parameters that not every server takes; a newer OpenAI model wants `max_completion_tokens` for the first."""


def request(ask: Ask, model: str, temperature: float, image_detail: str) -> dict[str, Any]:
    """The request's body, the image before the text. Raises UnreadableImage."""
    content: Any = ask.text
    if ask.image is not None:
        picture = {"url": data_url(ask.image), "detail": image_detail}
        content = [{"type": "image_url", "image_url": picture}, {"type": "text", "text": ask.text}]
    system = [] if ask.system is None else [{"role": "system", "content": ask.system}]
    return {
        "model": model,
        "messages": [*system, {"role": "user", "content": content}],
        "max_tokens": ask.max_new_tokens,
        "temperature": temperature,
        "logprobs": True,
        "top_logprobs": TOP_LOGPROBS,
    }


def without(body: dict[str, Any], unknown: Collection[str]) -> dict[str, Any]:
    """A request less the `OPTIONAL` parameters that a server does not know; both of log-probabilities, or none."""
    left_out = set(unknown)
    if left_out & {"logprobs", "top_logprobs"}:
        left_out |= {"logprobs", "top_logprobs"}
    kept = {name: value for name, value in body.items() if name not in left_out}
    return kept | ({"max_completion_tokens": body["max_tokens"]} if "max_tokens" in left_out else {})


def answer(ask: Ask, reply: Any) -> Answer:
    """The answer in a reply's JSON. Raises ValueError, KeyError, IndexError, TypeError or AttributeError for what is
    none."""
    choice, usage = reply["choices"][0], reply.get("usage") or {}
    text = choice["message"].get("content") or ""
    if not isinstance(text, str):
        raise TypeError("content is no text")
    counts = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    return Answer(ask.key, text, letter_logits(choice.get("logprobs"), ask.letters), *counts)


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
def data_url(path: Path) -> str:
    """The image as a JPEG of at most `SIDE` pixels to a side. Raises UnreadableImage."""
    image = read(path)
    if max(image.size) > SIDE:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=95)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
