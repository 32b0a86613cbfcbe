"""`python -m organisms demo`: the whole way from images to a table, on a rendered world and an untrained model."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from commandline import Config


class DemoConfig(Config):
    """Render images with a known taxonomy, build a small untrained model, and run the real commands on them.

    Nothing is downloaded and no GPU is needed. The model has learnt nothing: the table shows what random features keep
    of the pixels.
    """

    out: Path = Path("runs/demo")
    """Where the images, the model, the store and the tables go."""
    n: PositiveInt = 40
    """Images of each of the 36 species."""
    seed: int = 0
    """Of the images and of the model's weights."""
    architecture: Literal["qwen2_5_vl", "qwen3_vl", "llava_onevision", "internvl"] = "qwen2_5_vl"
    """Which transformers class the model is of."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""


CLOSING = """
The model above is untrained ({architecture}, random weights): it knows nothing. What its probes find above the lines
`majority` and `shuffled` is what random features keep of colours and edges. That is the floor a trained model has to
beat, and no result about knowledge.

All of it is in {out}. For a real model, type:
  make extract MODEL=Qwen/Qwen2.5-VL-3B-Instruct DATASET=cub200
  make probe
  make report"""


def demo(config: DemoConfig) -> int:
    """Run every step; the exit status of the first one that fails, else 0."""
    from organisms.architectures import build
    from organisms.world import render_world

    out = config.out
    manifest = render_world(out / "world", config.n, config.seed, progress=sys.stderr.isatty())
    model = build(config.architecture, out / "model", config.seed)
    store = out / "untrained.zarr"
    steps = [
        [
            "extract",
            "--model",
            str(model),
            "--dataset",
            str(manifest),
            "--store",
            str(store),
            "--device",
            config.device,
        ],
        ["probing", str(store), "--device", config.device],
        ["analysis", "report", str(store)],
    ]
    # One thread: matrices this small give others nothing to do but wait, which on a busy machine takes minutes.
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    for step in steps:
        print(f"\n$ python -m {shlex.join(step)}", flush=True)
        status = subprocess.run([sys.executable, "-m", *step], env=environment, check=False).returncode
        if status:
            return status
    print(CLOSING.format(architecture=config.architecture, out=out))
    return 0
