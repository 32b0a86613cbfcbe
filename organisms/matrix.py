"""The table of architectures: every family of the zoo, its sites as discovery finds them, and its certificate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from commandline import Config, InputError, Names

if TYPE_CHECKING:
    from hooks import Certificate, SiteMap

KINDS = {
    "vlm": "Vision-language models",
    "dual": "Dual encoders",
    "vision": "Image encoders",
    "text": "Language models without vision",
    "other": "Others",
}
HEADER = ("family", "class", "image reaches the LLM", "encoder", "projector reads", "projector", "LLM", "certificate")


class MatrixConfig(Config):
    """Build every family of models small, find and certify its sites, and write the table of architectures."""

    out: Path = Path("docs/architectures.md")
    """The page to write."""
    families: Names | None = None
    """Only these, printed to the screen instead of a page; default: all."""
    jobs: int = 2
    """Families at a time."""


@dataclass(frozen=True)
class Row:
    """A family's line in the table."""

    name: str
    kind: str
    certified: bool
    line: str


def write(config: MatrixConfig) -> None:
    """Write the page, or print some rows of it."""
    from multiprocessing import get_context

    from tqdm import tqdm

    from organisms.zoo import FAMILIES

    names = list(FAMILIES) if config.families is None else config.families
    if unknown := [name for name in names if name not in FAMILIES]:
        raise InputError(f"no family {unknown[0]!r}; there are {', '.join(FAMILIES)}")
    with get_context("spawn").Pool(config.jobs) as pool:
        rows = list(tqdm(pool.imap(row, names), total=len(names), unit="model"))
    if config.families is not None:
        print("\n".join(found.line for found in rows))
        return
    config.out.write_text(page(rows), encoding="utf-8")
    vlms = [found for found in rows if found.kind == "vlm"]
    print(f"{config.out}: {sum(found.certified for found in vlms)} of {len(vlms)} vision-language families certified")


def row(name: str) -> Row:
    """Build a family, find its sites and certify them."""
    import torch
    import transformers

    from hooks import certify, find_sites
    from organisms.zoo import FAMILIES, build_family

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    model, inputs = build_family(name)
    try:
        sites = find_sites(model, inputs)
    except InputError as error:
        cells = (name, type(model).__name__, f"**not found**: {error}", *[""] * (len(HEADER) - 3))
        return Row(name, FAMILIES[name].kind, False, _line(cells))
    certificate = certify(model, inputs, sites)
    return Row(name, FAMILIES[name].kind, certificate.ok, _line(_cells(name, type(model).__name__, sites, certificate)))


def _cells(name: str, model: str, sites: SiteMap, certificate: Certificate) -> tuple[str, ...]:
    final = sites.get("encoder.final")
    reads = f"{final.width} at {_code(final.module)}" if final else _why(sites, "encoder.final")
    made = _code(sites.projector_module) if sites.projector_module else _why(sites, "projector")
    if sites.added:
        made += "; added before blocks: " + ", ".join(site.partition(".")[2] for site in sites.added)
    return (
        name,
        _code(model),
        {"tokens": "in place of tokens", "sequence": "as rows among the tokens"}.get(sites.fusion, sites.fusion),
        _stage(sites, "encoder") or _why(sites, "encoder"),
        reads,
        made,
        _stage(sites, "llm") or _stage(sites, "text") or _why(sites, "llm"),
        _verdict(certificate),
    )


def _stage(sites: SiteMap, stage: str) -> str:
    """Blocks and widths, tower by tower."""
    towers: dict[str, list[str]] = {}
    for name, site in sites.items():
        if site.stage == stage and site.layer is not None:
            towers.setdefault(name.partition(".")[0], []).append(name)
    said = []
    for names in towers.values():
        widths = list(dict.fromkeys(sites[name].width for name in names))
        blocks = names if stage == "encoder" else names[1:]
        holder = re.sub(r"(\.\d+)+$", "", sites[names[0]].module)
        ends = " to ".join(str(width) for width in widths[:1] + widths[1:][-1:])
        said.append(f"{len(blocks)} of {ends} in {_code(holder)}")
    return "; ".join(said)


def _why(sites: SiteMap, stage: str) -> str:
    return f"none: {sites.missing[stage]}" if stage in sites.missing else "none"


def _verdict(certificate: Certificate) -> str:
    refused = [reason for site in certificate.sites if (reason := certificate.refusal(site))]
    # A check that applies to some site of a model is not listed as inapplicable.
    applied = {check.name for check in certificate.checks if check.status != "n/a"}
    never = sorted({check.name for check in certificate.checks} - applied)
    said = f"all {len(certificate.sites)} sites" if certificate.ok else f"**no**: {refused[0]}"
    return said + (f"; not applicable: {', '.join(never)}" if never else "")


def _code(text: str) -> str:
    return f"`{text}`"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def page(rows: Sequence[Row]) -> str:
    """The whole page, from the rows of all families."""
    from importlib.metadata import version

    from organisms.zoo import EXCLUDED, FAMILIES

    certified = {kind: sum(found.certified for found in rows if found.kind == kind) for kind in KINDS}
    total = {kind: sum(found.kind == kind for found in rows) for kind in KINDS}
    others = [f"{certified[kind]} of {total[kind]} {title.lower()}" for kind, title in list(KINDS.items())[1:]]
    lines = [
        "# Architectures",
        "",
        "Written by `make architectures`: every family is built small with untrained weights from its class in",
        f"transformers {version('transformers')}, its sites are found without knowing it, and certified.",
        "A batch of two samples with different images is used, of different sizes where the family allows it.",
        "",
        f"**{certified['vlm']} of {total['vlm']} vision-language families are certified** ({', '.join(others)}).",
        "Weights are untrained, so this says that the sites are the right ones, and nothing of what the models know.",
        "",
        "`3 of 32` are three blocks of 32 features. *Projector reads* is `encoder.final`. What a check claims:",
        "[a new architecture](new-architecture.md).",
    ]
    for kind, title in KINDS.items():
        own = [found for found in rows if found.kind == kind]
        if own:
            lines += ["", f"## {title}", "", _line(HEADER), _line(["---"] * len(HEADER))]
            lines += [found.line for found in own]
    lines += ["", "## What is irregular about each", "", _line(("family", "stands for", "in a line")), "|---|---|---|"]
    for name in (found.name for found in rows):
        types = ", ".join(map(_code, FAMILIES[name].model_types))
        lines.append(_line((name, types, FAMILIES[name].what)))
    lines += ["", "## Not built", "", _line(("model type", "why")), "|---|---|"]
    lines += [_line((_code(name), why)) for name, why in EXCLUDED.items()]
    return "\n".join(lines) + "\n"
