r"""Put the study's questions to photographs of your own: those that it asked about images of the same leaf.

    python examples/official_questions.py --official CUB200_with_similar_choice.jsonl.gz \
        --images photographs/labels.csv --out runs/birds-similar.jsonl

Every photograph of the split takes over the questions of one image of its leaf (arXiv 2505.24840), drawn by the hash of
its own id: the same names are offered, at every level, and the order they stand in is the study's.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from commandline import Command, Config, InputError, main


class OfficialQuestions(Config):
    """Write the study's questions, in its own format, for photographs of the same leaves."""

    official: Path
    """The study's question file (.jsonl or .jsonl.gz)."""
    images: Path
    """A CSV with the columns below; its paths are the bank's."""
    out: Path
    """The bank to write (.jsonl)."""
    split: str = "test"
    """The photographs that are asked about."""
    file_column: str = "file"
    """The column of paths."""
    leaf_column: str = "official_name"
    """The column that names the leaf as the study does (its `label`)."""
    split_column: str = "split"
    """The column of splits."""


def write(config: OfficialQuestions) -> None:
    """Write the bank. Raises InputError for photographs of a leaf that the study did not ask about."""
    from taxonomy.names import normalise

    by_leaf: dict[str, list[dict[str, Any]]] = {}
    opened = gzip.open if config.official.suffix == ".gz" else open
    with opened(config.official, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            by_leaf.setdefault(normalise(row["label"]), []).append(row)
    with config.images.open(encoding="utf-8", newline="") as file:
        photographs = list(csv.DictReader(file))
    lacking = {config.file_column, config.leaf_column, config.split_column} - set(photographs[0] if photographs else ())
    if lacking:
        raise InputError(f"{config.images} has no column {', '.join(sorted(lacking))}")
    rows = []
    for photograph in photographs:
        if photograph[config.split_column] != config.split:
            continue
        path, leaf = photograph[config.file_column], photograph[config.leaf_column]
        asked = by_leaf.get(normalise(leaf))
        if asked is None:
            raise InputError(f"{config.images}: the study has no questions about {leaf!r}, which {path} shows")
        draw = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") % len(asked)
        rows.append(asked[draw] | {"image": path, "split": config.split})
    if not rows:
        raise InputError(f"{config.images}: no photograph is in the split {config.split!r}")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{config.out}: {len(rows):,} photographs, {sum(key.startswith('choices_') for key in rows[0])} levels")


if __name__ == "__main__":
    sys.exit(main("python examples/official_questions.py", {"write": Command(OfficialQuestions, write)}, "write"))
