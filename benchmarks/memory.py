"""Peak memory of an extraction of few and of many images: it must not grow with their number.

    python benchmarks/memory.py [--few 200] [--many 2000]

Each extraction is the real command in a process of its own, on images of different sizes. The bar is a ratio of 1.10.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from commandline import Command, Config, main


class MemoryBenchConfig(Config):
    """Compare the peak memory of two extractions."""

    few: int = 200
    """Images of the one."""
    many: int = 2000
    """Images of the other."""
    architecture: str = "qwen2_5_vl"
    """One of organisms.architectures.ARCHITECTURES."""


def run(config: MemoryBenchConfig) -> None:
    """Print both peaks and their ratio."""
    from organisms.architectures import build
    from organisms.world import PATHS, render_world

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = build(config.architecture, place / "model")
        world = render_world(place / "world", n_per_species=-(-config.many // len(PATHS)), ragged=True)
        peaks = {}
        for images in (config.few, config.many):
            store = place / f"{images}.zarr"
            command = [sys.executable, "-m", "extract", f"--model={model}", f"--dataset={world}", f"--store={store}"]
            process = subprocess.Popen([*command, f"--limit={images}", "--device=cpu"], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"the extraction of {images} images failed")
            peaks[images] = usage.ru_maxrss / 1024
            print(f"{images:6,} images     peak {peaks[images]:,.0f} MiB")
    print(f"ratio             {peaks[config.many] / peaks[config.few]:.3f} (bar 1.10)")


if __name__ == "__main__":
    sys.exit(main("python benchmarks/memory.py", {"run": Command(MemoryBenchConfig, run)}, "run"))
