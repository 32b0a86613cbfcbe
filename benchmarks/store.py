"""Write and read one matrix through the store and through safetensors, on the same disk, in turns.

    python benchmarks/store.py [--rows 50000] [--width 3584] [--chunk_rows 1024,4096] [--folder DIR]

Bars: written at least as fast as safetensors (ratio of speeds 1.0), read at least 0.8 times as fast. Page cache: every
round writes new files and reads what it has just written; those of the round before are deleted outside the
clock. Who goes first alternates.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, PositiveInt

from commandline import Command, Config, main


class StoreBenchConfig(Config):
    """Time the store beside safetensors."""

    rows: int = 50_000
    """Samples."""
    width: int = 3584
    """Features, bfloat16."""
    chunk_rows: list[PositiveInt] = Field(default=[1024, 4096], min_length=1)
    """Samples per chunk, each measured: the most that an extraction takes by default, and what is fastest."""
    repeats: int = 5
    """Rounds; the median counts."""
    folder: str | None = None
    """A folder on the disk in question; by default the temporary one."""


Step = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Place:
    """A site that no model has."""

    name: str = "llm.0"
    stage: str = "llm"
    layer: int | None = 0
    module: str = ""
    reads: str = "output"
    width: int = 0


def clock(name: str, work: Callable[[], object]) -> dict[str, float]:
    """The seconds of one piece of work, whose result is dropped at once."""
    start = time.perf_counter()
    work()
    return {name: time.perf_counter() - start}


def run(config: StoreBenchConfig) -> None:
    """Print both sides' medians and the ratios for each chunk size."""
    for chunk_rows in config.chunk_rows:
        measure(config, chunk_rows)


def measure(config: StoreBenchConfig, chunk_rows: int) -> None:
    """Print both sides' medians and the ratios."""
    import numpy as np
    import torch
    from safetensors.torch import load_file, save_file

    from extract import Store
    from extract.writer import Writer
    from taxonomy import Taxonomy

    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(config.rows, config.width, generator=generator).bfloat16()
    site, tree = Place(width=config.width), Taxonomy.from_paths([("a", "b")])
    ids = [str(row) for row in range(config.rows)]
    leaf = np.zeros(config.rows, np.int32)
    folder = Path(tempfile.mkdtemp(dir=config.folder))
    store, file = folder / "s.zarr", folder / "s.safetensors"

    def create() -> Writer:
        shutil.rmtree(store, ignore_errors=True)
        options = {"sites": [site], "ids": ids, "leaf": leaf, "split": ids, "taxonomy": tree}
        return Writer(Store.create(store, **options, chunk_rows=chunk_rows))

    def write() -> dict[str, float]:
        """`commit` is memory to disk, as in safetensors; `put` checks for NaN and gathers a flush unit before it."""
        writer = create()
        spent = {"put": 0.0, "write": 0.0}
        for unit in writer.pending:
            start = time.perf_counter()
            writer.put(unit, unit, {site.name: matrix[unit.start : unit.stop]})
            between = time.perf_counter()
            writer.commit(unit, [""] * len(unit), ["ok"] * len(unit))
            spent["put"] += between - start
            spent["write"] += time.perf_counter() - between
        return spent

    def safetensors_write() -> dict[str, float]:
        file.unlink(missing_ok=True)
        return clock("safetensors write", lambda: save_file({"x": matrix}, file))

    def reads(name: str, ours: Callable[[], object], theirs: Callable[[], object]) -> list[Step]:
        return [lambda: clock(f"read {name}", ours), lambda: clock(f"safetensors read {name}", theirs)]

    pairs: list[list[Step]] = [
        [write, safetensors_write],
        reads("bfloat16", lambda: Store.open(store).bits(site.name), lambda: load_file(file)["x"].clone()),
        reads("float32", lambda: Store.open(store).matrix(site.name), lambda: load_file(file)["x"].float()),
    ]
    seconds: dict[str, list[float]] = {}
    try:
        for number in range(-1, config.repeats):  # the first round warms memory and disk up, and does not count
            for pair in pairs:
                for step in pair if number % 2 else reversed(pair):
                    for name, spent in step().items():
                        seconds.setdefault(name, []).extend([spent] if number >= 0 else [])
        assert np.array_equal(Store.open(store).matrix(site.name), load_file(file)["x"].float().numpy())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    size = matrix.numel() * 2 / 1e9
    print(f"({config.rows:,} x {config.width:,}) bfloat16, {size:.3f} GB, chunks of {chunk_rows:,} rows")
    for name, bar in (("write", 1.0), ("read bfloat16", 0.8), ("read float32", 0.8)):
        ours, theirs = median[name], median[f"safetensors {name}"]
        rounds = ", ".join(f"{b / a:.2f}" for a, b in zip(seconds[name], seconds[f"safetensors {name}"], strict=True))
        print(
            f"{name:<14} {size / ours:.2f} GB/s, safetensors {size / theirs:.2f} GB/s, "
            f"ratio {theirs / ours:.2f} (bar {bar}; rounds {rounds})"
        )
    print(
        f"before it, checking and gathering rows: {size / median['put']:.2f} GB/s; medians of {config.repeats} rounds"
    )


if __name__ == "__main__":
    sys.exit(main("python benchmarks/store.py", {"store": Command(StoreBenchConfig, run)}, "store"))
