"""What reading every site costs: captures beside bare forwards of the same batches, in one process, alternating.

    python benchmarks/capture.py [--architecture qwen2_5_vl] [--images 8] [--batch_size 4] [--repeats 5]

The model is untrained and has more than 50 million parameters. The bar is a ratio of at most 1.10.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

from commandline import Command, Config, main


class CaptureBenchConfig(Config):
    """Time captures of every site against bare forwards of the same batches."""

    architecture: str = "qwen2_5_vl"
    """One of organisms.architectures.ARCHITECTURES."""
    images: int = 8
    """Images in all."""
    batch_size: int = 4
    """Images in a batch."""
    repeats: int = 5
    """Passes of each kind; the median counts."""
    growth: int = 0
    """Also run this many captures and print how far the process's memory has grown after the first fifth of them."""


def run(config: CaptureBenchConfig) -> None:
    """Print both medians and their ratio."""
    import numpy as np
    import psutil
    import torch
    from PIL import Image

    from hooks import capture, find_sites, load
    from hooks.inputs import collate, encode
    from organisms.architectures import build

    with tempfile.TemporaryDirectory() as folder:
        loaded = load(build(config.architecture, folder, scale="bench"))
    model = loaded.model
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (config.images, 224, 224, 3), dtype=np.uint8)
    samples = [encode(loaded.processor, Image.fromarray(image), "Describe this image.") for image in pixels]
    batches = [collate(samples[i : i + config.batch_size]) for i in range(0, len(samples), config.batch_size)]
    sites = find_sites(model, samples[0])

    def bare() -> None:
        with torch.no_grad():
            for batch in batches:
                model(**batch, use_cache=False)

    def read() -> None:
        for batch in batches:
            capture(model, batch, sites)

    # nnsight replaces the modules' forwards when it first wraps a model: the bare side is timed before that too.
    untouched = statistics.median(_seconds(bare) for _ in range(config.repeats))
    read()
    pairs = [(_seconds(bare), _seconds(read)) for _ in range(config.repeats)]
    plain, reading = (statistics.median(side) for side in zip(*pairs, strict=True))
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    tokens = batches[0]["input_ids"].shape[1]
    name = type(model).__name__
    print(f"{name}, {size:.0f}M parameters, {len(sites)} sites, {tokens} tokens a sample, {loaded.device}")
    print(f"bare forwards      {plain:.3f} s (before wrapping {untouched:.3f} s), {len(samples) / plain:.2f} images/s")
    print(f"every site, mean   {reading:.3f} s, {len(samples) / reading:.2f} images/s")
    print(f"ratio              {reading / plain:.3f} (bar 1.10; pairs {', '.join(f'{b / a:.3f}' for a, b in pairs)})")
    if config.growth:
        memory = []
        for _ in range(config.growth):
            capture(model, batches[0], sites)
            memory.append(psutil.Process().memory_info().rss)
        grown = (memory[-1] - memory[config.growth // 5]) / 2**20
        print(f"memory             {grown:+.1f} MiB from capture {config.growth // 5} to capture {config.growth}")


def _seconds(work: Callable[[], None]) -> float:
    gc.collect()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main("python benchmarks/capture.py", {"run": Command(CaptureBenchConfig, run)}, "run"))
