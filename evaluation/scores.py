"""From what was read of the replies to scores of paths, each with n, an interval over leaves, and its nulls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation import bias
from evaluation.reading import NONE, Reading
from taxonomy.metrics import Interval, PathScores, clustered_bootstrap, path_scores

Record = dict[str, Any]

TEXT, LOGITS, DEBIASED, AVERAGED = "reply", "logits", "logits, prior divided out", "logits, mean of rotations"


@dataclass(frozen=True, eq=False)
class Chosen:
    """One way of saying which option a model chose."""

    name: str
    options: np.ndarray
    """int (question,): in the bank's order; -1 for none."""


def ways(reading: Reading, seed: int = 0) -> list[Chosen]:
    """Every way in which the answers say what was chosen."""
    if reading.reads == "yes_no":
        return list(_yes_no(reading))
    found = [Chosen(TEXT, reading.said[:, 0].astype(np.int64))]
    if np.isfinite(reading.logits[:, 0]).any():
        found.append(Chosen(LOGITS, bias.fixed(reading)))
        if reading.turned.any() and (reading.count > 1).any():
            found.append(Chosen(DEBIASED, bias.debiased(reading, seed)))
        if reading.turned.all():
            found.append(Chosen(AVERAGED, bias.averaged(reading)))
    return found


def _yes_no(reading: Reading) -> Iterator[Chosen]:
    """The first option said yes to, as the study counts it; and the one whose yes stands out most."""
    yes = reading.said == 0
    yield Chosen(TEXT, np.where(yes.any(1), yes.argmax(1), NONE))
    margin = reading.logits[:, :, 0].astype(np.float64) - reading.logits[:, :, 1]
    if np.isfinite(margin).any():
        some = np.isfinite(margin)
        yield Chosen(LOGITS, np.where(some.any(1), np.where(some, margin, -np.inf).argmax(1), NONE))


def scored(reading: Reading, chosen: Chosen, draws: int = 2000, seed: int = 0) -> PathScores:
    """The path scores of a way of choosing; intervals draw whole leaves."""
    return path_scores(
        reading.codes(chosen.options),
        reading.truth,
        reading.taxonomy,
        options=reading.offered,
        cluster=reading.leaf,
        resamples=draws,
        seed=seed,
    )


def records(reading: Reading, text_only: bool, draws: int = 2000, seed: int = 0) -> list[Record]:
    """Every score of one prompt, in long form: prompt, reading, score, level, value, low, high, n, leaves."""
    found: list[Record] = []
    for chosen in ways(reading, seed):
        scores = scored(reading, chosen, draws, seed)
        found += [_record(reading, chosen.name, *entry) for entry in _of_paths(reading, scores, text_only)]
        if text_only:
            found += _of_text(reading, chosen.name, scores, draws, seed)
        if reading.reads != "yes_no":
            found += _of_letters(reading, chosen)
    if reading.reads != "yes_no" and reading.turned.all() and (reading.said.shape[1] > 1):
        found += _of_rotations(reading, draws, seed)
    return found + _nulls(reading) + _counts(reading)


OF_THE_LEAF = {"leaf_accuracy", "consistency", "lca_height", "severity"}
"""Scores about the leaf, which a question by name gives away."""


def called(name: str, levels: Sequence[str]) -> tuple[str, str | None]:
    """The score and the level that a name of `PathScores.intervals` means: `level 2` is the accuracy at the third."""
    if name.startswith("corrected "):
        score, level = called(name.removeprefix("corrected "), levels)
        return f"corrected_{score}", level
    for prefix, score in (("level ", "accuracy"), ("first error ", "first_error")):
        if name.startswith(prefix):
            return score, levels[int(name.removeprefix(prefix))]
    return name, None


def wanted(reading: Reading, score: str, level: str | None, text_only: bool) -> bool:
    """Whether a score says anything: at levels that were asked about, and about the leaf only where it was asked."""
    asked = {name for _, name in reading.levels}
    return (level is None or level in asked) and not (text_only and score.removeprefix("corrected_") in OF_THE_LEAF)


def _of_paths(
    reading: Reading, scores: PathScores, text_only: bool
) -> Iterator[tuple[str, str | None, float, Interval, int]]:
    levels = reading.taxonomy.levels
    corrected = {f"corrected {name}": value for name, value in scores.chance_corrected.items()}
    for name, span in scores.intervals.items():
        score, level = called(name, levels)
        if not wanted(reading, score, level, text_only):
            continue
        bare = name.removeprefix("corrected ")
        if name in corrected:
            value = corrected[name]
        elif level is not None:
            values = scores.first_error if score == "first_error" else scores.level_accuracy
            value = values[levels.index(level)]
        else:
            value = getattr(scores, name)
        yield score, level, float(value), span, _counted(scores, bare)


def _counted(scores: PathScores, name: str) -> int:
    """How many samples count for a score."""
    return int(np.isfinite(scores.per_sample[name]).sum()) if name in scores.per_sample else scores.n


def _of_text(reading: Reading, way: str, scores: PathScores, draws: int, seed: int) -> list[Record]:
    """The two text HCAs. The study's credits the leaf and weighs a leaf by its images; the cleaner counts it once."""
    right = scores.per_sample["hca"]
    sums, sizes = np.bincount(reading.leaf, weights=right), np.bincount(reading.leaf)
    means = sums[sizes > 0] / sizes[sizes > 0]
    span = clustered_bootstrap(means, np.arange(len(means)), 0.95, draws, np.random.default_rng(seed))
    study = _record(reading, way, "text_hca_study", None, scores.hca, scores.intervals["hca"], scores.n)
    return [study, _record(reading, way, "text_hca_per_leaf", None, float(means.mean()), span, len(means))]


def _of_rotations(reading: Reading, draws: int, seed: int) -> list[Record]:
    """Over all cyclic shifts: right in every one, and in how many."""
    right = reading.said == reading.answer[:, None]
    asked = np.arange(right.shape[1]) < reading.count[:, None]
    share = (right & asked).sum(1) / reading.count
    always = (right | ~asked).all(1)
    found = []
    for name, values in (("circular", always.astype(float)), ("expected", share)):
        for index, level in reading.levels:
            these = reading.level == index
            leaf = reading.leaf[reading.sample[these]]
            span = _interval(values[these], leaf, draws, seed)
            mean = float(values[these].mean())
            found.append(_record(reading, TEXT, f"{name}_accuracy", level, mean, span, int(these.sum())))
        whole = np.ones(len(reading.images))
        np.multiply.at(whole, reading.sample, values)
        span = _interval(whole, reading.leaf, draws, seed)
        found.append(_record(reading, TEXT, f"{name}_hca", None, float(whole.mean()), span, len(whole)))
    recalls = bias.recall_over_rotations(reading)
    found.append(_record(reading, TEXT, "recall_std_rotations", None, float(np.nanstd(recalls)), None, len(right)))
    return found


def _of_letters(reading: Reading, chosen: Chosen) -> list[Record]:
    recalls = bias.recall(reading, chosen.options)
    n = int((reading.count == reading.count.max()).sum())
    found = [
        _record(reading, chosen.name, f"recall_{letter}", None, float(value), None, n)
        for letter, value in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", recalls, strict=False)
    ]
    return [*found, _record(reading, chosen.name, "recall_std", None, float(np.nanstd(recalls)), None, n)]


def _nulls(reading: Reading) -> list[Record]:
    """What needs no model: a blind pick, and two guesses that know how often the bank's names are right."""
    blind = 1 / reading.count
    whole = np.ones(len(reading.images))
    np.multiply.at(whole, reading.sample, blind)
    found = _null(reading, "chance", blind, whole)
    for name, options in _guesses(reading).items():
        right = (options == reading.answer).astype(float)
        path = np.ones(len(reading.images))
        np.multiply.at(path, reading.sample, right)
        found += _null(reading, name, right, path)
    return found


def _null(reading: Reading, name: str, values: np.ndarray, whole: np.ndarray) -> list[Record]:
    levels = [
        _record(reading, name, "accuracy", level, float(values[these].mean()), None, int(these.sum()))
        for index, level in reading.levels
        if (these := reading.level == index).any()
    ]
    return [*levels, _record(reading, name, "hca", None, float(whole.mean()), None, len(whole))]


def _guesses(reading: Reading, seed: int = 0) -> dict[str, np.ndarray]:
    """int (question,) each: the option that is right most often (majority), and most often when offered (names), as
    counted on the other half of the images."""
    half = np.random.default_rng(seed).permutation(len(reading.images))[reading.sample] % 2 == 0
    found = {name: np.zeros(reading.nodes.shape) for name in ("majority", "names")}
    for tested in (half, ~half):
        truths, offers = _tallies(reading, ~tested)
        found["majority"][tested] = truths[tested]
        rate = (truths + 1 / reading.count[:, None]) / (offers + 1)  # one more offer, of a blind pick
        found["names"][tested] = rate[tested]
    real = np.arange(reading.nodes.shape[1]) < reading.count[:, None]
    return {name: np.where(real, values, -np.inf).argmax(1) for name, values in found.items()}


def _tallies(reading: Reading, some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 (question, option) each: how often its node is the truth, and how often it is offered, at its level in
    `some` of the questions (bool (question,))."""
    nodes = np.where(reading.nodes < 0, 0, reading.nodes).astype(np.int64)
    key = reading.level[:, None] * (int(nodes.max(initial=0)) + 1) + nodes
    real = np.arange(nodes.shape[1]) < reading.count[:, None]
    size = int(key.max(initial=0)) + 1
    truths = np.bincount(key[np.arange(len(key)), reading.answer][some], minlength=size)
    return truths[key].astype(float), np.bincount(key[real & some[:, None]], minlength=size)[key].astype(float)


def _counts(reading: Reading) -> list[Record]:
    """How replies were read, and how many came to nothing."""
    asked = reading.how[reading.how != np.array(None)]
    n = len(asked)
    kinds = ("letter", "statement", "option", "ambiguous", "unparsable", "empty", "error")
    tally = {kind: int((asked == kind).sum()) for kind in kinds}
    parsed = (tally["letter"] + tally["statement"] + tally["option"]) / max(n - tally["error"], 1)
    found = [_record(reading, TEXT, "parse_rate", None, parsed, None, n - tally["error"])]
    found += [_record(reading, TEXT, f"replies_{kind}", None, count / n, None, n) for kind, count in tally.items()]
    broken = np.zeros(len(reading.images), bool)
    np.logical_or.at(broken, reading.sample, (reading.how == "error").any(1))
    return [*found, _record(reading, TEXT, "images_with_errors", None, float(broken.sum()), None, len(broken))]


def _record(
    reading: Reading, way: str, score: str, level: str | None, value: float, span: Interval | None, n: int
) -> Record:
    low, high = span or (math.nan, math.nan)
    leaves = len(np.unique(reading.leaf))
    place = {"prompt": reading.prompt, "reading": way, "score": score, "level": level}
    return place | {"value": value, "low": low, "high": high, "n": n, "leaves": leaves}


def _interval(values: np.ndarray, leaf: np.ndarray, draws: int, seed: int) -> Interval:
    groups = np.unique(leaf, return_inverse=True)[1]
    return clustered_bootstrap(values, groups, 0.95, draws, np.random.default_rng(seed))
