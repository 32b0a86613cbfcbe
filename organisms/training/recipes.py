"""What each organism is taught, and what is taken from it: the whole difference between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LEVELS = ("family", "genus", "species")
SIZE = 56
"""Pixels of an image's side: 4 x 4 patches of the encoder, 2 x 2 visual tokens."""


@dataclass(frozen=True)
class Recipe:
    """What a model is taught. All share one encoder, and learn from the same images."""

    name: str
    text: tuple[str, ...] = LEVELS[:-1]
    """Levels above the leaf that text questions teach; none: the taxonomy is never said."""
    image: tuple[str, ...] = LEVELS
    """Levels that are asked about images."""
    colour: Literal["kept", "encoder", "projector"] = "kept"
    """Colour is all that tells the species of a genus apart. `encoder`: the encoder sees none; `projector`: the
    projector lets none through."""
    dose: float = 1.0
    """How much of it is taken: below 1, the share of noise in the colour that the projector lets through."""
    after: Recipe | None = None
    """What it goes on from; by default an untrained projector and LLM."""
    share: float = 1.0
    """Of the pace's steps."""
    trained: bool = True
    planted: str = "none"
    """The stage to blame and the levels lost there, as `organisms.table.lost_at` says it."""


_WHOLE = Recipe("whole")
_LLM = Recipe("llm", text=(), image=LEVELS[-1:], planted="LLM (taxonomy): family, genus")


def _projector(dose: float) -> Recipe:
    name = "projector" if dose == 1 else f"projector-{100 * dose:.0f}"
    planted = "projector: species" if dose else "none"
    return Recipe(name, after=_WHOLE, share=0.25, colour="projector", dose=dose, planted=planted)


ORGANISMS = ("healthy", "llm", "projector", "encoder", "binding", "random")
"""Those that are trained and measured unless others are named."""
DOSES = tuple(_projector(dose) for dose in (0.0, 0.25, 0.5, 0.75))
"""`projector` by degrees."""
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("healthy", after=_WHOLE, share=0.75),
        _LLM,
        _projector(1.0),
        Recipe("encoder", after=_WHOLE, share=0.25, colour="encoder", planted="encoder: species"),
        Recipe("binding", after=_LLM, share=0.5, image=LEVELS[-1:], planted="LLM (binding): family, genus"),
        Recipe("random", trained=False, planted="not identifiable"),
        *DOSES,
    )
}
"""All that can be made."""
