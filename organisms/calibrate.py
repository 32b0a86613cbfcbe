"""`python -m organisms calibrate`: is the verdict right where the truth is known?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt, PositiveInt

from commandline import Config, InputError, Names
from organisms.check import SHIPPED, there

if TYPE_CHECKING:
    from organisms.measuring import Measured

BAR = 0.95
ABOUT = "organism.json"


class CalibrateConfig(Config):
    """Measure organisms on several worlds, and hold the verdict on every level to what was planted.

    Prints the confusion matrix planted x found, the share that is right, and, where an organism comes in several doses,
    the strength that the verdict gives each. What was measured before is taken as it is, so a run that was stopped goes
    on. The exit status is 1 where fewer than 95 % are right, or an untrained model gets a certain verdict.
    """

    weights: Names = None
    """Folders with the organisms' folders (`seed1,seed2,dose`); by default what is shipped."""
    organisms: Names = None
    """Those to measure; by default all that are there."""
    seeds: list[NonNegativeInt] = Field(default=[0, 1, 2], min_length=1)
    """Of the images: every organism is measured on a world of each."""
    n: PositiveInt = 25
    """Images of each of the 36 species, of which a fifth is asked about and tested on."""
    out: Path = Path("runs/organisms-calibrate")
    """Where images, stores, answers, probes and verdicts go."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""


@dataclass(frozen=True)
class Judged:
    """The verdict on a level of an organism on a world, beside what was planted."""

    weights: str
    organism: str
    training_seed: int
    dose: float | None
    """Of an organism that comes in degrees: the share of the level that is taken."""
    world: int
    level: str
    planted: str
    found: str
    confident: bool
    strength: float | None
    low: float | None
    high: float | None
    lost: float | None
    """At the planted stage (of an organism with a dose, the projector), whatever was found: the share lost there, with
    its interval."""
    lost_low: float | None
    lost_high: float | None

    @property
    def right(self) -> bool:
        return self.found == self.planted


def calibrate(config: CalibrateConfig) -> int:
    """Measure what is not measured yet, print and write the tables. 0 where the bars hold, else 1."""
    from organisms.calibration import holds, page
    from organisms.measuring import Failed

    folders = [SHIPPED] if config.weights is None else [Path(name) for name in _listed(config.weights)]
    labels = [folder.resolve().name for folder in folders]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise InputError(f"two folders are called {twice[0]!r}; results go by the folder's name, so rename one")
    try:
        found = list(_survey(config, {folder: there(folder, config.organisms) for folder in folders}))
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    text = page(found)
    write(found, text, config)
    print(text)
    return 0 if holds(found) else 1


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _survey(config: CalibrateConfig, folders: Mapping[Path, Sequence[str]]) -> Iterator[Judged]:
    """The verdicts on all organisms, world after world."""
    import torch
    from tqdm import tqdm

    from organisms.measuring import LOG, ask_about, resume
    from organisms.training.recipes import SIZE
    from organisms.world import render_world

    torch.set_num_threads(1)  # matrices this small give others nothing to do but wait
    total = len(config.seeds) * sum(map(len, folders.values()))
    with tqdm(total=total, desc="organisms", unit="organism") as bar:
        for world in config.seeds:
            out = config.out / f"world-{world}-{config.n}"
            out.mkdir(parents=True, exist_ok=True)
            manifest, bank = out / "world" / "manifest.jsonl", out / "questions.parquet"
            if not manifest.is_file():  # it is written last
                render_world(out / "world", config.n, world, SIZE)
            if not bank.is_file():
                ask_about(manifest, out, out / LOG)
            for folder, names in folders.items():
                label = folder.resolve().name
                for name in names:
                    bar.set_postfix_str(f"{label}/{name}, world {world}")
                    place = out / label / name
                    yield from read(
                        folder / name, label, world, resume(folder / name, manifest, bank, place, config.device), place
                    )
                    bar.update()


def read(model: Path, label: str, world: int, found: Measured, out: Path) -> list[Judged]:
    """A row per level."""
    about = json.loads((model / ABOUT).read_text(encoding="utf-8"))
    recipe = about["recipe"]
    planted = stages(recipe["planted"], list(found.verdict))
    dose = recipe.get("dose", 1.0) if recipe.get("colour") == "projector" else None
    share = _lost_at_stage(out)
    return [
        Judged(
            weights=label,
            organism=model.name,
            training_seed=about["seed"],
            dose=dose,
            world=world,
            level=level,
            planted=planted[level],
            found=lost.stage,
            confident=lost.confident,
            strength=lost.strength,
            low=lost.low,
            high=lost.high,
            **share.get(
                (level, planted[level] if dose is None else "projector"),
                dict.fromkeys(("lost", "lost_low", "lost_high")),
            ),
        )
        for level, lost in found.verdict.items()
    ]


def stages(planted: str, levels: Sequence[str]) -> dict[str, str]:
    """The stage of every level, in the words of a verdict, of what a recipe says is planted (`projector: species`)."""
    from analysis.bottleneck.wording import CALLED

    if planted == "not identifiable":
        return dict.fromkeys(levels, planted)
    named = {called: stage for stage, called in CALLED.items()}
    found = dict.fromkeys(levels, "none")
    for part in planted.split("; "):
        stage, _, lost = part.partition(": ")
        found |= dict.fromkeys(lost.split(", ") if lost else [], named[stage])
    return found


def _lost_at_stage(out: Path) -> dict[tuple[str, str], dict[str, float]]:
    """What the verdict's evidence says is lost, by level and stage."""
    import pyarrow.parquet as pq

    rows = pq.read_table(out / "store.verdict" / "verdict.parquet").to_pylist()
    return {
        (row["level"], row["place"]): {"lost": row["value"], "lost_low": row["low"], "lost_high": row["high"]}
        for row in rows
        if row["quantity"] == "lost"
    }


def write(found: Sequence[Judged], text: str, config: CalibrateConfig) -> None:
    """calibration.parquet, .json and .md."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from organisms.calibration import summary

    rows = [asdict(judged) | {"right": judged.right} for judged in found]
    pq.write_table(pa.Table.from_pylist(rows), config.out / "calibration.parquet")
    entries: Mapping[str, Any] = {"config": config.model_dump(mode="json")} | summary(found)
    (config.out / "calibration.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    (config.out / "calibration.md").write_text(f"```\n{text}\n```\n", encoding="utf-8")
