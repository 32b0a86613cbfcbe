"""The report's tables: what a run holds beyond accuracy, a section per question, none for what was not asked for.

A table is a list of columns, each a heading, a key of docs/results.md and how it is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from probing.results import ProbeRun
from probing.scores import Record
from probing.table import interval, percent

DASH = "–"

Write = Callable[[Record, str], str]
Columns = Sequence[tuple[str, str, Write]]


@dataclass(frozen=True)
class Table:
    """Cells as text, the head row first."""

    caption: str
    rows: list[list[str]]
    title: str = ""
    """What a reader opens it by; open already where there is none."""
    data: str = ""
    """The download that holds the same and more."""
    bold: frozenset[tuple[int, int]] = frozenset()
    """Cells by row and column."""


@dataclass(frozen=True)
class Section:
    title: str
    tables: list[Table]


def sections(run: ProbeRun, levels: Sequence[str]) -> list[Section]:
    """The sections of a run, in order; `levels` are the scored ones."""
    by_level = {level: [record for record in run.probes if record["level"] == level] for level in levels}
    found = [
        _information(by_level),
        _readings(run.hca),
        _options(by_level, run.hca),
        *(_other_store(name, title, by_level, run.hca) for name, title in OTHERS.items()),
        _plain("Where accuracy changes", CHANGES, run.extra("changepoints"), CHANGES_CAPTION),
        _plain("What a later site adds", ADDED, run.extra("conditional"), ADDED_CAPTION),
        _plain("Code length", LENGTHS, run.extra("description"), LENGTHS_CAPTION),
    ]
    return [section for section in found if section is not None]


def share(record: Record, key: str) -> str:
    """A share with its interval, in percent; without one where it has none."""
    if _missing(record, key):
        return DASH
    return interval(record, key) if f"{key}_low" in record else percent(record[key])


def points(record: Record, key: str) -> str:
    """A difference of shares with its interval, in points."""
    if _missing(record, key):
        return DASH
    low, high = (100 * record[f"{key}_{end}"] for end in ("low", "high"))
    return f"{100 * record[key]:+.1f} [{low:+.1f}, {high:+.1f}]"


def bits(record: Record, key: str) -> str:
    """Bits, with their interval where they have one."""
    if _missing(record, key):
        return DASH
    if f"{key}_low" not in record:
        return f"{record[key]:.2f}"
    return f"{record[key]:.2f} [{record[f'{key}_low']:.2f}, {record[f'{key}_high']:.2f}]"


def number(record: Record, key: str) -> str:
    return DASH if _missing(record, key) else f"{record[key]:.3g}"


def whole(record: Record, key: str) -> str:
    return DASH if _missing(record, key) else f"{record[key]:,.0f}"


def word(record: Record, key: str) -> str:
    return str(record[key])


def ends(record: Record, key: str) -> str:
    """Two numbers that are bounds, not an interval: `<key>_low` to `<key>_high`."""
    return f"{percent(record[f'{key}_low'])} to {percent(record[f'{key}_high'])}"


def span(record: Record, key: str) -> str:
    """A site, with the two sites that its interval ends at."""
    return f"{record[key]} [{record[f'{key}_low']}, {record[f'{key}_high']}]"


SITE = ("site", "site", word)
INFORMATION: Columns = (
    SITE,
    ("bits", "usable_bits", bits),
    ("re-hung, bits", "rehung_bits", bits),
    ("control, bits", "control_bits", bits),
    ("re-hung, %", "rehung", share),
    ("above re-hung", "above_rehung", points),
    ("control, %", "control", share),
    ("selectivity", "selectivity", points),
    ("n", "n_test", whole),
)
PROBES: Columns = (
    SITE,
    ("accuracy, %", "accuracy", share),
    ("top-5, %", "top5", share),
    ("shuffled, %", "shuffled", share),
    ("p", "p_value", number),
    ("p, adjusted", "p_adjusted", number),
    ("penalty", "penalty", number),
    ("gradient norm", "grad_norm", number),
    ("n", "n_test", whole),
)
READINGS: Columns = (
    SITE,
    ("independent", "hca", share),
    ("top-down", "top_down", share),
    ("joint", "joint", share),
    ("leaf lookup", "leaf_lookup", share),
    ("product", "product", share),
    ("Fréchet bounds", "frechet", ends),
    ("re-hung", "rehung", share),
    ("above re-hung", "above_rehung", points),
    ("shuffled", "shuffled", share),
    ("p, adjusted", "p_adjusted", number),
    ("n", "n_test", whole),
)
CHOICES: Columns = (
    SITE,
    ("probe", "choice_accuracy", share),
    ("model", "model_accuracy", share),
    ("recovery", "recovery", points),
    ("chance", "choice_chance", share),
    ("n", "choice_n", whole),
)
CHOICE_PATHS: Columns = (
    SITE,
    ("independent", "choice_hca", share),
    ("top-down", "choice_top_down", share),
    ("joint", "choice_joint", share),
    ("leaf lookup", "choice_leaf_lookup", share),
    ("product", "choice_product", share),
    ("Fréchet bounds", "choice_frechet", ends),
    ("model", "model_hca", share),
    ("recovery", "recovery", points),
    ("n", "choice_n", whole),
)
CHANGES: Columns = (
    ("stage", "stage", word),
    ("of", "of", word),
    ("changes at", "change", span),
    ("certainty, %", "certainty", share),
    ("before", "before", share),
    ("after", "after", share),
    ("jump", "jump", points),
    ("p", "p_value", number),
)
ADDED: Columns = (
    ("earlier", "earlier", word),
    ("later", "later", word),
    ("level", "level", word),
    ("earlier, bits", "bits_earlier", bits),
    ("later, bits", "bits_later", bits),
    ("both, bits", "bits_both", bits),
    ("added", "added", bits),
    ("added, rows dealt anew", "added_null", bits),
    ("n", "n_test", whole),
)
LENGTHS: Columns = (
    SITE,
    ("level", "level", word),
    ("uniform", "uniform_bits", whole),
    ("prior", "prior_bits", whole),
    ("online code", "online_bits", whole),
    ("compression", "compression", number),
    ("saved per label", "saved", bits),
    ("n", "n", whole),
)
OTHERS = {"random_init": "Against an untrained model", "pixel_shuffled": "Against shuffled pixels"}

CONTROLS_CAPTION = (
    "Usable bits per test sample; the same and accuracy of the re-hung taxonomy (leaves dealt anew over its "
    "places) and of the control task (a random class per leaf); above re-hung and selectivity: accuracy less theirs, "
    "points."
)
PROBES_CAPTION = (
    "Shuffled: what chance reaches; p against it, adjusted for the whole run (max-T); the penalty chosen on validation "
    "and the gradient norm reached. Log-loss and calibration errors, which have no interval, are in the download."
)
READINGS_CAPTION = (
    "Whole paths, %: each level by itself; from the top down; the most probable path; the path of the predicted leaf; "
    "what independent failures would give; the bounds that the level accuracies allow; the re-hung taxonomy."
)
CHANGES_CAPTION = (
    "First site after the change of a fit of two constants [95 % over leaves], the share of draws that agree, mean "
    "accuracies on both sides, their difference in points, p against random orders of the sites."
)
ADDED_CAPTION = (
    "Usable bits of probes of each site and of both; added: both less earlier, beside the same with the later "
    "site's rows dealt anew among the samples."
)
LENGTHS_CAPTION = (
    "Bits to send all training labels: by a uniform code, by class frequencies, and by probes fitted as the labels "
    "arrive (online code); compression: uniform / online; saved: bits per label against class frequencies."
)


def rows_of(columns: Columns, records: Sequence[Record]) -> list[list[str]]:
    """The head, and a row per record; columns that no record has a number for are left out."""
    kept = [column for column in columns if any(_known(record, column) for record in records)]
    return [
        [heading for heading, _, _ in kept],
        *([write(record, key) for _, key, write in kept] for record in records),
    ]


def _known(record: Record, column: tuple[str, str, Write]) -> bool:
    _, key, write = column
    return not _missing(record, f"{key}_low" if write is ends else key)


def _missing(record: Record, key: str) -> bool:
    value = record.get(key)
    return value is None or (isinstance(value, float) and math.isnan(value))


def _information(by_level: Mapping[str, Sequence[Record]]) -> Section:
    tables = []
    for level, records in by_level.items():
        tables.append(Table(CONTROLS_CAPTION, rows_of(INFORMATION, records), f"{level}: bits, controls"))
        tables.append(Table(PROBES_CAPTION, rows_of(PROBES, records), f"{level}: top-5, p, fit"))
    return Section("Information, and what the controls reach", tables)


def _readings(hca: Sequence[Record]) -> Section:
    return Section("Readings of the whole path", [Table(READINGS_CAPTION, rows_of(READINGS, hca))])


def _options(by_level: Mapping[str, Sequence[Record]], hca: Sequence[Record]) -> Section | None:
    if not any("choice_n" in record for record in hca):
        return None
    tables = [
        Table(
            "Accuracy among the options offered, %; recovery: probe less model, points, paired.",
            rows_of(CHOICES, records),
            level,
        )
        for level, records in by_level.items()
    ]
    tables.append(Table("Whole paths among the options, %, by the same readings.", rows_of(CHOICE_PATHS, hca)))
    return Section("Among the options of the questions", tables)


def _other_store(
    name: str, title: str, by_level: Mapping[str, Sequence[Record]], hca: Sequence[Record]
) -> Section | None:
    if all(_missing(record, name) for record in hca):
        return None
    paths: Columns = (SITE, ("HCA", "hca", share), ("there", name, share), ("more here", f"above_{name}", points))
    columns: Columns = (
        SITE,
        ("accuracy", "accuracy", share),
        *paths[2:],
        ("bits", "usable_bits", bits),
        ("bits there", f"{name}_bits", bits),
    )
    tables = [
        Table("The same probes on the same samples of that store.", rows_of(columns, records), level)
        for level, records in by_level.items()
    ]
    return Section(title, [*tables, Table("Whole paths.", rows_of(paths, hca))])


def _plain(title: str, columns: Columns, records: Sequence[Record], caption: str) -> Section | None:
    return Section(title, [Table(caption, rows_of(columns, records))]) if records else None
