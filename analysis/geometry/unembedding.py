"""`python -m analysis unembedding MODEL`: the geometry of a language model's unembedding vectors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.geometry.config import ESTIMATORS, UnembeddingConfig, chosen
from analysis.geometry.judging import orthogonality
from analysis.geometry.park import ParkCriterion, park_criterion, unified_space
from analysis.geometry.parts import Part, Record, Unit
from analysis.geometry.ruling import Rule
from analysis.geometry.tracked import unembedding_of
from analysis.geometry.words import LeafTokens, leaf_tokens, words_of
from analysis.geometry.writing import KIND, write
from commandline import InputError
from probing.grid import resolve_device
from probing.results import check_out
from taxonomy import Taxonomy, load_taxonomy
from tracking import track

UNIT = Unit("unembedding", "mean", "causal")
LEAST_TOKENS = 2
"""A leaf with fewer has no direction of its own that could be told from noise."""


def run(config: UnembeddingConfig) -> None:
    """Measure, write and print. Raises InputError before the model is loaded where that can be seen."""
    started = time.monotonic()
    tree = load_taxonomy(config.taxonomy, levels=config.levels, drop_root=config.drop_root)  # pyright: ignore[reportArgumentType]
    out = (
        Path(config.out)
        if config.out
        else Path("runs") / f"{Path(config.model).name}-{Path(config.taxonomy).stem}.geometry"
    )
    check_out(out, KIND)
    words, estimators = words_of(tree, config.words), chosen(config.estimators, ESTIMATORS, "estimators")
    resolve_device(config.device)
    vectors, tokenizer, about = unembedding(config.model, config.revision, config.trust_remote_code)
    tokens = leaf_tokens(tokenizer, words, config.variants)
    kept = enough(tokens, tree)
    space = unified_space(vectors)
    found = orthogonality(
        space[tokens.token[kept]].astype(np.float32),
        tokens.leaf[kept],
        tree,
        config.seed,
        rule=Rule(margin=config.margin, draws=config.draws),
        device=str(resolve_device(config.device)),
    )
    published = [record for name in estimators for record in as_published(name, space, tokens, tree)]
    summary = {
        "store": {
            "name": None,
            "attributes_sha256": None,
            "pool": None,
            "model": about,
            "dataset": {"name": Path(config.taxonomy).stem},
        },
        "config": config.model_dump(mode="json", exclude={"wandb"}) | {"split": None},
        "rule": found.rule,
        "sites": [{"site": UNIT.site, "stage": UNIT.site, "layer": None}],
        "levels": list(tree.levels),
        "rows": int(kept.sum()),
        "words": {
            "asked": tokens.asked,
            "one_token": tokens.found,
            "shared": tokens.shared,
            "tokens": len(tokens.token),
        },
        "uncertified": {},
        "random_init": None,
        "seconds": round(time.monotonic() - started, 1),
    }
    write(out, [Part.of(UNIT, found)], [], [], summary, published)
    track(config.wandb, lambda: unembedding_of(config, out, tree))


def unembedding(
    model: str, revision: str | None = None, trust_remote_code: bool = False
) -> tuple[np.ndarray, Any, Record]:
    """float32 (token, feature) of the tokens the tokenizer has, the tokenizer, and what model it is.

    Rows beyond the vocabulary are padding. Raises InputError for a model without output embeddings.
    """
    from hooks import load

    loaded = load(model, "cpu", revision=revision, trust_remote_code=trust_remote_code)
    model_of: Any = loaded.model
    head = model_of.get_output_embeddings() if hasattr(model_of, "get_output_embeddings") else None
    if head is None or loaded.tokenizer is None:
        raise InputError(f"{model} has no output embeddings; give a language model")
    vectors = head.weight.detach().float().numpy()[: len(loaded.tokenizer)]
    about = {"id": loaded.source, "name": Path(model).name, "revision": loaded.revision}
    return vectors, loaded.tokenizer, about | {"class": type(loaded.model).__name__, "dtype": str(loaded.dtype)}


def enough(tokens: LeafTokens, tree: Taxonomy) -> np.ndarray:
    """bool (row,): the tokens of leaves that have two or more. Raises InputError where two leaves are not left."""
    counts = np.bincount(tokens.leaf, minlength=len(tree))
    usable = int((counts >= LEAST_TOKENS).sum())
    if usable < 2:
        raise InputError(
            f"of {tokens.asked:,} words {tokens.found:,} are one token, and {usable} of {len(tree):,} leaves have two "
            "such tokens or more; give more words with --words, or a taxonomy of commoner ones"
        )
    return counts[tokens.leaf] >= LEAST_TOKENS


def as_published(estimator: str, space: np.ndarray, tokens: LeafTokens, tree: Taxonomy) -> list[Record]:
    """Park et al.'s criterion, a row per edge with its two controls; chains of only children are one node."""
    sets, parents = node_sets(tokens, tree)
    if not parents:
        return []
    found: ParkCriterion = park_criterion(space, sets, parents, estimator)  # pyright: ignore[reportArgumentType]
    columns: Mapping[str, Sequence[float]] = {
        "cos": found.true.tolist(),
        "cos_with_parent_offset": found.grandparent.tolist(),
        "rows_permuted": found.shuffled.tolist(),
        "random_parent": found.random_parent.tolist() or [float("nan")] * len(found.edges),
    }
    return [
        {"estimator": estimator, "parent": parent, "child": child, "n": len(sets[child]), "n_parent": len(sets[parent])}
        | {name: values[place] for name, values in columns.items()}
        for place, (parent, child) in enumerate(found.edges)
    ]


def node_sets(tokens: LeafTokens, tree: Taxonomy) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """{node: its tokens} of nodes with two or more, and {child: parent}; one with its parent's very set is left out."""
    sets: dict[str, np.ndarray] = {}
    parents: dict[str, str] = {}
    above: dict[tuple[str, ...], str] = {}
    for level in tree.levels:
        codes = tree.codes[tokens.leaf, tree.level_index(level)]
        for code, node in enumerate(tree.nodes(level)):
            members, parent = tokens.token[codes == code], above.get(node[:-1])
            if parent is not None and len(members) == len(sets[parent]):
                above[node] = parent
            elif len(members) >= LEAST_TOKENS:
                name = "/".join(node)
                sets[name], above[node] = members, name
                if parent is not None:
                    parents[name] = parent
    return sets, parents
