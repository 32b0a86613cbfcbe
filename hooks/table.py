"""A site map as a table for people, and as data for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hooks.sites import Site, SiteMap

TokenCounts = Mapping[str, Mapping[str, int]]
"""{what was run, such as "448×336": {site name: rows of that sample}}."""

_FUSION = {
    "tokens": "in place of placeholder tokens",
    "sequence": "as rows between the tokens",
    "cross-attention": "through cross-attention, without rows in the sequence",
}


def site_table(sites: SiteMap, tokens: TokenCounts, placeholders: Mapping[int, str] | None = None) -> str:
    """One line a site (name, module, layer, width, rows of each image, what is read), and below it what else is known.

    `placeholders`: the text of the placeholder ids, where a tokenizer is at hand.
    """
    runs = _distinct(tokens)
    header = ["site", "module", "layer", "width", *(f"tokens {run}" for run in runs), "read"]
    rows = [header]
    for name, site in sites.items():
        counts = [f"{run[name]:,}" if name in run else "-" for run in runs.values()]
        layer = "-" if site.layer is None else str(site.layer)
        rows.append([name, site.module or "(the model)", layer, str(site.width), *counts, reading(site)])
    right = set(range(2, len(header) - 1))
    lines = aligned(rows, right)
    lines.insert(1, "─" * max(map(len, lines)))
    return "\n".join([*lines, "", *aligned(_notes(sites, placeholders or {}))])


def _distinct(tokens: TokenCounts) -> TokenCounts:
    """One column where all images have equally many rows everywhere."""
    runs = list(tokens.values())
    return {"per image": runs[0]} if runs and all(run == runs[0] for run in runs) else tokens


def reading(site: Site) -> str:
    """What is read there: `output`, `input inputs_embeds`, `output[0] of run 2`."""
    last = site.key[-1] if site.key else None
    if site.reads == "output":
        place = "" if last is None else f"[{last}]" if isinstance(last, int) else f".{last}"
    else:  # the first positional argument needs no name
        place = f" {last}" if isinstance(last, str) else f" {last + 1}" if last else ""
    runs = "" if site.call == 0 else " of every run" if site.call is None else f" of run {site.call + 1}"
    return f"{site.reads}{place}{runs}"


def _notes(sites: SiteMap, placeholders: Mapping[int, str]) -> list[list[str]]:
    notes = []
    if how := _FUSION.get(sites.fusion):
        ids = ", ".join(
            f"{placeholders[one]} (id {one})" if one in placeholders else f"id {one}" for one in sites.placeholder_ids
        )
        notes.append(["image to LLM", f"{how}: {ids}" if ids else how])
    if sites.projector_module:
        notes.append(["projector", f"its rows come from {sites.projector_module}"])
    notes += [[f"added at {site}", f"rows of {module}"] for site, module in sites.added.items()]
    if sites.head:
        notes.append(["unembedding", sites.head])
    for reason, stages in _by_reason(sites.missing).items():
        notes.append([f"no {', '.join(stages)}", reason])
    return notes


def _by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for stage, reason in missing.items():
        reasons.setdefault(reason, []).append(stage)
    return reasons


def aligned(rows: Sequence[Sequence[str]], right: frozenset[int] | set[int] = frozenset()) -> list[str]:
    """Cells in columns two spaces apart, those of `right` flush right."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def site_json(sites: SiteMap, tokens: TokenCounts, model: Mapping[str, Any]) -> dict[str, Any]:
    """The same as JSON would have it; `model` goes in as it is."""
    return {
        "model": dict(model),
        "fusion": sites.fusion,
        "placeholder_ids": list(sites.placeholder_ids),
        "projector_module": sites.projector_module,
        "head": sites.head,
        "added": dict(sites.added),
        "missing": dict(sites.missing),
        "sites": {
            name: {
                "stage": site.stage,
                "module": site.module,
                "layer": site.layer,
                "width": site.width,
                "reads": site.reads,
                "key": list(site.key),
                "call": site.call,
                "axes": list(site.axes),
                "tokens": {run: counts[name] for run, counts in tokens.items() if name in counts},
            }
            for name, site in sites.items()
        },
    }
