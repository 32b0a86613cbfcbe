"""How long a question bank takes on one core, drawn and written.

    python benchmarks/questions.py [--questions 1000000] [--taxonomy FILE]

A tree of iNat21-Animal's shape by default (5,388 leaves, seven levels), or a taxonomy file. The bar: a million
questions by chance, and a million by the tree, in under 60 s each. Then scores of a million paths of seven levels,
in under 1 s.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from commandline import Command, Config, main

if TYPE_CHECKING:
    from taxonomy import Taxonomy
    from taxonomy.questions.table import Subjects

SIZES = (1, 6, 27, 152, 715, 2988, 5388)
"""Nodes per level of iNat21-Animal."""
BAR, SCORES_BAR = 60.0, 1.0


class QuestionsBenchConfig(Config):
    """Time `python -m taxonomy questions` without its start."""

    questions: PositiveInt = 1_000_000
    """How many."""
    taxonomy: str | None = None
    """A taxonomy file; by default a tree of iNat21-Animal's shape."""
    paths: PositiveInt = 1_000_000
    """How many paths are scored."""


def tree(file: str | None) -> Taxonomy:
    """The taxonomy to ask about."""
    from taxonomy import Taxonomy

    if file:
        return Taxonomy.from_json(file)
    leaves = range(SIZES[-1])
    return Taxonomy.from_paths(
        [[f"level {k} node {leaf * size // SIZES[-1]}" for k, size in enumerate(SIZES)] for leaf in leaves]
    )


def subjects(taxonomy: Taxonomy, questions: int) -> Subjects:
    """Images, as many of each leaf, that make so many questions."""
    import numpy as np

    from taxonomy.questions.table import Subjects

    count = -(-questions // int(taxonomy.depths.mean()))
    leaf = (np.arange(count, dtype=np.int64) * len(taxonomy) // count).astype(np.int32)
    ids = [f"val/{taxonomy.leaves[index]}/{row:08d}.jpg" for row, index in enumerate(leaf)]
    return Subjects(ids, ids, [taxonomy.leaves[index] for index in leaf], ["test"] * count, leaf, [None] * count)


def score(paths: int) -> float:
    """Seconds for the scores of so many paths of seven levels, the best of three."""
    import numpy as np

    from taxonomy.metrics import path_scores

    rng = np.random.default_rng(0)
    truth = rng.integers(5, size=(paths, 7))
    predicted = np.where(rng.random((paths, 7)) < 0.7, truth, 5)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        path_scores(predicted, truth)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def run(config: QuestionsBenchConfig) -> None:
    """Measure and print, each against its bar."""
    from taxonomy.questions.build import ask, write
    from taxonomy.questions.distractors import at_random, nearest_in_tree
    from taxonomy.questions.table import About

    taxonomy = tree(config.taxonomy)
    who = subjects(taxonomy, config.questions)
    for name, rule in (("random", at_random), ("sibling", nearest_in_tree)):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            asked = ask(About("bench", taxonomy, {}), who, rule(taxonomy), seed=0)
            drawn = time.perf_counter()
            write(asked, Path(folder) / "bank.parquet")
            seconds = time.perf_counter() - start
        print(
            f"{name:<8} {len(asked):,} questions: drawn in {drawn - start:.1f} s, with writing {seconds:.1f} s "
            f"({len(asked) / seconds:,.0f} a second; bar {BAR:.0f} s: {'met' if seconds < BAR else 'MISSED'})"
        )
    seconds = score(config.paths)
    print(
        f"scores of {config.paths:,} paths of 7 levels: {seconds:.2f} s "
        f"(bar {SCORES_BAR:.0f} s: {'met' if seconds < SCORES_BAR else 'MISSED'})"
    )


if __name__ == "__main__":
    sys.exit(main("benchmarks/questions.py", {"questions": Command(QuestionsBenchConfig, run)}, "questions"))
