"""`python -m organisms check`: does every organism show what it was made to show?"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveInt

from commandline import Config, InputError, Names

if TYPE_CHECKING:
    from organisms.measuring import Measured

MEASURED = "measured.json"
SHIPPED = Path(__file__).with_name("trained")
"""One seed's organisms, a folder each."""


class CheckConfig(Config):
    """Measure organisms by the public commands on a world that they have never seen, and hold them to their bars.

    What is found goes beside the weights (measured.json), the table of all to measured.md; the exit status is 1 where a
    bar does not hold.
    """

    organisms: Names = None
    """healthy, llm, projector, encoder, binding, random, or a projector by degrees; all that are there by default."""
    weights: Path = SHIPPED
    """The folder with the organisms' folders; by default what is shipped."""
    out: Path = Path("runs/organisms-check")
    """Where images, stores, answers and probes go."""
    n: PositiveInt = 40
    """Images of each of the 36 species, of which a fifth is asked about and tested on."""
    seed: NonNegativeInt = 0
    """Of the images."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""


def check(config: CheckConfig) -> int:
    """Measure, write what was found, print the table of all that are measured. 0 where every bar holds, else 1."""
    from organisms.measuring import Failed

    names = there(config.weights, config.organisms)
    command = f"python -m organisms check --n {config.n} --seed {config.seed}"
    began = time.process_time()
    try:
        for name, found in survey(config.weights, names, config.out, config.n, config.seed, config.device):
            spent = round(time.process_time() - began)
            entry = {"command": command, "images": 36 * config.n, "cpu_seconds": spent, "measured": found.to_dict()}
            (config.weights / name / MEASURED).write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
            began = time.process_time()
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    page, hold = measured_page(config.weights)
    (config.weights / "measured.md").write_text(page, encoding="utf-8")
    print(page)
    return 0 if hold else 1


def measured_page(weights: Path) -> tuple[str, bool]:
    """The table of every organism that was measured, as a page, and whether all bars hold."""
    from organisms import bars, table
    from organisms.measuring import Measured
    from organisms.training.recipes import RECIPES

    files = {name: weights / name / MEASURED for name in RECIPES if (weights / name / MEASURED).is_file()}
    entries = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    found = {name: Measured.from_dict(entry["measured"]) for name, entry in entries.items()}
    cells = [cell for name in found for cell in bars.cells(name, found[name])] + bars.falling(found)
    made = dict.fromkeys(f"`{entry['command']}`, {entry['images']:,} images" for entry in entries.values())
    about = f"Measured by {', '.join(made)} that no organism was taught or chosen by, a fifth of them asked about."
    page = table.markdown(found, {name: RECIPES[name].planted for name in found}, cells, about)
    return page, all(cell.holds for cell in cells)


def there(weights: Path, wanted: str | list[str] | None) -> list[str]:
    """The organisms to measure, in the order of the recipes. Raises InputError for one that is not there."""
    from organisms.training.recipes import ORGANISMS, RECIPES

    present = [name for name in RECIPES if (weights / name / "config.json").is_file()]
    if wanted is None and present:
        return present
    names = list(ORGANISMS) if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    if unknown := [name for name in names if name not in RECIPES]:
        raise InputError(f"no organism {unknown[0]!r}; there are {', '.join(RECIPES)}")
    if missing := [name for name in names if name not in present]:
        raise InputError(
            f"{weights} has no {missing[0]}; make it: python -m organisms train {missing[0]} --out {weights}"
        )
    return [name for name in RECIPES if name in names]


def survey(
    weights: Path, names: list[str], out: Path, n: int, seed: int, device: str
) -> Iterator[tuple[str, Measured]]:
    """Render a world, and measure one organism after the other on it."""
    import torch
    from tqdm import tqdm

    from organisms.measuring import LOG, ask_about, measure
    from organisms.training.recipes import SIZE
    from organisms.world import render_world

    out.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    # Matrices this small give other threads nothing to do but wait, which on a busy machine takes minutes.
    torch.set_num_threads(1)
    try:
        manifest = render_world(out / "world", n, seed, SIZE, progress=sys.stderr.isatty())
        bank = ask_about(manifest, out, out / LOG)
        bar = tqdm(names, "organisms", unit="organism")
        for name in bar:
            bar.set_postfix_str(name)
            yield name, measure(weights / name, manifest, bank, out / name, device)
    finally:
        torch.set_num_threads(threads)
