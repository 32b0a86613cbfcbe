"""A tiny store to probe."""

from __future__ import annotations

from pathlib import Path

from extract import Store
from tests.probing.planted import balanced_tree, clusters, rows_of, write_store

SITES = ("encoder.1", "encoder.2", "projector", "llm.0", "llm.final")


def planted(path: Path, pool: str = "mean") -> Path:
    """24 species of 8 images each, at five sites; it says that it was pooled so."""
    tree = balanced_tree((2, 4, 24))
    leaf, split = rows_of(tree, 8)
    features = {site: clusters(tree, leaf, 0.4, seed=index)[0] for index, site in enumerate(SITES)}
    store = write_store(path, features, leaf, split, tree)
    Store.open(store, "r+").group.attrs["pool"] = pool
    return store
