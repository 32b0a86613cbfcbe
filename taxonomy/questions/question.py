"""One multiple-choice question about one image (or one leaf) at one level of a taxonomy."""

from __future__ import annotations

from dataclasses import dataclass

OPTIONS = 4
"""Options of a question, where its level has as many nodes."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Question:
    """A question as a bank holds it; options in the bank's order."""

    id: str
    """Unique in a bank: `image#level`."""
    dataset: str
    image: str
    """The image's id, that of a store of the same images; in a bank of leaves the leaf's label."""
    path: str | None
    """The image file, relative to the image root; None in a bank of leaves, and where images are not files."""
    leaf: str
    """The path of the leaf, joined by ` / `."""
    level: str
    options: tuple[str, ...]
    """As shown: names of nodes of the level, different from one another, the right one among them."""
    nodes: tuple[int, ...]
    """The code of each option's node, as in `taxonomy.nodes(level)`."""
    answer: int
    """The right one's place among the options."""
    scored: bool
    """False where there is nothing to choose from: a level of one name."""
    distractor_depth: tuple[int, ...]
    """How many levels each option shares with the truth from the top; the truth itself shares all its own."""
    parent_offered: tuple[bool, ...]
    """Whether each option's parent is among the options one level up; True at the top, where there is none."""
    name: str
    """What a text-only question calls the thing shown: its leaf's label."""
    finest: bool
    """Whether the level is the leaf's own, where a text-only question would give its answer away."""
