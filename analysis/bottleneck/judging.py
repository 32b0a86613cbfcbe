"""`verdict(run)`: everything that was measured of a model, joined into one statement per level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analysis.bottleneck import found
from analysis.bottleneck.bits import bits_lost
from analysis.bottleneck.evidence import Number, numbers, of_angles, of_unseen
from analysis.bottleneck.found import Answers, Probes
from analysis.bottleneck.losses import ANSWERS, Way, curves, ways
from analysis.bottleneck.readable import Draws, interval
from analysis.bottleneck.ruling import HALF, LEGIBLE, Loss, Stage, rule
from analysis.bottleneck.wording import CHANGES, percent, span, why
from probing.results import ProbeRun


@dataclass(frozen=True)
class LevelVerdict:
    """One level. Shares are of what could be read of the level, beyond the level above it, before the stage."""

    level: str
    stage: Stage
    confident: bool
    strength: float
    """The share lost at the stage; with `none`, on the whole way that was judged. NaN where not identifiable."""
    interval: tuple[float, float]
    """95 %."""
    p_adjusted: float
    at: str | None
    """Inside the LLM: from which site on."""
    why: str
    also: tuple[Loss, ...]
    unseen: str
    """Whether the level is known of leaves that no probe was fitted on, or looked up leaf by leaf."""
    geometry: str
    """Whether its directions are orthogonal to those of the level above (`analysis.geometry`); no part of the rule."""
    would_change: str
    evidence: tuple[Number, ...]


@dataclass(frozen=True)
class Verdict:
    """Of a run; `levels` coarse to fine, the unscored ones last."""

    path: Path
    levels: tuple[LevelVerdict, ...]
    judged: tuple[str, ...]
    """The stages that could be judged, of encoder, projector, llm, answers."""
    missing: tuple[str, ...]
    """What was not there, what cannot be told without it, and the command that makes it."""
    sources: Mapping[str, str]
    """Where the numbers come from."""

    def __getitem__(self, level: str) -> LevelVerdict:
        """By the level's name. Raises KeyError."""
        named = {found.level: found for found in self.levels}
        return named[level]


def verdict(
    run: str | Path | ProbeRun,
    *,
    leaf: str | Path | None = None,
    images: str | Path | None = None,
    names: str | Path | None = None,
    geometry: str | Path | None = None,
    prompt: str | None = None,
    parser: str = "strict_v1",
    draws: int = 2000,
    seed: int = 0,
) -> Verdict:
    """At which stage each level is lost. `run`: a store, or its probes; the rest is looked for beside it.

    leaf: probes of unseen leaves; images, names: the model's answers; geometry: of `python -m analysis geometry`.
    Raises InputError.
    """
    opened = run if isinstance(run, ProbeRun) else ProbeRun.open(run)
    probes = found.read_probes(opened)
    files = {
        "images": Path(images) if images else found.beside(opened, text_only=False),
        "names": Path(names) if names else found.beside(opened, text_only=True),
        "leaf": Path(leaf) if leaf else _there(found.sibling(opened, "probe-leaf")),
        "geometry": Path(geometry) if geometry else _there(found.sibling(opened, "geometry")),
    }
    told = {
        key: found.read_answers(path, probes, parser, prompt, text_only=key == "names")
        if (path := files[key])
        else None
        for key in ("images", "names")
    }
    by_image, illegible = _legible(told["images"], probes.levels)
    by_name, _ = _legible(told["names"], probes.levels)
    draw = Draws.of(probes.leaf, draws, seed)
    along = ways(probes, by_image, by_name, draw)
    source = [*probes.of_stage("encoder"), *probes.of_stage("projector")]
    bits = bits_lost(probes.conditional, probes.levels, source, probes.of_stage("llm"))
    evidence = numbers(probes, along, bits)
    unseen: dict[str, str] = {}
    if files["leaf"]:
        held = found.read_probes(ProbeRun.open(files["leaf"]))
        apart = curves(held, Draws.of(held.leaf, draws, seed + 1))
        unseen = {way.level: _unseen(way, apart[way.level], held) for way in along if way.level in apart}
        evidence += of_unseen(held, apart)
    angles = found.read_geometry(files["geometry"]) if files["geometry"] else []
    evidence += of_angles(angles)
    most = max((way.outright for way in along), key=lambda values: values[0])
    levels = []
    for way, ruling in zip(along, rule(along, bits, illegible), strict=True):
        loss, level = ruling.loss, way.level
        levels.append(
            LevelVerdict(
                level=level,
                stage=loss.stage,
                confident=loss.confident,
                strength=loss.strength,
                interval=(loss.low, loss.high),
                p_adjusted=loss.p_adjusted,
                at=loss.at,
                why=why(way, ruling, bits.get(level), illegible.get(level), most),
                also=ruling.also,
                unseen=unseen.get(level, ""),
                geometry=_geometry(angles, level),
                would_change=CHANGES[loss.stage],
                evidence=tuple(entry for entry in evidence if entry.level == level),
            )
        )
    levels += [_unscored(level, reason) for level, reason in probes.unscored.items()]
    judged = [stage for stage in (*found.STAGES, ANSWERS) if any(stage in way.stages for way in along)]
    return Verdict(
        path=opened.path,
        levels=tuple(levels),
        judged=tuple(judged),
        missing=tuple(_missing(probes, files, illegible, bool(bits))),
        sources={"probes": str(opened.path)} | {key: str(path) for key, path in files.items() if path},
    )


def _there(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


def _geometry(angles: Sequence[found.Record], level: str) -> str:
    """The last site's verdict on a level's directions."""
    rows = [row for row in angles if row["child"] == level]
    if not rows:
        return ""
    last = rows[-1]
    return f"{last['verdict']} to the directions of {last['parent']} at {last['site']} ({last['reason']})"


def _legible(answers: Answers | None, levels: Sequence[str]) -> tuple[Answers | None, dict[str, float]]:
    """The answers at the levels where most replies could be read, and the share read of the others."""
    if answers is None:
        return None, {}
    read = answers.read
    poor = {level: float(share) for level, share in zip(levels, read, strict=True) if share < LEGIBLE}
    right = answers.right.copy()
    right[:, [level in poor for level in levels]] = np.nan
    return replace(answers, right=right), poor


def _unseen(way: Way, apart: Mapping[str, np.ndarray], held: Probes) -> str:
    """What of the level is read of unseen leaves at the last site, beside what is read of seen ones."""
    site = [place.name for place in way.places if place.name in apart][-1]
    first = way.places[0].name
    seen, there = way.curves[site], np.clip(apart[site], 0, 1)
    if interval(seen, way.leaves)[0] <= 0:
        return f"at {site} it is not read of seen leaves either"
    share = np.clip(there / np.maximum(seen, 1e-9), 0, 1)
    low, high = interval(share, way.leaves)
    size = f"{percent(share[0])} % {span(low, high)} of what is read at {site} is read of unseen leaves too"
    if first in apart and first != site:
        size += f" (at {first}: {percent(max(apart[first][0], 0) / max(way.curves[first][0], 1e-9))} %)"
    if low > HALF:
        return f"holds for them: {size}"
    if high < HALF:
        return f"read off the leaf: {size}"
    return f"between holding for them and being read off the leaf: {size}"


def _unscored(level: str, reason: str) -> LevelVerdict:
    nan = math.nan
    why = f"the level is not scored: {reason}"
    return LevelVerdict(level, "not identifiable", False, nan, (nan, nan), nan, None, why, (), "", "", "", ())


def _missing(probes: Probes, files: Mapping[str, Path | None], illegible: Mapping[str, float], bits: bool) -> list[str]:
    """What was not there, and what that costs."""
    store = probes.summary["config"]["store"]
    lines = [f"No site of the {stage} was probed." for stage in found.STAGES if not probes.of_stage(stage)]
    if files["images"] is None:
        lines.append(
            "The model was not asked about the images, so nothing is said of what it makes of its visual tokens: "
            "python -m evaluation --model MODEL --questions BANK --images FOLDER"
        )
    if illegible:
        read = ", ".join(f"{level} {share:.0%}" for level, share in illegible.items())
        lines.append(f"The replies could not be read (read: {read}); they are not judged.")
    if files["names"] is None:
        lines.append(
            "It was not asked by name, so want of taxonomy is not told from want of binding: "
            "python -m evaluation --model MODEL --questions BANK --text_only true"
        )
    if not bits and probes.of_stage("llm"):
        earlier = (probes.of_stage("projector") or probes.of_stage("encoder") or ["projector"])[-1]
        lines.append(
            "Without conditional probing no loss inside the LLM is certain: "
            f"python -m probing {store} --conditional {probes.of_stage('llm')[-1]}+{earlier}"
        )
    if files["leaf"] is None:
        lines.append(f"Knowledge of unseen leaves was not probed: python -m probing {store} --split leaf")
    if files["images"] is not None and not probes.summary["config"].get("questions"):
        lines.append(
            "Probes were not read among the options of the questions, so what they have beyond the answers is a bound: "
            f"python -m probing {store} --questions {files['images']}/strict_v1/answers-PROMPT.parquet"
        )
    return lines
