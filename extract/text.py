"""`python -m extract text`: what a language model makes of the names of a taxonomy's leaves.

A row is a pair (leaf, asked level): one prompt about one leaf at one level above it. A store's rows for a level are the
features of that level's probe, as in the study's text probes (arXiv 2505.24840); `sample/leaf` and `sample/level` say
which row is which. The leaf's own level is not asked: its name is in the prompt.

Every template has its own store. `question` names the leaf and asks; `answered` is the same question with its answer;
`statement` says it outright. Reading the parent out of a prompt that contains it, and out of the leaf's name, answers
different questions, so the two never share a store.

Against the published generator: levels go by the taxonomy's own names (it called CUB's orders kingdoms), a row is
pooled over the prompt's own tokens (it averaged the chat template and the system prompt into every row), and the leaf
level, for which it asked for features that it never wrote, has no rows.

Splits hold out whole leaves: of a parent's n >= 2 leaves ceil(n / 2) are tested, at most n - 1, so that every parent
asked about has been trained on; a fifth of those left to train is held out for validation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from commandline import InputError
from extract import resume, space
from extract.certified import text_certificate
from extract.config import TextConfig
from extract.identity import basename, file_name, merged, model_attributes
from extract.layout import OK
from extract.lock import lock
from extract.progress import bar
from extract.settings import default_chunk_rows, model_settings
from extract.store import Store
from extract.tracked import record_of
from extract.writer import Writer
from taxonomy import Taxonomy, load_taxonomy
from taxonomy.splits import leaf_disjoint
from tracking import track

if TYPE_CHECKING:
    from hooks import Loaded, SiteMap

TEST_FRACTION, VALIDATION_FRACTION = 0.5, 0.2
UNNAMED_LEVEL = re.compile(r"level\d+")
"""What a taxonomy calls levels nobody named; such a name does not go into a prompt."""


@dataclass(frozen=True)
class Template:
    """A prompt with {leaf}, {level} and {label} to fill in; `unranked` is for levels without a name of their own."""

    ranked: str
    unranked: str

    @property
    def contains_label(self) -> bool:
        return "{label}" in self.ranked


QUESTION = Template(
    "Given the {leaf}, what is its taxonomic classification at the {level} level?",
    "Given the {leaf}, what is its taxonomic classification?",
)
TEMPLATES = {
    "question": QUESTION,
    "answered": Template(
        f"{QUESTION.ranked} It belongs to {{label}}.",
        f"{QUESTION.unranked} It belongs to {{label}}.",
    ),
    "statement": Template("{leaf} belongs to the {level} {label}.", "{leaf} belongs to {label}."),
}


@dataclass(frozen=True)
class Row:
    """A prompt about one leaf at one level."""

    leaf: int
    level: str
    name: str
    text: str


@dataclass(frozen=True)
class Plan:
    """One store to be: the rows of a template."""

    path: Path
    rows: list[Row]
    split: np.ndarray
    settings: dict[str, Any]


def run(config: TextConfig) -> None:
    """Extract every template into its own store, or go on with it. Raises InputError."""
    from hooks import load, text_sites
    from hooks.loading import device_named

    device_named(config.device)
    tree = load_taxonomy(config.taxonomy, config.levels, config.drop_root)  # pyright: ignore[reportArgumentType]
    stem = config.store or str(Path("runs") / f"{basename(config.model)}-{file_name(Path(config.taxonomy).stem)}-text")
    leaves = _leaves(config, tree)
    waiting, paths, bytes_needed = [], [], 0
    for name in _templates(config):
        plan = _plan(config, Path(f"{stem.removesuffix('.zarr')}-{name}.zarr"), name, leaves, tree)
        paths.append(plan.path)
        store = resume.reopen(plan.path, plan.settings, mode="r")
        if store is not None and resume.finished(store, plan.settings):
            print(f"{plan.path} is complete already")
            resume.report(store, "prompt")
            continue
        waiting.append(plan)
        bytes_needed += space.needed(store, config, len(plan.rows), plan.settings["chunk_rows"])
    if not waiting:
        track(config.wandb, lambda: record_of(config, *map(Store.open, paths)))
        return
    space.require(waiting[0].path.parent, bytes_needed)
    loaded = load(
        config.model,
        config.device,
        config.dtype,
        revision=config.revision,
        random_init=config.random_init,
        seed=config.seed,
        trust_remote_code=config.trust_remote_code,
    )
    sites = text_sites(loaded).select(config.sites)  # pyright: ignore[reportArgumentType]
    certificate = text_certificate(loaded, sites) if config.certify else None
    for plan in waiting:
        _extract(config, plan, tree, loaded, sites, certificate)
    track(config.wandb, lambda: record_of(config, *map(Store.open, paths)))


def rows(tree: Taxonomy, leaves: Iterable[int], template: Template) -> list[Row]:
    """One row per leaf and level above it, leaf after leaf, coarse to fine."""
    found = []
    for leaf in leaves:
        *above, name = tree.path(int(leaf))
        for level, label in zip(tree.levels, above, strict=False):
            text = template.unranked if UNNAMED_LEVEL.fullmatch(level) else template.ranked
            found.append(Row(int(leaf), level, name, text.format(leaf=name, level=level, label=label)))
    if not found:
        raise InputError(
            f"no leaf of the taxonomy has a level above it (levels: {', '.join(tree.levels)}): nothing to ask"
        )
    return found


def _templates(config: TextConfig) -> list[str]:
    names = list(config.templates or TEMPLATES)
    if unknown := [name for name in names if name not in TEMPLATES]:
        raise InputError(f"no template {unknown[0]!r}; there are {', '.join(TEMPLATES)}")
    return names


def _leaves(config: TextConfig, tree: Taxonomy) -> np.ndarray:
    every = np.arange(len(tree.leaves))
    if config.limit is None or config.limit >= len(every):
        return every
    return np.sort(np.random.default_rng(config.seed).permutation(every)[: config.limit])


def _plan(config: TextConfig, path: Path, template: str, leaves: np.ndarray, tree: Taxonomy) -> Plan:
    planned = rows(tree, leaves, TEMPLATES[template])
    leaf = np.array([row.leaf for row in planned], np.int32)
    split = leaf_disjoint(tree, leaf, TEST_FRACTION, config.seed, VALIDATION_FRACTION)
    return Plan(path, planned, split, _settings(config, template, planned, split, tree))


def _extract(
    config: TextConfig,
    plan: Plan,
    tree: Taxonomy,
    loaded: Loaded,
    sites: SiteMap,
    certificate: dict[str, Any] | None,
) -> None:
    from hooks import TextPrompt, capture_text

    path, planned = plan.path, plan.rows
    with lock(path):
        header = merged(plan.settings, model_attributes(loaded, config.store_dtype))
        store = resume.reopen(path, plan.settings)
        store = (
            resume.go_on(store, header, sites)
            if store
            else _create(plan, tree, sites, header | {"certificate": certificate})
        )
        writer = Writer(store)
        resume.record_run(store, header)
        with bar(len(store), "prompt", path.name, space.done(store)) as progress:
            for unit in writer.pending:
                texts = {planned[row].text: planned[row] for row in unit}  # levels without a name ask the same question
                prompts = [TextPrompt(text, row.name) for text, row in texts.items()]
                values = capture_text(
                    loaded,
                    prompts,
                    sites,
                    config.pool,
                    chat=config.chat,
                    system=config.system,
                    batch_size=config.batch_size,
                )
                place = {text: index for index, text in enumerate(texts)}
                index = [place[planned[row].text] for row in unit]
                broken = writer.put(unit, unit, {name: tensor[index] for name, tensor in values.items()})
                status = [f"NaN or infinity at {broken[row]}" if row in broken else OK for row in unit]
                writer.commit(unit, [_sha256(planned[row].text) for row in unit], status)
                progress.update(len(unit))
    resume.report(Store.open(path), "prompt")


def _create(plan: Plan, tree: Taxonomy, sites: SiteMap, header: dict[str, Any]) -> Store:
    return Store.create(
        plan.path,
        sites=sites.values(),
        ids=[f"{tree.leaves[row.leaf]}@{row.level}" for row in plan.rows],
        leaf=np.array([row.leaf for row in plan.rows], np.int32),
        split=plan.split,
        level=[row.level for row in plan.rows],
        taxonomy=tree,
        attrs=header,
        logical_dtype=header["store_dtype"],
        chunk_rows=header["chunk_rows"],
    )


def _settings(
    config: TextConfig, template: str, planned: list[Row], split: np.ndarray, tree: Taxonomy
) -> dict[str, Any]:
    lines = [f"{row.leaf} {row.level} {row.text} {side}" for row, side in zip(planned, split, strict=True)]
    return {
        "kind": "text",
        **model_settings(config),
        "prompt": TEMPLATES[template].ranked,
        "template": template,
        "contains_label": TEMPLATES[template].contains_label,
        "chat": config.chat,
        "system": config.system,
        "pool": config.pool,
        "batch_size": config.batch_size,
        "chunk_rows": config.chunk_rows or default_chunk_rows(len(planned), config.batch_size),
        "dataset": {
            "name": Path(config.taxonomy).stem,
            "n": len(planned),
            "fingerprint": _sha256("\n".join([str(tree.to_dict()), *lines])),
            "arguments": {"limit": config.limit},
            "split_source": f"whole leaves held out within each parent, seed {config.seed}",
        },
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
