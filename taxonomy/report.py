"""What `python -m taxonomy` prints: a taxonomy at a glance, an image set with everything that does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from taxonomy.images import ImageSet
from taxonomy.names import counted, listed
from taxonomy.splits import SPLITS
from taxonomy.tree import NodePath, Taxonomy

MOST = 10
"""How many names of a kind are listed."""


def tree_report(tree: Taxonomy) -> str:
    """A table of levels, then the names that stand for several nodes."""
    ending = Counter(tree.depths.tolist())
    rows = [
        (level, len(tree.nodes(level)), len(set(tree.names(level))), ending[depth], tree.names(level)[0])
        for depth, level in enumerate(tree.levels, start=1)
    ]
    total = sum(len(tree.nodes(level)) for level in tree.levels)
    lines = [
        f"{counted(len(tree), 'leaf', 'leaves')}, {counted(len(tree.levels), 'level')}, {counted(total, 'node')}",
        "",
        *_table(("level", "nodes", "names", "leaves that end here", "for example"), rows),
    ]
    for names, what in (
        (tree.shared_names, "with several parents at one level (kept as separate nodes)"),
        (tree.repeated_names, "at several levels"),
    ):
        lines += _section(f"{counted(len(names), 'name')} {what}", (f"{n}: {_paths(p)}" for n, p in names.items()))
    return "\n".join(lines)


def images_report(images: ImageSet) -> str:
    """Images per split, nodes seen per level and split, then leaves without images, strange labels, missing files."""
    tree, codes = images.taxonomy, images.codes
    rows: list[tuple[object, ...]] = []
    for level, name in enumerate(tree.levels):
        present = codes[:, level] >= 0
        seen = [len(np.unique(codes[present & (images.split == split), level])) for split in SPLITS]
        rows.append((name, len(tree.nodes(level)), *seen))
    sides = Counter(images.split.tolist())
    per_leaf = np.bincount(images.leaf, minlength=len(tree))
    used = per_leaf[per_leaf > 0]
    bare = [leaf for leaf, number in zip(tree.leaves, per_leaf, strict=True) if not number]
    left_out = counted(sum(images.unmatched.values()), "image")
    lines = [
        f"{images.name}: {counted(len(images), 'image')} of {counted(len(used), 'leaf', 'leaves')}, "
        f"{_span(used.min(), used.max())} a leaf",
        f"split: {', '.join(f'{sides[split]} {split}' for split in SPLITS)} ({images.split_source})",
        f"fingerprint: {images.fingerprint}",
        "",
        *_table(("level", "nodes", *(f"in {split}" for split in SPLITS)), rows),
        *_section(
            f"{counted(len(tree.shared_names), 'name')} with several parents at one level (kept as separate nodes)",
            (f"{name}: {_paths(paths)}" for name, paths in tree.shared_names.items()),
        ),
        *_section(f"{len(bare)} of {counted(len(tree), 'leaf', 'leaves')} without images", bare),
        *_section(
            f"{counted(len(images.unmatched), 'label')} without a leaf; left out with {left_out}",
            (f"{label} ({counted(number, 'image')})" for label, number in images.unmatched.items()),
        ),
        *_section(f"{counted(len(images.missing), 'image')} missing", images.missing),
    ]
    return "\n".join(lines)


def images_notes(images: ImageSet) -> list[str]:
    """What a reader of results must know of an image set, a line each: how it was split, and what does not fit."""
    notes = [f"split: {images.split_source}"]
    if images.unmatched:
        left_out = f"{counted(sum(images.unmatched.values()), 'image')} of {counted(len(images.unmatched), 'label')}"
        notes.append(f"left out: {left_out} without a leaf in the taxonomy: {listed(images.unmatched)}")
    if shared := images.taxonomy.shared_names:
        stand = "name stands" if len(shared) == 1 else "names stand"
        notes.append(
            f"{len(shared):,} {stand} under several parents (kept apart): {listed(shared)}; "
            "are the levels in the order coarse to fine?"
        )
    return notes


def _section(title: str, entries: Iterable[str]) -> list[str]:
    """A titled list, cut after `MOST` entries; nothing where there is nothing to list."""
    entries = list(entries)
    if not entries:
        return []
    more = [f"  ... and {len(entries) - MOST} more"] if len(entries) > MOST else []
    return ["", f"{title}:", *(f"  {entry}" for entry in entries[:MOST]), *more]


def _span(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _paths(nodes: Iterable[NodePath]) -> str:
    return "; ".join(" / ".join(node) for node in nodes)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Columns under their headings, numbers to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [all(isinstance(row[column], int) for row in rows) for column in range(len(header))]
    return [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    ]
