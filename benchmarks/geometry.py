"""The verdicts of `analysis.geometry` where the truth is planted, its speed and memory, and the published criterion.

    python benchmarks/geometry.py planted [--cells small] [--repeats 100]
    python benchmarks/geometry.py speed --taxonomy hierarchy_CUB200.json
    python benchmarks/geometry.py published

planted: Gaussian samples about leaf means that have no tree (`none`), that differ but not by the tree (`leaves`), that
are an orthogonal tree, or a tree whose offsets have a cosine of +-0.5 with their parent (`violated`). A draw is right
when every pair of levels has the right verdict. Bars: 95 of 100, and at most 5 of 100 false ones on noise. speed: bars
of 60 s, and of 1.5 times the features' memory. published: what Park et al.'s criterion says of the first.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from commandline import Command, Config, main

if TYPE_CHECKING:
    import numpy as np

    from taxonomy import Taxonomy

Kind = Literal["none", "leaves", "orthogonal", "violated"]
TRUTH: dict[Kind, str] = {
    "none": "not identifiable",
    "leaves": "not identifiable",
    "orthogonal": "orthogonal",
    "violated": "violated",
}
RHO = 0.5


@dataclass(frozen=True)
class Cell:
    """A tree by how many children its nodes have, level by level (a range: drawn), and a size."""

    branching: tuple[int | tuple[int, int], ...]
    width: int
    per_width: float
    """Samples per feature."""
    large: bool = False

    @property
    def name(self) -> str:
        """In one word."""
        return " ".join(f"{k}" if isinstance(k, int) else f"{k[0]}-{k[1]}" for k in self.branching)


CELLS = (
    Cell((3, 3, 3), 128, 2),
    Cell((3, 3, 3), 128, 20),
    Cell(((2, 5), (2, 4), (2, 5)), 128, 4),
    Cell(((2, 4), (2, 4), (2, 4), (2, 4)), 128, 8),
    Cell((2, 2, 2, 2, 2, 2, 2), 128, 4),
    Cell((4, 3, 3), 512, 2),
    Cell((3, 2, 2, 2, 2), 512, 4),
    Cell((3, (1, 4), (1, 4), (1, 3)), 1024, 3),
    Cell((3, 3, 3), 3584, 2, large=True),
)


class PlantedConfig(Config):
    """How often the verdicts are right."""

    cells: Literal["small", "large", "all"] = "small"
    """Which sizes: up to 1,024 features, 3,584, or both."""
    only: NonNegativeInt | None = None
    """One cell, counted from 0, whatever its size."""
    repeats: PositiveInt = 100
    """Draws of each cell and truth."""
    draws: PositiveInt = 199
    """Of every null."""
    norm: PositiveFloat = 4.0
    """Length of every offset, in standard deviations of a sample in one feature."""
    seed: int = 2027
    """Of the data."""


class SpeedConfig(Config):
    """Time and memory on a real tree's shape."""

    taxonomy: Path
    """A taxonomy file, such as CUB-200's."""
    rows: PositiveInt = 6000
    """Samples."""
    width: PositiveInt = 1024
    """Features."""
    draws: PositiveInt = 1000
    """Of every null."""


class PublishedConfig(Config):
    """Park et al.'s criterion on random rows."""

    repeats: PositiveInt = 20
    """Draws."""


def tree(branching: tuple[int | tuple[int, int], ...], rng: np.random.Generator) -> Taxonomy:
    """A tree whose nodes have as many children as asked for."""
    from taxonomy import Taxonomy

    paths: list[list[str]] = [[]]
    for k in branching:
        counts = [k if isinstance(k, int) else int(rng.integers(k[0], k[1] + 1)) for _ in paths]
        paths = [[*path, f"{len(path)}.{at}.{i}"] for at, path in enumerate(paths) for i in range(counts[at])]
    return Taxonomy.from_paths(paths)


def planted(
    taxonomy: Taxonomy, n: int, d: int, kind: Kind, rng: np.random.Generator, norm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 (n, d) and leaf (n,): leaf means by `kind`, and noise of variance 1 in every feature.

    Offsets of siblings are random directions that sum to zero and are orthogonal to their parent, on average `norm`
    long; violated: a part of them, rho^2 of their squared length on average, lies along the parent, up and down in
    turn. Leaves have two samples, and the rest are dealt at random, so leaves differ in size.
    """
    import numpy as np

    count = len(taxonomy)
    leaf = np.concatenate([np.arange(count), np.arange(count), rng.integers(0, count, n - 2 * count)])
    features = rng.standard_normal((n, d), dtype=np.float32)
    if kind == "leaves":
        means = rng.normal(size=(count, d)) * norm / np.sqrt(d)
    elif kind == "none":
        return features, leaf
    else:
        means = _leaf_means(taxonomy, d, RHO if kind == "violated" else 0.0, rng, norm)
    features += means.astype(np.float32)[leaf]
    return features, leaf


def _leaf_means(taxonomy: Taxonomy, d: int, rho: float, rng: np.random.Generator, norm: float) -> np.ndarray:
    import numpy as np

    above, means = np.zeros((1, d)), np.zeros((len(taxonomy), d))
    for level in range(len(taxonomy.levels)):
        parents = np.maximum(taxonomy.parent_codes(level), 0)
        nodes = above[parents]
        for parent in np.unique(parents):
            children = np.flatnonzero(parents == parent)
            if len(children) > 1:
                nodes[children] += _offsets(len(children), above[parent], rho, rng, norm)
        here = taxonomy.codes[:, level]
        means[here >= 0] = nodes[here[here >= 0]]
        above = nodes
    return means


def _offsets(count: int, parent: np.ndarray, rho: float, rng: np.random.Generator, norm: float) -> np.ndarray:
    import numpy as np

    size = np.linalg.norm(parent)
    along = parent / size if size > 0 else np.zeros_like(parent)
    offsets = rng.normal(size=(count, len(parent)))
    offsets -= offsets.mean(0)
    offsets -= np.outer(offsets @ along, along)
    offsets *= norm / np.linalg.norm(offsets, axis=1).mean()
    if size == 0:
        return offsets
    signs = np.where(np.arange(count) % 2, -1.0, 1.0)
    signs -= signs.mean()
    signs /= np.sqrt((signs**2).mean())
    return np.sqrt(1 - rho**2) * offsets + rho * norm * np.outer(signs, along)


def run_planted(config: PlantedConfig) -> None:
    """Print a line per cell and truth."""
    import numpy as np

    from analysis.geometry import Rule, orthogonality

    rule = Rule(draws=config.draws)
    print(rule, f"\noffsets {config.norm:g} long, {config.repeats} draws of each, seed {config.seed}\n")
    print(f"{'children':22}{'leaves':>8}{'d':>6}{'n':>7}  {'accuracy':>8}  {'truth':12}{'right':>7}   otherwise")
    for number, cell in enumerate(CELLS):
        chosen = config.cells == "all" or cell.large == (config.cells == "large")
        if number != config.only if config.only is not None else not chosen:
            continue
        for kind, verdict in TRUTH.items():
            right, wrong, sizes, accuracies = 0, Counter(), [], []
            for repeat in range(config.repeats):
                rng = np.random.default_rng([config.seed, repeat])
                taxonomy = tree(cell.branching, rng)
                n = max(int(cell.per_width * cell.width), 2 * len(taxonomy))
                features, leaf = planted(taxonomy, n, cell.width, kind, rng, config.norm)
                found = orthogonality(features, leaf, taxonomy, seed=repeat, rule=rule)
                right += all(each == verdict for each in found.verdicts.values())
                wrong.update(each for each in found.verdicts.values() if each != verdict)
                sizes.append((len(taxonomy), n))
                if repeat < 5:
                    accuracies.append(leaf_accuracy(features, leaf))
            leaves, n = (
                f"{min(size)}" if min(size) == max(size) else f"~{int(np.median(size))}"
                for size in zip(*sizes, strict=True)
            )
            print(
                f"{cell.name:22}{leaves:>8}{cell.width:>6}{n:>7}  {np.mean(accuracies):8.2f}  {kind:12}"
                f"{right:>3}/{config.repeats}   {', '.join(f'{k} {v}' for k, v in wrong.items())}",
                flush=True,
            )


def leaf_accuracy(features: np.ndarray, leaf: np.ndarray) -> float:
    """How often the nearest mean of the other half of the samples is the right leaf."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import NearestCentroid

    return float(
        cross_val_score(NearestCentroid(), features, leaf, cv=StratifiedKFold(2, shuffle=True, random_state=0)).mean()
    )


def run_speed(config: SpeedConfig) -> None:
    """Print seconds, and how far the process grows above its features, in a process that has run it once."""
    import gc
    import threading

    import numpy as np
    import torch

    from analysis.geometry import orthogonality
    from taxonomy import Taxonomy

    rng = np.random.default_rng(0)
    small = tree((3, 3, 3), rng)
    orthogonality(rng.standard_normal((270, 8), dtype=np.float32), np.arange(270) % 27, small, draws=20)
    gc.collect()
    taxonomy = Taxonomy.from_json(config.taxonomy)
    leaf, before = np.arange(config.rows) % len(taxonomy), _resident()
    features = rng.standard_normal((config.rows, config.width), dtype=np.float32)
    for start in range(0, len(leaf), 100):
        features[start : start + 100] += 0.1 * (leaf[start : start + 100, None] % 7)
    peak, done = [_resident()], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    found = orthogonality(features, leaf, taxonomy, draws=config.draws)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    print(
        f"{config.rows:,} x {config.width:,}, {len(taxonomy)} leaves, {len(found.nodes)} nodes, {config.draws:,} "
        f"draws, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}: {seconds:.1f} s (bar 60)\n"
        f"features {features.nbytes / 2**20:.1f} MiB, grown by {(peak[0] - before) / 2**20:.1f} MiB with them: "
        f"{(peak[0] - before) / features.nbytes:.2f} times (bar 1.5)"
    )


def _resident() -> int:
    import resource

    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def run_published(config: PublishedConfig) -> None:
    """Print the published cosines and the verdict here, on rows without any structure."""
    import numpy as np

    from analysis.geometry import orthogonality, park_criterion, unified_space

    print(f"{'':34}{'true parent':>20}{'shuffled rows':>20}{'random parent':>20}   reads orthogonal")
    rng = np.random.default_rng(7)
    for estimator in ("mean", "lda"):
        for d, n in ((128, 1280), (512, 6000)):
            true, shuffled, random, reads = [], [], [], 0
            for _ in range(config.repeats if d == 128 else 3):
                g = unified_space(rng.standard_normal((n, d)))
                taxonomy = tree((5, 4), rng)
                leaf = np.arange(n) % len(taxonomy)
                sets, parents = _sets(taxonomy, leaf)
                found = park_criterion(g, sets, parents, estimator)
                true.append(found.true)
                shuffled.append(found.shuffled)
                random.append(found.random_parent)
                reads += found.reads_orthogonal
            cells = [f"{np.mean(each):+.3f} +- {np.std(each):.3f}" for each in (true, shuffled, random)]
            name = f"{estimator}, {n:,} Gaussian rows of {d}"
            print(f"{name:34}{cells[0]:>20}{cells[1]:>20}{cells[2]:>20}   {reads} of {len(true)}")
    verdicts = Counter()
    for repeat in range(config.repeats):
        taxonomy = tree((5, 4), rng)
        leaf = np.arange(1280) % len(taxonomy)
        found = orthogonality(rng.standard_normal((1280, 128)), leaf, taxonomy, seed=repeat, draws=199)
        verdicts.update(found.verdicts.values())
    print(f"the rule here, 1,280 Gaussian rows of 128: {', '.join(f'{k} {v}' for k, v in verdicts.items())}")


def _sets(taxonomy: Taxonomy, leaf: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    import numpy as np

    sets, parents = {}, {}
    for level in range(len(taxonomy.levels)):
        for code, node in enumerate(taxonomy.nodes(level)):
            sets["/".join(node)] = np.flatnonzero(taxonomy.codes[leaf, level] == code)
            if level:
                parents["/".join(node)] = "/".join(node[:-1])
    return sets, parents


if __name__ == "__main__":
    sys.exit(
        main(
            "python benchmarks/geometry.py",
            {
                "planted": Command(PlantedConfig, run_planted),
                "speed": Command(SpeedConfig, run_speed),
                "published": Command(PublishedConfig, run_published),
            },
            "planted",
        )
    )
