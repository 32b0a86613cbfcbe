"""Tables as CSV that a page carries in its links: no file beside it, no script."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

MOST = 1_200_000
"""Bytes of all links together."""
PLAIN = " ,.:;/[]()+-_=!*'"
"""What needs no escape in a data: link (a blank is escaped after all, by the browser)."""


@dataclass(frozen=True)
class Download:
    name: str
    rows: int
    href: str
    """Empty where the table is too large for the page."""


def downloads(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Download]:
    """A link per table that has rows; the largest are left out until all fit into `MOST`."""
    found = {name: _href(rows) for name, rows in tables.items() if rows}
    while sum(map(len, found.values())) > MOST:
        found[max(found, key=lambda name: len(found[name]))] = ""
    return [Download(name, len(tables[name]), href) for name, href in found.items()]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Numbers to six digits; empty where there is none."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return f"'{text}" if text[:1] in "=+@" else text  # a spreadsheet would run it


def _href(rows: Sequence[Mapping[str, Any]]) -> str:
    return "data:text/csv;charset=utf-8," + quote(as_csv(rows), safe=PLAIN.replace(" ", "").replace("'", ""))
