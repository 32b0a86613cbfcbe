r"""How much of a run's accuracy could come from names alone: by whether the names offered occurred in training.

    python examples/names_in_training.py --run runs/llava-birds-similar.ask \
        --trained runs/random.parquet,runs/sibling.parquet

Where half of the names offered never occurred in training, leaving those out is half of the answer, and no image is
needed for that. So every level is read apart: questions all of whose options occurred, and questions by how many
did. Beside it stands what a guess among the options that occurred would reach.
"""

from __future__ import annotations

import sys
from pathlib import Path

from commandline import Command, Config, InputError, Names, main


class NamesInTraining(Config):
    """Accuracy of a run by how many of the names offered occurred in the training banks."""

    run: Path
    """The folder of a run of `python -m evaluation`."""
    trained: Names = None
    """The banks that the model was trained on."""
    parser: str = "strict_v1"
    """How replies are read."""


def show(config: NamesInTraining) -> None:
    """Print the table. Raises InputError for a run without answers."""
    import numpy as np

    from evaluation.reading import read
    from evaluation.results import AskRun
    from taxonomy.metrics import clustered_bootstrap
    from taxonomy.names import normalise
    from taxonomy.questions import Bank

    if not config.trained:
        raise InputError("name the banks that the model was trained on (--trained)")
    known = {
        (question.level, normalise(name))
        for path in config.trained
        for question in Bank.open(path).questions()
        for name in question.options
    }
    run = AskRun.open(config.run)
    answers = run.answers()
    for prompt in run.settings["prompts"]:
        reading = read(run, answers, prompt, config.parser)
        tree = reading.taxonomy
        print(f"{prompt}: accuracy, % [95 % interval over leaves], by how many of the four names occurred in training")
        print(f"{'level':<10} {'occurred':>8} {'n':>7} {'accuracy':>20} {'guess among those':>18}")
        for level, name in reading.levels:
            names = [(name, normalise(node)) in known for node in tree.names(name)]
            mine = np.flatnonzero(reading.level == level)
            offered = np.where(reading.nodes[mine] >= 0, np.array(names)[reading.nodes[mine]], False)
            right = (reading.said[mine, 0] == reading.answer[mine]).astype(float)
            true = offered[np.arange(len(mine)), reading.answer[mine]]
            for count in np.unique(offered.sum(1)).tolist():
                chosen = offered.sum(1) == count
                leaf = np.unique(reading.leaf[reading.sample[mine[chosen]]], return_inverse=True)[1]
                low, high = clustered_bootstrap(right[chosen], leaf, 0.95, 2000, np.random.default_rng(0))
                guess = float(np.where(true[chosen], 1 / max(count, 1), 0).mean())
                share = f"{100 * right[chosen].mean():.1f} [{100 * low:.0f}, {100 * high:.0f}]"
                print(f"{name:<10} {count:>8} {chosen.sum():>7,} {share:>20} {100 * guess:>17.1f} ")


if __name__ == "__main__":
    sys.exit(main("python examples/names_in_training.py", {"show": Command(NamesInTraining, show)}, "show"))
