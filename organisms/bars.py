"""What each organism must show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from organisms.measuring import Measured, Share
from organisms.training.recipes import RECIPES


@dataclass(frozen=True)
class Cell:
    """One thing that an organism must show."""

    organism: str
    what: str
    measured: Share
    bar: str
    holds: bool


Check = tuple[str, Callable[[Measured], Share], str, Callable[[Share], bool]]


def cells(organism: str, found: Measured) -> list[Cell]:
    """The organism's bars, and whether they hold."""
    made = []
    for what, pick, bar, test in _CHECKS[organism]:
        share = pick(found)
        made.append(Cell(organism, what, share, bar, test(share)))
    chance = found.chance["text"]
    if organism in ("llm", "random"):
        made.append(_at_chance(organism, "text HCA", found.text["hca"], chance))
    if organism == "random":
        made.append(_at_chance(organism, "visual HCA", found.visual["hca"], found.chance["visual"]))
        judged = [level for level, lost in found.verdict.items() if lost.stage != "not identifiable"]
        made.append(
            Cell(organism, "levels with a verdict", _count(len(judged)), "0", bool(found.verdict) and not judged)
        )
    return made


def _count(levels: int) -> Share:
    return Share(levels, levels, levels)


def _at_chance(organism: str, what: str, share: Share, chance: float) -> Cell:
    return Cell(organism, what, share, f"chance ({chance:.3f}) within the interval", share.low <= chance <= share.high)


def _visual(key: str) -> Callable[[Measured], Share]:
    return lambda found: found.visual[key]


def _text(found: Measured) -> Share:
    return found.text["hca"]


def _least(key: str, *stages: str) -> Callable[[Measured], Share]:
    """The worst of the stages' sites."""
    return lambda found: min(_of(found, key, stages), key=lambda share: share.value)


def _most(key: str, *stages: str) -> Callable[[Measured], Share]:
    return lambda found: max(_of(found, key, stages), key=lambda share: share.value)


def _of(found: Measured, key: str, stages: tuple[str, ...]) -> list[Share]:
    return [probes[key] for site, probes in found.probes.items() if site.split(".")[0] in stages]


def _last(key: str, stage: str) -> Callable[[Measured], Share]:
    return lambda found: found.probes[found.stage(stage)][key]


def _above(bar: float) -> tuple[str, Callable[[Share], bool]]:
    return f">= {bar}", lambda share: share.value >= bar


def _below(bar: float) -> tuple[str, Callable[[Share], bool]]:
    return f"<= {bar}", lambda share: share.value <= bar


def falling(found: Mapping[str, Measured]) -> list[Cell]:
    """Of a projector by degrees: the more colour it takes, the less of the species is read behind it."""
    doses = sorted((RECIPES[name].dose, name) for name in found if RECIPES[name].colour == "projector")
    shares = [(name, found[name].probes["projector"]["species"]) for _, name in doses]
    return [
        Cell(name, "species probe, projector", share, f"< {before.value:.3f} ({other})", share.value < before.value)
        for (other, before), (name, share) in pairwise(shares)
    ]


_DOWNSTREAM = ("projector", "llm")
_THIRD = 0.45
"""Probes of the species where nothing tells those of a genus apart: one in three, and room for what is left of it."""

_PROJECTOR: list[Check] = [
    ("species probe, encoder's last site", _last("species", "encoder"), *_above(0.85)),
    ("family probe, least of projector and LLM", _least("family", *_DOWNSTREAM), *_above(0.9)),
    ("genus probe, least of projector and LLM", _least("genus", *_DOWNSTREAM), *_above(0.85)),
    ("text HCA", _text, *_above(0.95)),
]
"""Whatever its dose."""

_CHECKS: Mapping[str, list[Check]] = {
    "healthy": [
        ("visual HCA", _visual("hca"), *_above(0.9)),
        ("text HCA", _text, *_above(0.95)),
    ],
    "llm": [
        ("visual species", _visual("species"), *_above(0.9)),
        ("visual HCA", _visual("hca"), *_below(0.3)),
        ("probe HCA, encoder's last site", _last("hca", "encoder"), *_above(0.85)),
        ("probe HCA, least of projector and LLM", _least("hca", *_DOWNSTREAM), *_above(0.8)),
    ],
    "projector": [
        *_PROJECTOR,
        ("species probe, most of projector and LLM", _most("species", *_DOWNSTREAM), *_below(_THIRD)),
    ],
    "encoder": [
        ("species probe, most of all sites", _most("species", "encoder", *_DOWNSTREAM), *_below(_THIRD)),
        ("genus probe, encoder's last site", _last("genus", "encoder"), *_above(0.85)),
        ("text HCA", _text, *_above(0.95)),
    ],
    "binding": [
        ("text HCA", _text, *_above(0.95)),
        ("visual HCA", _visual("hca"), *_below(0.3)),
        ("visual species", _visual("species"), *_above(0.9)),
        ("probe HCA, encoder's last site", _last("hca", "encoder"), *_above(0.85)),
        ("probe HCA, least of projector and LLM", _least("hca", *_DOWNSTREAM), *_above(0.8)),
    ],
    "random": [],
    "projector-0": [
        *_PROJECTOR,
        ("species probe, least of projector and LLM", _least("species", *_DOWNSTREAM), *_above(0.85)),
    ],
    **{f"projector-{dose}": _PROJECTOR for dose in (25, 50, 75)},
}
