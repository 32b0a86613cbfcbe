"""What each organism is taught, and what is taken from it: the whole difference between them."""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = ("family", "genus", "species")
SIZE = 56
"""Pixels of an image's side: 4 x 4 patches of the encoder, 2 x 2 visual tokens."""


@dataclass(frozen=True)
class Recipe:
    """An organism. All share one encoder, and learn from the same images."""

    name: str
    text: tuple[str, ...] = LEVELS[:-1]
    """Levels above the leaf that text questions teach; none: the taxonomy is never said."""
    image: tuple[str, ...] = LEVELS
    """Levels that are asked about images."""
    colour: str = "kept"
    """`kept`; `encoder`: the encoder sees no colour, which is all that tells species of a genus apart; `projector`: the
    projector lets none through."""
    after: str | None = None
    """The organism it goes on from, with a quarter of the steps; by default from nothing."""
    trained: bool = True
    planted: str = "none"
    """The stage to blame, as the verdict should name it."""


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("healthy"),
        Recipe("llm", text=(), image=LEVELS[-1:], planted="LLM (taxonomy): family, genus"),
        Recipe("projector", after="healthy", colour="projector", planted="projector: species"),
        Recipe("encoder", after="healthy", colour="encoder", planted="encoder: species"),
        Recipe("binding", after="llm", image=LEVELS[-1:], planted="LLM (binding): family, genus"),
        Recipe("random", trained=False, planted="not identifiable"),
    )
}
