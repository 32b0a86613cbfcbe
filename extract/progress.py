"""The progress bar of long work."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(
    total: int, unit: str, description: str, done: int = 0, iterable: Iterable[Any] | None = None, **options: Any
) -> tqdm[Any]:
    """A bar with rate and ETA; where nobody watches (a log file) it prints a line every half minute instead."""
    watched = sys.stderr.isatty()
    return tqdm(
        iterable,
        total=total,
        initial=done,
        unit=unit,
        desc=description,
        mininterval=0.2 if watched else 30,
        maxinterval=10 if watched else 60,
        **options,
    )
