"""`python -m organisms demo`: the whole way from images to a table, on small models whose bottleneck is known."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from commandline import Config, Names
from organisms.check import SHIPPED, survey, there


class DemoConfig(Config):
    """Render images with a known taxonomy, run the real commands on small models, and say where each loses what.

    Nothing is downloaded and no GPU is needed. Every model was taught so that its bottleneck is known: the table shows
    what is found beside what was planted.
    """

    out: Path = Path("runs/demo")
    """Where the images, stores, answers, tables and reports go."""
    organisms: Names = None
    """healthy, llm, projector, encoder, binding, random; all by default."""
    weights: Path = SHIPPED
    """The folder with the models' folders; by default what is shipped."""
    n: PositiveInt = 25
    """Images of each of the 36 species."""
    seed: NonNegativeInt = 0
    """Of the images."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""


CLOSING = """
A row to read: `llm` names the species of nearly every image and its probes read the whole path off every layer, but
it was never told which genus a species belongs to, and so cannot say it. Stores, answers, probes, the verdict with
its reasons (store.verdict/) and a report per model are in {out}. For a real model, type:
  make extract MODEL=Qwen/Qwen2.5-VL-3B-Instruct DATASET=cub200
  make probe
  make verdict
  make report"""


def demo(config: DemoConfig) -> int:
    """Measure the organisms and print the table; 1 where a command fails, after its message."""
    from organisms.measuring import Failed
    from organisms.table import one_look
    from organisms.training.recipes import RECIPES

    names = there(config.weights, config.organisms)
    try:
        found = dict(survey(config.weights, names, config.out, config.n, config.seed, config.device))
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    text = one_look(found, {name: RECIPES[name].planted for name in names})
    (config.out / "table.txt").write_text(text + "\n", encoding="utf-8")
    print(text + "\n" + CLOSING.format(out=config.out))
    return 0
