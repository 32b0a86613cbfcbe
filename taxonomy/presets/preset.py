"""What a preset is: a name, where its data comes from and belongs, and how its layout is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from taxonomy.listing import Listing
from taxonomy.tree import Taxonomy

STUDY = "https://github.com/yuanqing-ai/LLM-Hierarchical-Consistency/tree/main/data/taxonomies"
"""Where the study (arXiv 2505.24840) publishes its taxonomies."""


@dataclass(frozen=True)
class Preset:
    """A published image set.

    `read(folder, taxonomy)` lists the images of `folder`, the publisher's own top folder; `taxonomy` is the user's,
    if any.
    """

    name: str
    title: str
    page: str
    """Where the publisher offers it."""
    archives: tuple[str, ...]
    """What to download there and unpack."""
    marker: tuple[str, ...]
    """Paths of which at least one is found in the publisher's top folder."""
    read: Callable[[Path, Taxonomy], Listing] | Callable[[Path, Taxonomy | None], Listing]
    top: str = ""
    """The folder its archive unpacks to, which the root may or may not include."""
    family: str | None = None
    """A second folder name, shared by presets that read the same files."""
    taxonomy_file: str | None = None
    """The study's file for a data set that has no taxonomy of its own."""

    def list(self, root: Path | None, taxonomy: Taxonomy | None) -> Listing:
        """The listing, from `root` or the default places. Raises InputError saying what to download and where to put
        it."""
        raise NotImplementedError
