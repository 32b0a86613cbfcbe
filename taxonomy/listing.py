"""What every source of images is read into, before its labels meet a taxonomy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from taxonomy.tree import Taxonomy

Label = str | tuple[str, ...]
"""A name to be matched, or a path coarse to fine (folders, level columns)."""


@dataclass(frozen=True)
class Listing:
    """One entry per image, in the source's order. A folder, a manifest, a `datasets` table and a preset all give
    this."""

    name: str
    ids: tuple[str, ...]
    labels: tuple[Label, ...]
    splits: tuple[str, ...] | None
    """The publisher's split names, as published; None where there are none."""
    reader: Callable[[int], bytes]
    """The encoded image of an entry; OSError when it cannot be read."""
    taxonomy: Taxonomy | None = None
    """The source's own taxonomy, where it says more than its labels do."""
    levels: tuple[str, ...] | None = None
    """Names for the levels of labels that are paths."""
    outside: Mapping[str, int] = field(default_factory=dict)
    """Labels known not to belong to the taxonomy asked for (ImageNet's other classes), with their numbers of images."""
    split_note: str = "the publisher's"
    """How the published split came about."""
