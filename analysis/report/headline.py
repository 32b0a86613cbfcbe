"""What the report says first, in two sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

from markupsafe import Markup

from analysis.bottleneck.judging import LevelVerdict, Verdict
from analysis.bottleneck.wording import MEANT
from analysis.intervals import HCA, Change
from probing import table
from probing.scores import Record

GONE: Mapping[str, str] = {
    "encoder": "of it, at the most, is not there at the encoder's end (how much the images show is not known)",
    "projector": "of what is read before it cannot be read behind it",
    "llm": "of what is read before it is gone from there on",
    "text": "of what its visual tokens carry does not come out in its answers, nor does it know it by name",
    "binding": "of what its visual tokens carry does not come out in its answers, though it knows it by name",
    "answers": "of what its visual tokens carry does not come out in its answers",
}
"""By stage: what a share that is lost is a share of."""


def sentences(found: Verdict) -> list[Markup]:
    """What is lost, where and how surely; then what is not, and of what nothing can be said. Names are escaped."""
    scored = [level for level in found.levels if level.evidence]
    lost = [level for level in scored if level.stage not in ("none", "not identifiable")]
    kept = [level for level in scored if level.stage == "none"]
    unclear = [level for level in scored if level.stage == "not identifiable"]
    first = [_lost(group) for group in _grouped(sorted(lost, key=lambda one: not one.confident))]
    sure_of = [level for level in kept if level.confident]
    rest = [_kept(group, found) for group in (sure_of, [level for level in kept if not level.confident]) if group]
    if unclear:
        rest.append(
            Markup("{} <strong>{}</strong> nothing can be said: {}").format(
                "of" if kept else "Of", _names(unclear), unclear[0].why
            )
        )
    said = [Markup("; ").join(parts) + "." for parts in (first, rest) if parts]
    return [Markup("O") + sentence[1:] if sentence.startswith("of <strong>") else sentence for sentence in said]


def size(found: Verdict) -> str:
    """`n = 180 test images of 36 leaves`."""
    numbers = [level.evidence[0] for level in found.levels if level.evidence]
    n, leaves = max(number.n for number in numbers), max(number.leaves for number in numbers)
    return f"n = {n:,} test images of {leaves:,} leaves, 95 % intervals over leaves"


def stage_ends(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Where a stage begins and ends, as pairs of neighbours: through it, then on to the next."""
    ends: list[str] = []
    for _, group in groupby(records, lambda record: record["stage"]):
        members = [record["site"] for record in group]
        ends += dict.fromkeys([members[0], members[-1]])
    return list(pairwise(ends))


def headline(hca: Sequence[Record], found: Sequence[Change]) -> str:
    """One sentence on whole paths: where HCA is highest, where it ends, and the largest loss on the way.

    Both places are picked on validation, and what is said of them is from test: a number picked for being the highest
    on test would be too high, and its interval would not cover.
    """
    best, last = max(hca, key=lambda record: record["validation_hca"]), hca[-1]
    text = "Linear probes read the whole path "
    text += f"right most often, by validation, at {best['site']}: HCA {_share(best)} on test"
    if last is not best:
        text += f", and at the last site, {last['site']}, {_share(last)}"
    text += f" (n = {last['n_test']:,} test samples of {last['leaves_test']:,} leaves"
    text += (
        f"; probes of shuffled labels reach {table.percent(max(record['shuffled_high'] for record in hca))} % at most)"
    )
    steps = [change for change in found if change.of == HCA]
    if steps:
        text += f"; {_largest_drop(hca, steps)}"
    return text + "."


def published_headline(hca: Sequence[Record], epochs: int) -> str:
    """What can be said of the published protocol: it has no validation to pick a site by."""
    last = hca[-1]
    text = (
        "Published protocol (arXiv 2505.24840), reproduced with its defects: good to explain a published number, and "
        f"for nothing else. At the last site, {last['site']}, it reports HCA {_share(last)}, each level at the epoch "
        f"that is best on test (n = {last['n_test']:,} test samples of {last['leaves_test']:,} leaves)."
    )
    return " ".join([text, *table.shortened(epochs)])


def points(change: Change) -> str:
    return f"{100 * change.difference:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def sure(level: LevelVerdict) -> str:
    """How sure a verdict is, in words."""
    if level.stage == "not identifiable":
        return "–"
    if level.stage == "none":
        return "certain" if level.confident else "not certain"
    p = level.p_adjusted
    return (
        f"{'certain' if level.confident else 'suspected only'}, p = {p:.2g}"
        if p == p
        else ("certain" if level.confident else "suspected only")
    )


def _grouped(lost: Sequence[LevelVerdict]) -> list[list[LevelVerdict]]:
    """Levels of one fate together, the surest first."""
    groups: dict[tuple, list[LevelVerdict]] = {}
    for level in lost:
        groups.setdefault((level.stage, level.at, level.confident), []).append(level)
    return list(groups.values())


def _lost(group: Sequence[LevelVerdict]) -> Markup:
    first = group[0]
    where = MEANT[first.stage] + (f" from {first.at} on" if first.at else "")
    worst = max(group, key=lambda level: level.p_adjusted)
    return Markup("<strong>{}</strong> {} <strong>{}</strong>: {} {} ({})").format(
        _names(group), _is(group), where, _strengths(group), GONE[first.stage], sure(worst)
    )


def _kept(group: Sequence[LevelVerdict], found: Verdict) -> Markup:
    """Levels that are all certainly kept, or all not certainly."""
    end = "in the answers" if "answers" in found.judged else "at the last site (answers were not judged)"
    if group[0].confident:
        said = Markup("<strong>{}</strong> {} lost <strong>nowhere</strong>").format(_names(group), _is(group))
    else:
        said = Markup("of <strong>{}</strong> <strong>no loss is certain</strong>").format(_names(group))
    surely = " (certain)" if group[0].confident else ""
    return said + Markup(": of what the encoder reads, {} is missing {}{}").format(_strengths(group), end, surely)


def _strengths(group: Sequence[LevelVerdict]) -> str:
    return _listed(
        [
            f"{100 * level.strength:.0f} % [{100 * level.interval[0]:.0f}, {100 * level.interval[1]:.0f}]"
            for level in group
        ]
    )


def _names(levels: Sequence[LevelVerdict]) -> str:
    return _listed([level.level for level in levels])


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(levels: Sequence[LevelVerdict]) -> str:
    return "is" if len(levels) == 1 else "are"


def _share(record: Record) -> str:
    return f"{table.percent(record['hca'])} % [{table.percent(record['hca_low'])}, {table.percent(record['hca_high'])}]"


def _largest_drop(hca: Sequence[Record], steps: Sequence[Change]) -> str:
    """Where validation HCA drops most between stage ends, and by how much test HCA does there."""
    validation = {record["site"]: record["validation_hca"] for record in hca}
    worst = min(steps, key=lambda change: validation[change.after] - validation[change.before])
    if validation[worst.after] >= validation[worst.before]:
        return "between stage ends validation HCA drops nowhere"
    text = f"the largest drop between stage ends, by validation, is from {worst.before} to {worst.after}: "
    return f"{text}{points(worst)} points on test" + ("" if worst.high < 0 else ", which is not clear of 0")
