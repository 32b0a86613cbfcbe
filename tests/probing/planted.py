"""Features of our own making: the protocol is tested on truth that was planted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extract import Store
from hooks.certificate import Certificate, Check
from taxonomy import Taxonomy


@dataclass(frozen=True)
class PlantedSite:
    """What `Store.create` wants to know of a site."""

    name: str
    stage: str
    layer: int | None
    module: str
    width: int
    reads: str = "output"


def balanced_tree(
    counts: tuple[int, ...] = (2, 4, 8), levels: tuple[str, ...] = ("order", "family", "species")
) -> Taxonomy:
    """A tree with these node counts, the children shared out evenly."""
    paths = [
        [f"{level} {leaf * count // counts[-1]}" for level, count in zip(levels, counts, strict=True)]
        for leaf in range(counts[-1])
    ]
    return Taxonomy.from_paths(paths, list(levels))


def ragged_tree() -> Taxonomy:
    """A root of one node; six leaves at depth 3, and two, `c` and `d`, at depth 2."""
    paths = [["thing", kind, f"{kind}{i}"] for kind in "ab" for i in range(3)]
    return Taxonomy.from_paths([*paths, ["thing", "c"], ["thing", "d"]], ["root", "kind", "name"])


def rows_of(tree: Taxonomy, per_leaf: int) -> tuple[np.ndarray, np.ndarray]:
    """Leaf and split of `per_leaf` neighbouring rows each: a half to train, a quarter each to validation and test."""
    leaf = np.repeat(np.arange(len(tree.leaves), dtype=np.int32), per_leaf)
    part = np.arange(len(leaf)) % per_leaf / per_leaf
    return leaf, np.select([part < 0.5, part < 0.75], ["train", "validation"], "test")


def clusters(
    tree: Taxonomy, leaf: np.ndarray, spread: float, width: int = 12, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian clusters on a tree, float32 (row, feature), and their means (leaf, feature).

    A leaf's mean adds one random direction per node of its path, the coarser the longer.
    """
    rng = np.random.default_rng(seed)
    means = np.zeros((len(tree.leaves), width))
    for level in range(len(tree.levels)):
        steps = rng.normal(size=(len(tree.nodes(level)), width)) * 2.0**-level
        has = tree.codes[:, level] >= 0
        means[has] += steps[tree.codes[has, level]]
    return (means[leaf] + spread * rng.normal(size=(len(leaf), width))).astype(np.float32), means


def write_store(
    path: Path,
    features: dict[str, np.ndarray],
    leaf: np.ndarray,
    split: np.ndarray,
    taxonomy: Taxonomy,
    status: list[str] | None = None,
    level: list[str] | None = None,
    certified: bool = True,
) -> Path:
    """A store as extraction leaves it: features {site: (row, feature)}, sites named <stage>.<layer> or `projector`."""
    sites = []
    for name, values in features.items():
        stage, _, layer = name.partition(".")
        sites.append(PlantedSite(name, stage, int(layer) if layer.isdigit() else None, "m", values.shape[1]))
    planted = tuple(Check("planted", site, "pass", 0.0, "its rows were put there by a test") for site in features)
    certificate = Certificate(planted, tuple(features)) if certified else None
    attrs: dict[str, Any] = {
        "model": {"name": "planted"},
        "dataset": {"name": "clusters"},
        "prompt": "p",
        "certificate": certificate and certificate.to_dict(),
    }
    store = Store.create(
        path,
        sites=sites,
        ids=[f"s{row}" for row in range(len(leaf))],
        leaf=leaf,
        split=split,
        taxonomy=taxonomy,
        attrs=attrs,
        level=level,
        logical_dtype="float32",
    )
    for info in store.sites.values():
        array = store.arrays[info.array]
        array[slice(None) if info.index is None else info.index] = features[info.name]
    store.group["sample/status"][:] = np.array(status or ["ok"] * len(leaf), object)  # pyright: ignore
    return path
