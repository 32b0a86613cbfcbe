"""A small run with everything that a report can show: probes, answers with images, names that would do harm."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from evaluation.report import report
from evaluation.results import SCHEMA, begin
from probing.results import ProbeRun
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree

HARM = ("""<script>alert("order")</script>""", 'fam\'ily & "co"', r"a$\frac$b")
"""Names of levels, and so the beginnings of the nodes' names."""


class Outline(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.cells = {text.strip() for text in self.text}
        self.words = " ".join(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def answer(probes: ProbeRun, tree: Taxonomy, photos: Path, text_only: bool = False, wrong_level: int = 1) -> Path:
    """A run of `python -m evaluation` beside the probes: right at every level but one, where it is wrong throughout."""
    table = pq.read_table(probes.path / "predictions.parquet").to_pylist()
    leaf_of = {row["id"]: row["leaf"] for row in table}
    kind = "names" if text_only else "images"
    rows: list[dict[str, Any]] = []
    photos.mkdir(exist_ok=True)
    for image, leaf in sorted(leaf_of.items()):
        Image.new("RGB", (300, 200), (20 * leaf % 255, 90, 120)).save(photos / image, "PNG")
        for depth, level in enumerate(tree.levels[: -1 if text_only else None]):
            right = int(tree.codes[leaf, depth])
            names = tree.names(level)
            nodes = [(right + step) % len(names) for step in range(min(4, len(names)))]
            said = "B" if depth == wrong_level else "A"
            rows.append(
                {
                    "position": len(rows),
                    "question": f"{image}#{level}",
                    "image": image,
                    "leaf": " / ".join(tree.paths[leaf]),
                    "level": level,
                    "prompt": "p",
                    "rotation": 0,
                    "order": list(range(len(nodes))),
                    "options": [names[node] for node in nodes],
                    "nodes": nodes,
                    "answer": 0,
                    "asks": len(tree.levels) - text_only,
                    "text": said,
                    "letter_logits": np.eye(len(nodes), dtype=np.float32)[int(said == "B")].tolist(),
                    "tokens_in": 1,
                    "tokens_out": 1,
                    "status": "ok",
                    "error": None,
                }
            )
    settings = {
        "bank": {"sha256": "b", "dataset": "clusters", "taxonomy": "t"},
        "prompts": {"p": {"reads": "letter"}},
        "rotations": 1,
        "prior_fraction": 0.0,
        "text_only": text_only,
        "shown": "image",
        "model": {"model": "planted"},
    }
    about = {"images": str(photos), "questions": "bank.parquet", "asks": len(rows)}
    run = begin(probes.path.with_name(f"{kind}.ask"), settings, tree, about)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), run.path / "answers" / "part-000000.parquet")
    report(run, "strict_v1", 200)
    return run.path


def harmful_tree() -> Taxonomy:
    return balanced_tree(levels=HARM)
