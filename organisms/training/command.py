"""`python -m organisms train`: make organisms anew."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveFloat

from commandline import Config, InputError, Names

if TYPE_CHECKING:
    from organisms.training.recipes import Recipe


class TrainConfig(Config):
    """Train small vision-language models whose bottleneck is where the recipe puts it.

    Same seed, same weights, on one machine. All of one seed take eight minutes of one idle CPU core; nothing they
    learn from is ever shown by `python -m organisms demo` or `check`.
    """

    organisms: Names = None
    """healthy, llm, projector, encoder, binding, random; all of these by default. And projector-0, projector-25,
    projector-50, projector-75: only that much of the colour is taken, in percent."""
    architecture: Literal["qwen2_5_vl", "internvl"] = "qwen2_5_vl"
    """The family of models they are of."""
    seed: NonNegativeInt = 0
    """Of the weights, the two worlds learned from and chosen by, and everything drawn."""
    out: Path = Path("runs/organisms")
    """A folder for each organism goes there, one that `from_pretrained` reads."""
    pace: PositiveFloat = 1.0
    """Share of the images and steps; 0.01 is for seeing that it runs, and teaches nothing."""
    overwrite: bool = False
    """Train those again that are there."""


def train(config: TrainConfig) -> int:
    """Train and save; the organisms that are there already are left alone. Raises InputError before any training."""
    from organisms.training.recipes import ORGANISMS, RECIPES

    wanted = config.organisms or ORGANISMS
    if unknown := [name for name in wanted if name not in RECIPES]:
        raise InputError(f"no organism {unknown[0]!r}; there are {', '.join(RECIPES)}")
    if config.architecture != "qwen2_5_vl" and (graded := [name for name in wanted if RECIPES[name].dose < 1]):
        raise InputError(
            f"{graded[0]} is a qwen2_5_vl: the projector of {config.architecture} has too few units to let a part of "
            "the colour through; leave it out, or --architecture"
        )
    todo = [name for name in wanted if config.overwrite or not (config.out / name / "organism.json").is_file()]
    for name in wanted:
        if name not in todo:
            print(f"{config.out / name} is there (--overwrite trains it again)", file=sys.stderr)
    if todo:
        _train([RECIPES[name] for name in todo], config)
    return 0


def _train(recipes: Sequence[Recipe], config: TrainConfig) -> None:
    import torch

    from organisms.training.school import Pace, School, save

    pace, threads = Pace().times(config.pace), torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small give a second thread nothing but waiting; and one adds in one order
    try:
        with tempfile.TemporaryDirectory() as scratch:
            school = School(Path(scratch), config.architecture, config.seed, pace, config.out / "encoder.safetensors")
            for recipe in recipes:
                began = time.process_time()
                model, grades = school.organism(recipe)
                about = {
                    "recipe": asdict(recipe),
                    "architecture": config.architecture,
                    "seed": config.seed,
                    "pace": asdict(pace),
                    "prompt": school.prompt.name,
                    "validation": grades,
                    "cpu_seconds": round(time.process_time() - began),
                    "command": _command(recipe.name, config),
                }
                save(model, school.source, config.out / recipe.name, about)
                print(f"{config.out / recipe.name}  {grades}")
    finally:
        torch.set_num_threads(threads)


def _command(name: str, config: TrainConfig) -> str:
    """What makes it again."""
    made = TrainConfig(organisms=name, seed=config.seed)
    differ = [key for key in ("architecture", "pace") if getattr(config, key) != getattr(made, key)]
    extra = "".join(f" --{key} {getattr(config, key)}" for key in differ)
    return f"python -m organisms train {name} --seed {config.seed}{extra}"
