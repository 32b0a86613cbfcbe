"""Where a level goes missing between the encoder and the model's answer, with intervals, and one test for all of it.

What a later place has was in every place before it, so a place has what is read at it or, where that is clearly more,
after it (`kept`); what a stage loses is the step down at it. The places are the encoder's best site (picked on
validation) and its last, the projector, the LLM's best and last, and the answers. Numbers are arrays (1 + draw,), as in
`readable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.bottleneck.found import STAGES, Answers, Probes, SiteStage, number
from analysis.bottleneck.readable import NOWHERE, Draws, interval, within_parent

PlaceStage = Literal[SiteStage, "answers"]
ANSWERS: Literal["answers"] = "answers"


@dataclass(frozen=True, eq=False)
class Place:
    """One place on the way from the image to the answer."""

    stage: PlaceStage
    name: str
    """A site, or `answers`."""
    readable: np.ndarray
    """The share of the level readable here, (1 + draw,)."""


@dataclass(frozen=True, eq=False)
class Way:
    """A level's way through the model. `kept` is (place, 1 + draw), of `was_there`."""

    level: str
    leaves: int
    """That the draws are of."""
    deepest: bool
    """No level is below it: its name is what a question by name gives away."""
    places: tuple[Place, ...]
    kept: np.ndarray
    curves: Mapping[str, np.ndarray]
    """`readable` of every site."""
    stage_of: Mapping[str, str]
    outright: np.ndarray
    """What is read of the level at the first place, the levels above it included: no more than its most common node
    named every time is 0. For the question whether anything is read at all."""
    named: np.ndarray | None
    """What the model answers of the level by name alone, as `readable`; None where it was not asked."""
    answered: np.ndarray | None
    """Likewise about the images; None where not judged."""
    recovery: Recovery | None

    def there(self, stage: PlaceStage) -> np.ndarray:
        """What was there to be lost: `kept` at the place before the stage; of the first stage, at its best site."""
        first = next(index for index, place in enumerate(self.places) if place.stage == stage)
        return self.kept[max(first - 1, 0)]

    def after(self, stage: PlaceStage) -> np.ndarray:
        return self.kept[max(index for index, place in enumerate(self.places) if place.stage == stage)]

    @property
    def stages(self) -> tuple[PlaceStage, ...]:
        return tuple(dict.fromkeys(place.stage for place in self.places))

    def lost(self, stage: PlaceStage) -> np.ndarray:
        """The share of the whole level that was there to be read before the stage, and is not after it. Of the first
        stage: between its best site and its last."""
        return self.there(stage) - self.after(stage)

    @property
    def never_there(self) -> np.ndarray:
        """What no site reads from the first stage on; at most this is lost before it, or was not in the images."""
        return 1 - self.kept[0]


def curves(probes: Probes, draws: Draws) -> dict[str, dict[str, np.ndarray]]:
    """`readable` of every level at every site, and nothing else."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for column, level in enumerate(probes.levels):
        found[level] = {
            site: draws.ratio(
                *within_parent(probes.truth[:, column], probes.predicted[row][:, column], probes.parent_of)
            )
            for row, site in enumerate(probes.sites)
        }
    return found


def ways(probes: Probes, images: Answers | None, names: Answers | None, draws: Draws) -> list[Way]:
    """Of every scored level, coarse to fine."""
    return [
        _way(probes, column, level, sites, images, names, draws)
        for column, (level, sites) in enumerate(curves(probes, draws).items())
    ]


def _way(
    probes: Probes,
    column: int,
    level: str,
    sites: Mapping[str, np.ndarray],
    images: Answers | None,
    names: Answers | None,
    draws: Draws,
) -> Way:
    chosen: dict[str, SiteStage] = {}
    for stage in STAGES:
        if probes.of_stage(stage):
            chosen |= dict.fromkeys((probes.picked(stage, level), probes.of_stage(stage)[-1]), stage)
    places = [Place(stage, site, sites[site]) for site, stage in chosen.items()]
    answered = recovery = None
    if images is not None and np.isfinite(images.right[:, column]).any():
        stage = next(stage for stage in reversed(STAGES) if probes.of_stage(stage))
        site = probes.picked(stage, level)
        recovery = _recovery(probes, column, site, images, draws)
        predicted = probes.predicted[probes.sites.index(site)][:, column]
        seen = np.isfinite(within_parent(probes.truth[:, column], predicted, probes.parent_of)[0])
        answered = told(images, column, draws, seen)
        places.append(Place(ANSWERS, ANSWERS, answered))
    first = probes.predicted[probes.sites.index(places[0].name)][:, column]
    truth = probes.truth[:, column]
    outright = draws.ratio(*within_parent(truth, first, np.full_like(probes.parent_of, NOWHERE)))
    named = None
    if names is not None and np.isfinite(names.right[:, column]).any():
        named = told(names, column, draws)
    kept = was_there(np.array([place.readable for place in places]))
    return Way(
        level=level,
        leaves=draws.weights.shape[1],
        deepest=column == len(probes.levels) - 1,
        places=tuple(places),
        kept=kept,
        curves=sites,
        stage_of=probes.stage_of,
        outright=outright,
        named=named,
        answered=answered,
        recovery=recovery,
    )


def was_there(readable: np.ndarray) -> np.ndarray:
    """What was there at each place, (place, 1 + draw) as `readable`: what is read at it, or at a later one where that
    is clearly more (95 % of the draws, one-sided). The larger of the two would be too high where they are equal."""
    kept = readable.copy()
    for place in reversed(range(len(kept) - 1)):
        more = kept[place + 1] - kept[place]
        if np.quantile(more[1:], 0.05) > 0:
            kept[place] = kept[place + 1]
    return kept


def told(answers: Answers, column: int, draws: Draws, seen: np.ndarray | None = None) -> np.ndarray:
    """What replies say of a level, as `readable`: how much oftener they are right than a blind pick among the options
    that have the right parent; to name another parent is to know nothing of the level.

    seen: bool (sample,): samples whose parent is read, the only ones to count. Where most questions offer no sibling,
    what counts is how much oftener than a blind pick among all options.
    """
    right, asked = answers.right[:, column], np.isfinite(answers.chance[:, column])
    floor, branch = answers.floor[:, column], answers.branch[:, column]
    if np.mean(floor[asked] < 1) < 0.5:
        floor, branch = answers.chance[:, column], np.ones_like(branch)
    counted = np.isfinite(right) & (True if seen is None else seen)
    gain, room = np.where(branch == 1, right - floor, 0), 1 - floor
    return draws.ratio(np.where(counted, gain, np.nan), np.where(counted, room, np.nan))


@dataclass(frozen=True)
class Recovery:
    """What probes get right among the options of the questions, less what the model does: a difference of shares."""

    site: str
    value: float
    low: float
    high: float
    n: int
    bound: bool
    """A lower bound: the probes were not read among the options, and what is best of all classes is so among a few."""


def _recovery(probes: Probes, column: int, site: str, images: Answers, draws: Draws) -> Recovery:
    record = probes.records[site, probes.levels[column]]
    if np.isfinite(number(record.get("recovery"))):
        ends = (number(record[f"recovery{end}"]) for end in ("", "_low", "_high"))
        return Recovery(site, *ends, n=int(record["choice_n"]), bound=False)
    hits = probes.predicted[probes.sites.index(site)][:, column] == probes.truth[:, column]
    right = images.right[:, column]
    values = draws.ratio(hits - right, np.ones_like(right))
    return Recovery(site, float(values[0]), *interval(values), n=int(np.isfinite(right).sum()), bound=True)


def max_t(values: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """p-values (test,) that numbers (test, 1 + draw) are no larger than their margins (test,), adjusted for all.

    Step-down max-T (Westfall & Young 1993): draws less their estimate are what chance does to all numbers at once.
    """
    estimate, drawn = values[:, 0], values[:, 1:]
    spread = np.maximum(drawn.std(1), 1e-6)
    own = (estimate - margins) / spread
    chance = (drawn - estimate[:, None]) / spread[:, None]
    order = np.argsort(own, kind="stable")
    largest = np.maximum.accumulate(chance[order], axis=0)
    adjusted = np.empty(len(own))
    adjusted[order] = (1 + (largest >= own[order, None]).sum(1)) / (1 + drawn.shape[1])
    adjusted[order[::-1]] = np.maximum.accumulate(adjusted[order[::-1]])
    return adjusted
