"""`python -m evaluation compare RUN RUN`: the same images, two models or two ways of asking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from commandline import InputError
from evaluation.config import CompareConfig
from evaluation.reading import Reading, read
from evaluation.results import AskRun
from evaluation.scores import Chosen, called, wanted, ways
from evaluation.table import percent
from taxonomy.metrics import compare_paths

Record = dict[str, Any]


def run(config: CompareConfig) -> None:
    """Print the difference of two runs. Raises InputError for runs that have no image in common."""
    print(table(*compared(config)))


def compared(config: CompareConfig) -> tuple[list[Record], dict[str, Any]]:
    """A record per way of reading and score, difference = second - first, with its interval; and what was compared."""
    runs = [AskRun.open(path) for path in (config.run, config.against)]
    names = _prompts(runs, config)
    first, second = (read(found, found.answers(), name, config.parser) for found, name in zip(runs, names, strict=True))
    _check(runs, first, second)
    seconds = {way.name: way for way in ways(second, config.seed)}
    records = []
    for way in ways(first, config.seed):
        if way.name in seconds:
            records += _differences(first, second, way, seconds[way.name], config)
    about = {
        "first": _label(runs[0], names[0]),
        "second": _label(runs[1], names[1]),
        "same_questions": runs[0].settings["bank"] == runs[1].settings["bank"],
        "n": records[0]["n"],
        "only_first": len(first.images) - len(_shared(first, second)[0]),
        "only_second": len(second.images) - len(_shared(first, second)[1]),
    }
    return records, about


def table(records: Sequence[Record], about: dict[str, Any]) -> str:
    """The differences as text."""
    lines = [
        f"first:  {about['first']}",
        f"second: {about['second']}",
        f"{about['n']:,} images in both ({about['only_first']:,} only in the first, {about['only_second']:,} only in "
        "the second); second less first in points of %, paired by image [95 % interval over leaves]",
    ]
    if not about["same_questions"]:
        lines.append("note: the banks differ, so the options of a question may too")
    for reading in dict.fromkeys(record["reading"] for record in records):
        mine = [record for record in records if record["reading"] == reading]
        names = [f"{record['level']} {record['score']}" if record["level"] else record["score"] for record in mine]
        width = max(map(len, names))
        lines += ["", f"{reading}", f"{'':{width}}  {'first':>6}  {'second':>6}  difference"]
        for name, record in zip(names, mine, strict=True):
            span = f"{100 * record['difference']:+.1f} [{100 * record['low']:+.1f}, {100 * record['high']:+.1f}]"
            first, second = percent(record["first"]), percent(record["second"])
            lines.append(f"{name:{width}}  {first:>6}  {second:>6}  {span}")
    return "\n".join(lines)


def _differences(first: Reading, second: Reading, one: Chosen, other: Chosen, config: CompareConfig) -> list[Record]:
    """Scores over the images in both, at the levels that both runs asked about each."""
    left, right = _shared(first, second)
    truths = (first.truth[left], second.truth[right])
    both = (truths[0] >= 0) & (truths[1] >= 0)
    some = both.any(1)
    if (truths[0] != truths[1])[both].any():
        raise InputError(
            f"{config.run} and {config.against} disagree on what is right; they are of different image sets"
        )
    truth, leaf = np.where(both, truths[0], -1)[some], first.leaf[left][some]
    one_said, other_said = first.codes(one.options)[left][some], second.codes(other.options)[right][some]
    text = any(AskRun.open(path).settings["text_only"] for path in (config.run, config.against))
    found = compare_paths(
        one_said,
        other_said,
        truth,
        first.taxonomy,
        cluster=leaf,
        resamples=config.bootstrap,
        seed=config.seed,
    )
    records = []
    for name, change in found.items():
        score, level = called(name, first.taxonomy.levels)
        if wanted(first, score, level, text) and np.isfinite(change.difference):
            low, high = change.interval
            record = {"reading": one.name, "score": score, "level": level, "first": change.first}
            record |= {"second": change.second, "difference": change.difference, "low": low, "high": high}
            records.append(record | {"n": change.n, "leaves": len(np.unique(leaf))})
    return records


def _shared(first: Reading, second: Reading) -> tuple[np.ndarray, np.ndarray]:
    """The places of the images that both have."""
    _, left, right = np.intersect1d(
        first.images.astype(str), second.images.astype(str), assume_unique=True, return_indices=True
    )
    return left, right


def _prompts(runs: Sequence[AskRun], config: CompareConfig) -> tuple[str, str]:
    have = [list(found.settings["prompts"]) for found in runs]
    one = config.prompt or next((name for name in have[0] if name in have[1]), have[0][0])
    other = config.against_prompt or (one if one in have[1] else have[1][0])
    for found, names, name in zip(runs, have, (one, other), strict=True):
        if name not in names:
            raise InputError(f"{found.path} was not asked with the prompt {name!r}; it has {', '.join(names)}")
    return one, other


def _check(runs: Sequence[AskRun], first: Reading, second: Reading) -> None:
    if runs[0].settings["bank"]["taxonomy"] != runs[1].settings["bank"]["taxonomy"]:
        raise InputError(f"{runs[0].path} and {runs[1].path} are about different taxonomies; nothing is comparable")
    if not len(_shared(first, second)[0]):
        raise InputError(f"{runs[0].path} and {runs[1].path} have no image in common")


def _label(found: AskRun, prompt: str) -> str:
    settings = found.settings
    how = "by name" if settings["text_only"] else settings["shown"]
    return f"{found.path} ({settings['model']['model']}, {how}, {prompt})"
