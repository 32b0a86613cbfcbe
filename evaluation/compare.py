"""`python -m evaluation compare RUN RUN`: the same images, two models or two ways of asking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from commandline import InputError
from evaluation.config import CompareConfig
from evaluation.reading import Reading, read
from evaluation.results import AskRun
from evaluation.scores import Chosen, scored, ways
from evaluation.table import percent
from taxonomy.metrics import Interval, PathScores

Record = dict[str, Any]


def run(config: CompareConfig) -> None:
    """Print the difference of two runs. Raises InputError for runs that have no image in common."""
    print(table(*compared(config)))


def compared(config: CompareConfig) -> tuple[list[Record], dict[str, Any]]:
    """A record per way of reading and score: first, second, difference, low, high, n, leaves; and what was compared."""
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
        "only_first": len(np.setdiff1d(first.images.astype(str), second.images.astype(str))),
        "only_second": len(np.setdiff1d(second.images.astype(str), first.images.astype(str))),
    }
    return records, about


def table(records: Sequence[Record], about: dict[str, Any]) -> str:
    """The differences as text."""
    lines = [
        f"first:  {about['first']}",
        f"second: {about['second']}",
        f"{about['n']:,} images in both ({about['only_first']:,} only in the first, {about['only_second']:,} only in "
        "the second); differences in points of %, paired by image [95 % interval over leaves]",
    ]
    if not about["same_questions"]:
        lines.append("note: the banks differ, so the options of a question may too")
    for reading in dict.fromkeys(record["reading"] for record in records):
        mine = [record for record in records if record["reading"] == reading]
        width = max(len(record["score"]) for record in mine)
        lines += ["", f"{reading}", f"{'':{width}}  {'first':>6}  {'second':>6}  difference"]
        for record in mine:
            span = f"{100 * record['difference']:+.1f} [{100 * record['low']:+.1f}, {100 * record['high']:+.1f}]"
            first, second = percent(record["first"]), percent(record["second"])
            lines.append(f"{record['score']:{width}}  {first:>6}  {second:>6}  {span}")
    return "\n".join(lines)


def paired_interval(
    difference: np.ndarray, leaf: np.ndarray, draws: int, seed: int, confidence: float = 0.95
) -> Interval:
    """Percentile interval of the mean of `difference` (sample,), NaN where a sample does not count, when whole leaves
    are drawn with replacement. Both runs are drawn together, so what they share cancels."""
    counts = np.isfinite(difference)
    groups = np.unique(leaf[counts], return_inverse=True)[1]
    sums, sizes = np.bincount(groups, weights=difference[counts]), np.bincount(groups)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=draws)
    low, high = np.quantile((drawn @ sums) / (drawn @ sizes), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _differences(first: Reading, second: Reading, one: Chosen, other: Chosen, config: CompareConfig) -> list[Record]:
    scores = [scored(first, one, config.bootstrap), scored(second, other, config.bootstrap)]
    _, left, right = np.intersect1d(
        first.images.astype(str), second.images.astype(str), assume_unique=True, return_indices=True
    )
    leaf = first.leaf[left]
    found = []
    for name in _names(first.levels, second.levels):
        a, b = (
            values[place]
            for values, place in zip(_values(scores, first.levels, second.levels, name), (left, right), strict=True)
        )
        both = np.isfinite(a) & np.isfinite(b)
        if not both.any():
            continue
        difference = np.where(both, a - b, np.nan)
        low, high = paired_interval(difference, leaf, config.bootstrap, config.seed)
        record = {"reading": one.name, "score": name, "first": float(a[both].mean()), "second": float(b[both].mean())}
        record |= {"difference": float(difference[both].mean()), "low": low, "high": high}
        found.append(record | {"n": int(both.sum()), "leaves": len(np.unique(leaf[both]))})
    return sorted(found, key=lambda record: record["score"] != "hca")


def _names(first: tuple[str, ...], second: tuple[str, ...]) -> list[str]:
    shared = [f"accuracy {level}" for level in first if level in second]
    return ["hca", *shared, *(["leaf_accuracy"] if first == second else []), "por", "spor_prefix", "tor"]


def _values(
    scores: Sequence[PathScores], first: tuple[str, ...], second: tuple[str, ...], name: str
) -> tuple[np.ndarray, np.ndarray]:
    if name.startswith("accuracy "):
        level = name.removeprefix("accuracy ")
        keys = (f"level {first.index(level)}", f"level {second.index(level)}")
    else:
        keys = (name, name)
    return scores[0].per_sample[keys[0]], scores[1].per_sample[keys[1]]


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
    if not len(np.intersect1d(first.images.astype(str), second.images.astype(str))):
        raise InputError(f"{runs[0].path} and {runs[1].path} have no image in common")


def _label(found: AskRun, prompt: str) -> str:
    settings = found.settings
    how = "by name" if settings["text_only"] else settings["shown"]
    return f"{found.path} ({settings['model']['model']}, {how}, {prompt})"
