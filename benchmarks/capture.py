"""What reading every site costs: extraction beside bare forwards of the same batches, in one process, alternating.

    python benchmarks/capture.py [--architecture qwen2_5_vl] [--images 8] [--batch_size 4] [--repeats 5]

The model is untrained and has more than 50 million parameters. Extraction is all that `python -m extract` does with a
batch: capture with mean pooling, rounding, the search for NaN, and the writes. The bar is a ratio of at most 1.10.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commandline import Command, Config, main

if TYPE_CHECKING:
    from extract.writer import Writer
    from hooks import SiteMap


class CaptureBenchConfig(Config):
    """Time the extraction of every site against bare forwards of the same batches."""

    architecture: str = "qwen2_5_vl"
    """One of organisms.architectures.ARCHITECTURES."""
    images: int = 8
    """Images in all."""
    batch_size: int = 4
    """Images in a batch."""
    repeats: int = 5
    """Passes of each kind; the median counts."""
    threads: int = 1
    """Of torch: one is steady on a machine that does other things too."""


def run(config: CaptureBenchConfig) -> None:
    """Print both medians and their ratio."""
    import numpy as np
    import torch
    from PIL import Image

    from hooks import capture, find_sites, load
    from hooks.encoding import encode
    from hooks.inputs import collate
    from organisms.architectures import build

    torch.set_num_threads(config.threads)
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(build(config.architecture, folder, scale="bench"))
        model = loaded.model
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (config.images, 224, 224, 3), dtype=np.uint8)
        samples = [encode(loaded.processor, Image.fromarray(image), "Describe this image.") for image in pixels]
        starts = range(0, len(samples), config.batch_size)
        batches = [collate(samples[start : start + config.batch_size]) for start in starts]
        sites = find_sites(model, samples[0])

        def bare() -> None:
            with torch.no_grad():
                for batch in batches:
                    model(**batch, use_cache=False)

        def extract(writer: Writer) -> None:
            unit = writer.units[0]
            for start, batch in zip(starts, batches, strict=True):
                writer.put(unit, unit[start : start + config.batch_size], capture(model, batch, sites))
            writer.commit(unit, [""] * len(unit), ["ok"] * len(unit))

        # nnsight replaces the modules' forwards when it first wraps a model: the bare side is timed before that too.
        untouched = statistics.median(_seconds(bare) for _ in range(config.repeats))
        extract(_writer(Path(folder) / "warm", sites, config.images))
        pairs: list[tuple[float, float]] = []
        for number in range(config.repeats):
            writer = _writer(Path(folder) / str(number), sites, config.images)
            pairs.append((_seconds(bare), _seconds(lambda writer=writer: extract(writer))))
    plain, reading = (statistics.median(side) for side in zip(*pairs, strict=True))
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    name, tokens = type(model).__name__, batches[0]["input_ids"].shape[1]
    print(f"{name}, {size:.0f}M parameters, {len(sites)} sites, {tokens} tokens a sample, {loaded.device}")
    print(f"bare forwards      {plain:.3f} s (before wrapping {untouched:.3f} s), {config.images / plain:.2f} images/s")
    print(f"extraction         {reading:.3f} s, {config.images / reading:.2f} images/s")
    ratios = [b / a for a, b in pairs]
    print(f"ratio              {statistics.median(ratios):.3f}, the median of {', '.join(f'{r:.3f}' for r in ratios)}")
    print("bar                1.10")


def _writer(path: Path, sites: SiteMap, images: int) -> Writer:
    import numpy as np

    from extract import Store
    from extract.writer import Writer
    from taxonomy import Taxonomy

    options: dict[str, Any] = {
        "sites": sites.values(),
        "ids": [str(row) for row in range(images)],
        "leaf": np.zeros(images, np.int32),
        "split": ["train"] * images,
        "taxonomy": Taxonomy.from_paths([("a", "b")]),
    }
    return Writer(Store.create(path, **options, chunk_rows=images))


def _seconds(work: Callable[[], None]) -> float:
    gc.collect()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main("python benchmarks/capture.py", {"run": Command(CaptureBenchConfig, run)}, "run"))
