"""One line per organism: what it answers, what can be read off it, and where that is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.bottleneck.wording import CALLED
from organisms.bars import Cell
from organisms.measuring import Lost, Measured, Share
from organisms.training.recipes import LEVELS

HEAD = (
    ("", "organism"),
    ("answers, HCA", "visual"),
    ("", "text"),
    ("probes, HCA", "encoder"),
    ("", "projector"),
    ("", "LLM"),
    ("unseen species", "genus, LLM"),
    ("orthogonal, LLM", "genus"),
    ("", "species"),
    ("knowledge is lost at", "planted"),
    ("", "found"),
)
LEGEND = """\
answers: every level of an image (visual), or of a species' name (text), right among four. probes: every level read off
the last layer of each stage by linear probes. unseen species: the genus, read off the LLM's last layer for species that
no probe was fitted on. orthogonal: there, what a genus adds to its family is at right angles to it, and a species to
its genus: yes, no, or ? (not identifiable)."""
ORTHOGONAL = {"orthogonal": "yes", "violated": "no", "not identifiable": "?"}


def one_look(found: Mapping[str, Measured], planted: Mapping[str, str]) -> str:
    """The table as text, %."""
    rows = [list(line) for line in zip(*HEAD, strict=True)]
    rows += [_row(name, measured, planted[name]) for name, measured in found.items()]
    widths = [max(len(row[column]) for row in rows[1:]) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows[1:]]
    spans = "  ".join(_span(rows[0], widths))
    rule = "-" * max(map(len, lines))
    return "\n".join([spans.rstrip(), lines[0], rule, *lines[1:], rule, LEGEND])


def _span(titles: Sequence[str], widths: Sequence[int]) -> list[str]:
    """A title reaches over the columns that follow it without one."""
    spans: list[tuple[str, int]] = []
    for title, width in zip(titles, widths, strict=True):
        if title or not spans or not spans[-1][0]:
            spans.append((title, width))
        else:
            spans[-1] = (spans[-1][0], spans[-1][1] + 2 + width)
    return [title.ljust(width) for title, width in spans]


def _row(name: str, found: Measured, planted: str) -> list[str]:
    shares = [found.visual["hca"], found.text["hca"]]
    shares += [found.probes[found.stage(stage)]["hca"] for stage in ("encoder", "projector", "llm")]
    shares.append(found.held_out[found.stage("llm")]["genus"])
    angles = found.orthogonal.get(found.stage("llm"), {})
    orthogonal = [ORTHOGONAL[angles[level]] if level in angles else "-" for level in LEVELS[1:]]
    return [name, *(f"{100 * share.value:.1f}" for share in shares), *orthogonal, planted, lost_at(found.verdict)]


def lost_at(verdict: Mapping[str, Lost]) -> str:
    """`projector: species`; a level whose verdict is not certain has a question mark."""
    levels: dict[str, list[str]] = {}
    for level, lost in verdict.items():
        levels.setdefault(lost.stage, []).append(level if lost.confident else f"{level}?")
    if set(levels) == {"not identifiable"}:
        return "not identifiable"
    found = [f"{CALLED[stage]}: {', '.join(names)}" for stage, names in levels.items() if stage != "none"]
    if doubtful := [name for name in levels.get("none", ()) if name.endswith("?")]:
        found.append(f"none: {', '.join(doubtful)}")
    return "; ".join(found) or "none"


def markdown(found: Mapping[str, Measured], planted: Mapping[str, str], cells: Sequence[Cell], about: str) -> str:
    """The measured table, with intervals and every bar, as a page."""
    lines = [about, "", "```", one_look(found, planted), "```", ""]
    lines += ["| organism | what | measured [95 % interval] | bar | holds |", "|---|---|---|---|---|"]
    for cell in cells:
        holds = "yes" if cell.holds else "**no**"
        lines.append(f"| {cell.organism} | {cell.what} | {_share(cell.measured)} | {cell.bar} | {holds} |")
    lines += ["", "| organism | site | family | genus | species | HCA | re-hung HCA | unseen: family | genus |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for name, measured in found.items():
        for site, probes in measured.probes.items():
            numbers = [probes.get(key) for key in ("family", "genus", "species", "hca", "rehung")]
            numbers += [measured.held_out[site][key] for key in ("family", "genus")]
            lines.append(f"| {name} | {site} | {' | '.join('-' if s is None else f'{s.value:.3f}' for s in numbers)} |")
    return "\n".join(lines) + "\n"


def _share(share: Share) -> str:
    return f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"
