"""The rule: from what is kept and lost along the way to one loss per level, or none. `wording` says it in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.bottleneck.bits import Bits
from analysis.bottleneck.losses import ANSWERS, PlaceStage, Way, max_t
from analysis.bottleneck.readable import interval
from probing.changepoint import best_splits

Stage = Literal["encoder", "projector", "llm", "text", "binding", "answers", "none", "not identifiable"]
"""`text`: the LLM does not know the taxonomy; `binding`: it does, and does not use it on what it sees; `answers`: one
of the two."""

ALPHA = 0.05
MARGIN = 0.1
"""The least loss worth the name, a share of the level. Sites differ in width and scale, and their probes are fitted on
finite samples: a few points between two sites that hold the same are no finding."""
HALF = 0.5
"""How much of what is missing at the encoder already was in the images, nobody knows. So the encoder is blamed where
more is missing than is there, and only in a model where some level is read better than that: else nothing shows that
images and probes can carry a level at all."""
ALL_BUT = 0.25
"""`none` is certain where no more than this can have been lost on the whole way."""
LEGIBLE = 0.5
"""Replies are judged where most of them could be read; those that could not are left out, not counted wrong."""


@dataclass(frozen=True)
class Loss:
    """A loss at a stage. `strength`: the share, of what could be read of the level before the stage, lost at it."""

    stage: Stage
    confident: bool
    strength: float
    low: float
    high: float
    p_adjusted: float
    """That no more than the margin is lost; adjusted for all levels and stages of the run."""
    size: float
    """As a share of the whole level: what losses are compared by."""
    at: str | None = None
    """Inside the LLM: the first site after the change, and the ends of its interval."""


@dataclass(frozen=True)
class Ruling:
    """One level: its largest loss that is certain; else its largest that is suspected; else none."""

    loss: Loss
    also: tuple[Loss, ...] = ()
    """Its other losses."""
    unknown: Literal["", "nothing read", "nothing probed before", "illegible"] = ""
    """Why a level is not identifiable."""
    retold: bool = False
    """Probes read less inside the LLM, and conditional probing finds that it is all there."""


NOT_IDENTIFIABLE = Loss("not identifiable", False, math.nan, math.nan, math.nan, math.nan, math.nan)


def rule(ways: Sequence[Way], bits: Mapping[str, Bits], illegible: Mapping[str, float]) -> list[Ruling]:
    """A ruling per level. bits: of the levels where conditional probing was done; illegible: levels whose replies are
    not judged because too few could be read."""
    tests: list[tuple[tuple[str, PlaceStage | None], np.ndarray, float]]
    tests = [((way.level, stage), way.lost(stage), MARGIN) for way in ways for stage in way.stages]
    tests += [((way.level, None), way.never_there, HALF) for way in ways]
    adjusted = max_t(np.array([values for _, values, _ in tests]), np.array([margin for *_, margin in tests]))
    p = {key: float(value) for (key, *_), value in zip(tests, adjusted, strict=True)}
    if not any(interval(way.outright, way.leaves)[0] > HALF for way in ways):
        return [Ruling(NOT_IDENTIFIABLE, unknown="nothing read") for _ in ways]
    return [_level(way, p, bits.get(way.level), way.level in illegible) for way in ways]


P = Mapping[tuple[str, PlaceStage | None], float]


def _level(way: Way, p: P, bits: Bits | None, illegible: bool) -> Ruling:
    first, *later = way.stages
    if first != "encoder" and _never_there(way, p):
        return Ruling(NOT_IDENTIFIABLE, unknown="nothing probed before")
    losses = [_first(way, first, p), *(_later(way, stage, p, bits) for stage in later if stage != ANSWERS)]
    losses += _of_answers(way, p) if ANSWERS in later else []
    if first == "llm":
        losses[0] = losses[0] and _inside(way, losses[0], bits)
    found = [loss for loss in losses if loss is not None]
    retold = bits is not None and "llm" in way.stages and _seems(way, "llm", p) and not bits.lost(MARGIN)
    if found:
        largest, *others = sorted(found, key=lambda loss: (loss.confident, loss.size), reverse=True)
        return Ruling(largest, tuple(others), retold=retold)
    if illegible:
        return Ruling(NOT_IDENTIFIABLE, unknown="illegible", retold=retold)
    return Ruling(_nothing(way), retold=retold)


def _never_there(way: Way, p: P) -> bool:
    """For certain; or by the estimate, where nothing is lost within the stage."""
    sure = p[way.level, None] < ALPHA
    return sure or (interval(way.never_there, way.leaves)[0] > HALF and p[way.level, way.stages[0]] >= ALPHA)


def _first(way: Way, stage: PlaceStage, p: P) -> Loss | None:
    if _never_there(way, p):
        p_value = p[way.level, None]
        return _loss(way, stage, 1 - way.after(stage), np.ones_like(way.kept[0]), p_value, p_value < ALPHA)
    return _plain(way, stage, p)


def _later(way: Way, stage: PlaceStage, p: P, bits: Bits | None) -> Loss | None:
    loss = _plain(way, stage, p)
    return _inside(way, loss, bits) if loss and stage == "llm" else loss


def _plain(way: Way, stage: PlaceStage, p: P) -> Loss | None:
    if not _seems(way, stage, p):
        return None
    p_value = p[way.level, stage]
    return _loss(way, stage, way.lost(stage), way.there(stage), p_value, p_value < ALPHA)


def _inside(way: Way, loss: Loss, bits: Bits | None) -> Loss | None:
    """A loss inside the LLM is one only where the projector still has bits that its site lacks."""
    if bits is not None and not bits.lost(MARGIN):
        return None
    sure = loss.confident and bits is not None
    return Loss(loss.stage, sure, loss.strength, loss.low, loss.high, loss.p_adjusted, loss.size, _from(way))


def _seems(way: Way, stage: PlaceStage, p: P) -> bool:
    """Whether there is a loss for certain, or one may be suspected."""
    values = way.lost(stage)
    return p[way.level, stage] < ALPHA or interval(values, way.leaves)[0] > MARGIN


def _of_answers(way: Way, p: P) -> list[Loss]:
    """What the answers lack of what was there, by whether the model knows it by name; certain only where probes are
    right oftener among the same options.

    Who knows a share of the level by name answers at most that share of what is seen; what is lost beyond is not for
    want of knowledge. The deepest level is not asked by name: its name is all that is asked for.
    """
    if not _seems(way, ANSWERS, p):
        return []
    values, before, p_value = way.lost(ANSWERS), way.there(ANSWERS), p[way.level, ANSWERS]
    sure = p_value < ALPHA and way.recovery is not None and way.recovery.low > 0
    undecided = [_loss(way, "answers", values, before, p_value, sure)]
    if way.named is None and not way.deepest:
        return undecided
    known = np.ones_like(values) if way.named is None else np.clip(way.named, 0, 1)
    unknown = np.minimum(values, (1 - known) * before)
    low, high = interval(2 * unknown - values)
    if low <= 0 <= high:
        return undecided
    parts: list[tuple[Stage, np.ndarray]] = [("text", unknown), ("binding", values - unknown)]
    (stage, most), (other, least) = parts if low > 0 else parts[::-1]
    found = [_loss(way, stage, most, before, p_value, sure)]
    if interval(least)[0] > MARGIN:
        found.append(_loss(way, other, least, before, math.nan, False))
    return found


def _loss(way: Way, stage: Stage, values: np.ndarray, before: np.ndarray, p: float, confident: bool) -> Loss:
    share = of(values, before)
    return Loss(stage, confident, float(share[0]), *interval(share, way.leaves), p, float(values[0]))


def of(values: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The share of what was there before, in [0, 1]; 0 where nothing was."""
    return np.clip(np.divide(values, before, out=np.zeros_like(values), where=before > 1e-9), 0, 1)


def _from(way: Way) -> str:
    """The site inside the LLM from which on less is read, and the ends of its interval (`probing.changepoint`)."""
    sites = [place.name for place in way.places if place.stage == "projector"][-1:]
    sites += [site for site in way.curves if way.stage_of[site] == "llm"]
    if len(sites) < 3:
        return sites[-1]
    splits = best_splits(np.array([way.curves[site] for site in sites]).T)[0]
    low, high = np.quantile(splits[1:], [0.025, 0.975], method="closest_observation")
    span = f" [{sites[int(low)]}, {sites[int(high)]}]" if low < high else ""
    return sites[int(splits[0])] + span


def _nothing(way: Way) -> Loss:
    share = of(way.kept[0] - way.kept[-1], way.kept[0])
    low, high = interval(share, way.leaves)
    sure = high < ALL_BUT and interval(way.kept[0], way.leaves)[0] > HALF
    return Loss("none", sure, float(share[0]), low, high, math.nan, float(way.kept[0][0] - way.kept[-1][0]))
