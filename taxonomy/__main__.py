"""`python -m taxonomy`: what is in a taxonomy, and whether an image set is whole."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from commandline import Command, main
from taxonomy.config import ImagesConfig, TreeConfig
from taxonomy.images import ImageSet
from taxonomy.splits import SPLITS
from taxonomy.tree import Taxonomy

MOST = 10
"""How many names of a kind are listed."""


def show_tree(config: TreeConfig) -> None:
    """Print a taxonomy's levels and its names that need care."""
    from taxonomy.load import load_taxonomy

    tree = load_taxonomy(config.taxonomy, _tuple(config.levels), config.drop_root)
    print(tree_report(tree))


def show_images(config: ImagesConfig) -> int:
    """Print what an image set holds; the status is 1 when an extraction would refuse it as it is."""
    from taxonomy.load import load_images
    from taxonomy.presets import PRESETS

    settings: dict[str, Any] = config.model_dump() | {"levels": _tuple(config.levels)}
    images = load_images(**settings, unmatched="drop", missing="keep")
    print(images_report(images))
    return int(bool(images.missing or (images.unmatched and config.dataset not in PRESETS)))


def tree_report(tree: Taxonomy) -> str:
    """What `tree` prints: a table of levels, then the names that stand for several nodes."""
    ending = Counter(tree.depths.tolist())
    rows: list[tuple[object, ...]] = [
        (level, len(nodes := tree.nodes(level)), len(set(tree.names(level))), ending[depth], nodes[0][-1])
        for depth, level in enumerate(tree.levels, start=1)
    ]
    total = sum(len(tree.nodes(level)) for level in tree.levels)
    lines = [
        f"{len(tree)} leaves, {len(tree.levels)} levels, {total} nodes",
        "",
        *_table(("level", "nodes", "names", "leaves that end here", "for example"), rows),
    ]
    for names, what in (
        (tree.shared_names, "names with several parents at one level (kept as separate nodes)"),
        (tree.repeated_names, "names at several levels"),
    ):
        if names:
            lines += ["", f"{len(names)} {what}:"]
            paths = [f"  {name}: " + "; ".join(" / ".join(node) for node in nodes) for name, nodes in names.items()]
            lines += _first(paths)
    return "\n".join(lines)


def images_report(images: ImageSet) -> str:
    """What `images` prints: images per split, nodes with images per level, and what does not fit."""
    tree, codes = images.taxonomy, images.codes
    rows: list[tuple[object, ...]] = []
    for level, name in enumerate(tree.levels):
        seen = [
            len(np.unique(codes[images.split == split, level][codes[images.split == split, level] >= 0]))
            for split in SPLITS
        ]
        rows.append((name, len(tree.nodes(level)), *seen))
    counts = Counter(images.split.tolist())
    per_leaf = np.bincount(images.leaf, minlength=len(tree))
    empty = [tree.leaves[leaf] for leaf in np.flatnonzero(per_leaf == 0)]
    used = per_leaf[per_leaf > 0]
    lines = [
        f"{images.name}: {len(images)} images of {len(used)} leaves, {used.min()} to {used.max()} a leaf",
        f"split: {', '.join(f'{counts[split]} {split}' for split in SPLITS)} ({images.split_source})",
        f"fingerprint: {images.fingerprint}",
        "",
        *_table(("level", "nodes", *(f"in {split}" for split in SPLITS)), rows),
    ]
    if tree.shared_names:
        lines += [
            "",
            f"{len(tree.shared_names)} names with several parents at one level: {', '.join(tree.shared_names)}",
        ]
    if empty:
        lines += ["", f"{len(empty)} leaves without images:", *_first([f"  {leaf}" for leaf in empty])]
    if images.unmatched:
        left = sum(images.unmatched.values())
        lines += ["", f"{len(images.unmatched)} labels match no leaf; their {left} images are left out:"]
        lines += _first([f"  {label} ({count} images)" for label, count in images.unmatched.items()])
    if images.missing:
        lines += ["", f"{len(images.missing)} images are missing:", *_first([f"  {name}" for name in images.missing])]
    return "\n".join(lines)


def _table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    cells = [header, *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [all(isinstance(row[column], int) for row in rows) for column in range(len(header))]
    return [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    ]


def _first(lines: list[str]) -> list[str]:
    return lines[:MOST] + ([f"  ... and {len(lines) - MOST} more"] if len(lines) > MOST else [])


def _tuple(names: str | list[str] | None) -> tuple[str, ...] | None:
    return tuple([names] if isinstance(names, str) else names) if names else None


COMMANDS = {
    "tree": Command(TreeConfig, show_tree, positional="taxonomy"),
    "images": Command(ImagesConfig, show_images, positional="dataset"),
}

if __name__ == "__main__":
    raise SystemExit(main("python -m taxonomy", COMMANDS))
