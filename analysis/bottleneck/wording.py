"""The verdict in words: the rule, and of each level why, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.bottleneck.bits import Bits
from analysis.bottleneck.losses import ANSWERS, PlaceStage, Way
from analysis.bottleneck.readable import interval
from analysis.bottleneck.ruling import ALL_BUT, ALPHA, HALF, LEGIBLE, MARGIN, Ruling, Stage, of

CALLED: Mapping[str, str] = {
    "encoder": "encoder",
    "projector": "projector",
    "llm": "LLM",
    "text": "LLM (taxonomy)",
    "binding": "LLM (binding)",
    "answers": "LLM (taxonomy or binding)",
    "none": "none",
    "not identifiable": "not identifiable",
}
"""Stages as tables name them."""
MEANT: Mapping[Stage, str] = {
    "encoder": "lost in the encoder",
    "projector": "lost at the projector",
    "llm": "lost inside the LLM",
    "text": "not known to the LLM",
    "binding": "seen and known, and not brought together",
    "answers": "seen, and missing from the answers",
    "none": "lost nowhere",
    "not identifiable": "not identifiable",
}
CHANGES: Mapping[Stage, str] = {
    "encoder": "a site, a pooling or a probe that reads the level better; another model that reads it off these images "
    "would show that they hold it",
    "projector": "a probe that reads it behind the projector (another pooling, more images to fit on), or answers that "
    "get it right",
    "llm": "answers that get it right, or conditional probing in which the projector adds nothing to the LLM's site",
    "text": "answers by name that get it right, with other words or other wrong options",
    "binding": "answers about the images that get it right with another prompt, or answers by name that do not",
    "answers": "questions by name, or more of them, which tell want of taxonomy from want of binding",
    "none": "a stage that was not judged; harder wrong options; more images, where the interval is wide",
    "not identifiable": "a site where the level is clearly read, and replies that can be read",
}
"""What would change a verdict."""


def percent(share: float) -> str:
    return f"{100 * share:.0f}"


def span(low: float, high: float) -> str:
    return f"[{percent(low)}, {percent(high)}]"


RULE = " ".join(
    f"""\
A level is counted by itself: among samples whose predicted node has the right parent, how much oftener is
the node right than the parent's most common child would be (0: nothing of the level, 100: all of it)? What
is read at one place was there at every place before it, so a stage loses what is read before it and nowhere
from it on. A loss is certain where more than {percent(MARGIN)} % of the level is lost, p < {ALPHA:g} by a
bootstrap over leaves, adjusted for all levels and stages (step-down max-T); it is suspected where only its
own interval says so. Inside the LLM it must also show in conditional probing: the projector has bits of the
level that the LLM's site lacks, at least {percent(MARGIN)} % of them. How much the images show is not
known, so the encoder is blamed only where more than {percent(HALF)} % is missing at its best site while
some level is read better than that; where none is, nothing is identifiable. What the answers lack of the
visual tokens (where probes are right oftener among the same options) is want of taxonomy as far as the
level is not known by name either, and want of binding beyond that; replies count where more than
{percent(LEGIBLE)} % could be read. `none` is certain where less than {percent(ALL_BUT)} % can be lost in
all.""".split()
)
"""The rule in words, with its constants."""


def why(way: Way, ruling: Ruling, bits: Bits | None, read: float | None, most: np.ndarray) -> str:
    """What decided on a level. read: the share of replies read, where too few were; most: what is read of
    the level read best."""
    text = _why(way, ruling, bits, read, most)
    if ruling.retold and bits is not None:
        text += (
            f"; probes read less of it at {bits.later_site}, but {bits.source} adds only {percent(bits.share)} % "
            f"{span(bits.low, bits.high)} of the bits to it: told in another form, not lost"
        )
    return text


def _why(way: Way, ruling: Ruling, bits: Bits | None, read: float | None, most: np.ndarray) -> str:
    loss, first = ruling.loss, way.places[0].name
    size = f"{percent(loss.strength)} % {span(loss.low, loss.high)}"
    match loss.stage:
        case "not identifiable":
            return _unknown(way, ruling, read, most)
        case "none":
            return (
                f"of what is read at {first}, {size} is lost on the way to {_end(way)}{_largest(way, loss.confident)}"
            )
        case "encoder" if way.never_there[0] > HALF:
            return (
                f"{size} of it cannot be read at {first}, the encoder's best site, while another level can; how much "
                "of it the images show is not known, so this is the most that the encoder can have lost"
            )
        case "encoder":
            return f"of what is read at {first}, {size} cannot be read any more at the encoder's end"
        case "projector":
            return (
                f"of what is read at {_before(way, 'projector')}, {size} cannot be read any more behind the projector"
            )
        case "llm":
            told = "conditional probing was not done, so this may be another form and no loss"
            if bits is not None:
                told = f"conditional probing: {percent(bits.share)} % {span(bits.low, bits.high)} of the bits are in "
                told += f"{bits.source} and not in {bits.later_site}"
            before = _before(way, "llm")
            return f"of what is read at {before}, {size} is gone from the visual tokens from {loss.at} on; {told}"
        case _:
            seen = f"of what is read at {_before(way, ANSWERS)}, {size} does not come out in the answers"
            return f"{seen}{_by_name(way, loss.stage)}{_recovered(way)}"


def _recovered(way: Way) -> str:
    gap = way.recovery
    if gap is None:
        return ""
    least = "at least " if gap.bound else ""
    return (
        f"; among the same options probes at {gap.site} are right {least}{100 * gap.value:+.0f} points "
        f"[{100 * gap.low:+.0f}, {100 * gap.high:+.0f}] oftener than the answers"
    )


def _by_name(way: Way, stage: Stage) -> str:
    if way.named is None:
        return "" if way.deepest else "; it was not asked by name, so taxonomy and binding are not told apart"
    known = (
        f"{percent(max(way.named[0], 0))} % {span(*interval(way.named, way.leaves))} of it by name, above a blind pick"
    )
    return {
        "text": f", nor does the model know it: {known}",
        "binding": f", though the model knows {known}",
    }.get(stage, f"; the model knows {known}, which does not decide between taxonomy and binding")


def _unknown(way: Way, ruling: Ruling, read: float | None, most: np.ndarray) -> str:
    if ruling.unknown == "illegible":
        share = of(way.kept[0] - way.kept[-1], way.kept[0])
        lost = f"{percent(share[0])} % {span(*interval(share, way.leaves))}"
        return f"the replies could not be read ({read:.0%} of them were); up to {way.places[-1].name}, {lost} is lost"
    if ruling.unknown == "nothing probed before":
        return f"{percent(way.kept[0][0])} % of it is read at {way.places[0].name}, and nothing before it was probed"
    return (
        "no level is clearly read better than half anywhere (the best, with the levels above it: "
        f"{percent(most[0])} % {span(*interval(most, way.leaves))}), so nothing shows that images, model and "
        "probes can carry one"
    )


def _largest(way: Way, confident: bool) -> str:
    """Of a level that is not certain to come through: where most of it may be lost."""
    if confident:
        return ""
    stage = max(way.stages, key=lambda stage: way.lost(stage)[0])
    share = of(way.lost(stage), way.there(stage))
    where = {"llm": "inside the LLM", ANSWERS: "in the answers"}.get(stage, f"at the {stage}")
    return f", most of it {where}: {percent(share[0])} % {span(*interval(share, way.leaves))}"


def _end(way: Way) -> str:
    last = way.places[-1]
    return "the answers" if last.stage == ANSWERS else f"{last.name} (what it answers is not judged)"


def _before(way: Way, stage: PlaceStage) -> str:
    """The place before a stage."""
    first = [place.stage for place in way.places].index(stage)
    return way.places[max(first - 1, 0)].name
