"""The printed table of a run: readings down, levels across, chance and other nulls below, and what came to nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.scores import AVERAGED, DEBIASED, LOGITS, TEXT, Record
from taxonomy.names import counted

NAMES = {
    TEXT: "reply",
    LOGITS: "letter logits",
    DEBIASED: "  prior divided out",
    AVERAGED: "  mean of rotations",
    "chance": "blind pick",
    "majority": "most common truth",
    "names": "names alone",
}
WAYS = (TEXT, LOGITS, DEBIASED, AVERAGED)
NULLS = ("chance", "majority", "names")
LEGEND = """\
HCA: every level of the image right. POR: the share of its levels right; strict POR: those right from the top until the
first error; TOR: the share of neighbouring pairs of levels both right. reply: the option read from the model's words;
letter logits: the most probable of the letters shown. blind pick: one option at random. most common truth, names alone:
the option right most often, in all and when offered, as counted on the other half of the images: no image is seen."""
TEXT_LEGEND = """\
Asked by the leaf's name, without an image, at the levels above it. text HCA (study): every image counts, as published;
text HCA (per leaf): every leaf counts once."""
TURNED_LEGEND = """\
all rotations: right wherever the option stands (CircularHCA); expected: the mean over rotations, levels multiplied."""


def table(records: Sequence[Record], about: Mapping[str, Any]) -> str:
    """The scores of a run as text, a block per prompt; about: the summary's other entries."""
    parts = [_head(about)]
    for prompt in dict.fromkeys(record["prompt"] for record in records):
        mine = [record for record in records if record["prompt"] == prompt]
        parts += ["", _title(prompt, mine), aligned(rows(mine)), *_notes(mine)]
    legend = [LEGEND]
    legend += [TEXT_LEGEND] if about.get("text_only") else []
    legend += [TURNED_LEGEND] if any(record["score"] == "circular_hca" for record in records) else []
    return "\n".join([*parts, "", *legend])


def rows(records: Sequence[Record]) -> list[list[str]]:
    """Cells of one prompt's block: a head row, the ways of reading an answer, the nulls."""
    found = {(r["reading"], r["score"], r["level"]): r for r in records}
    levels = list(dict.fromkeys(r["level"] for r in records if r["score"] == "accuracy"))
    text = any(r["score"] == "text_hca_study" for r in records)
    scores = ["text_hca_study", "text_hca_per_leaf"] if text else ["hca", "por", "spor_prefix", "tor"]
    titles = ["text HCA (study)", "text HCA (per leaf)"] if text else ["HCA", "POR", "strict POR", "TOR"]
    lines = [["", *levels, *titles]]
    for way in WAYS:
        if (way, "hca", None) in found:
            spans = [found[way, "accuracy", level] for level in levels]
            spans += [found[way, score, None] for score in (scores if text else scores[:1])]
            bare = [] if text else [percent(found[way, score, None]["value"]) for score in scores[1:]]
            lines.append([NAMES[way], *map(cell, spans), *bare])
    for name, title in (("circular", "  all rotations"), ("expected", "  expected")):
        if (TEXT, f"{name}_hca", None) in found:
            cells = [cell(found[TEXT, f"{name}_accuracy", level]) for level in levels]
            lines.append([title, *cells, cell(found[TEXT, f"{name}_hca", None])])
    for null in NULLS:
        cells = [percent(found[null, "accuracy", level]["value"]) for level in levels]
        lines.append([NAMES[null], *cells, percent(found[null, "hca", None]["value"])])
    lines.append(["n", *(f"{found[TEXT, 'accuracy', level]['n']:,}" for level in levels)])
    return [line + [""] * (len(lines[0]) - len(line)) for line in lines]


def cell(record: Record) -> str:
    """`91.2 [88.0, 93.9]`, in percent."""
    if math.isnan(record["low"]):
        return percent(record["value"])
    return f"{percent(record['value'])} [{percent(record['low'])}, {percent(record['high'])}]"


def percent(value: float) -> str:
    """One digit, two where there would be nothing but zero."""
    if math.isnan(value):
        return "-"
    return f"{100 * value:.2f}" if 0 < value < 0.001 else f"{100 * value:.1f}"


def _head(about: Mapping[str, Any]) -> str:
    shown = {"image": "", "shuffled": ", each with another leaf's image", "blank": ", each with a grey image"}
    what = "by name alone" if about.get("text_only") else f"about images{shown.get(about['shown'], ', none shown')}"
    read = f"{about['answers']:,} answers, read by {about['parser']}"
    lines = [
        f"{about['model']} on {about['dataset']}, asked {what}: {read}",
        "% right [95 % interval over leaves]",
    ]
    if about["unfinished"]:
        lines.insert(
            1, f"NOT FINISHED: {about['answers']:,} of {about['asks']:,} asks are answered; images begun left out"
        )
    return "\n".join(lines)


def _title(prompt: str, records: Sequence[Record]) -> str:
    whole = next(r for r in records if r["score"] == "hca" and r["reading"] == TEXT)
    return f"{prompt}: {whole['n']:,} images of {whole['leaves']:,} leaves"


def _notes(records: Sequence[Record]) -> list[str]:
    """Parse rate, errors, letters."""
    found = {(r["reading"], r["score"]): r for r in records}
    rate = found[TEXT, "parse_rate"]
    kinds = [(kind, found[TEXT, f"replies_{kind}"]) for kind in ("ambiguous", "unparsable", "empty")]
    lost = ", ".join(f"{round(r['value'] * r['n']):,} {kind}" for kind, r in kinds if r["value"])
    notes = [f"replies read: {percent(rate['value'])} %" + (f"; counted wrong: {lost}" if lost else "")]
    errors, images = found[TEXT, "replies_error"], found[TEXT, "images_with_errors"]
    if errors["value"]:
        notes.append(
            f"errors: {counted(round(errors['value'] * errors['n']), 'ask')} about "
            f"{counted(int(images['value']), 'image')} gave none; counted wrong here (--retry_errors asks them again)"
        )
    for way in WAYS:
        recalls = [(key[1][7:], r["value"]) for key, r in found.items() if key[0] == way and _is_recall(key[1])]
        if recalls:
            letters = ", ".join(f"{letter} {percent(value)}" for letter, value in recalls)
            spread = percent(found[way, "recall_std"]["value"])
            notes.append(
                f"right when the truth stands at, {NAMES[way].strip()}: {letters}; standard deviation {spread}"
            )
    return notes


def _is_recall(score: str) -> bool:
    return score.startswith("recall_") and len(score) == len("recall_A")


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns, the first to the left."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in lines
    )
