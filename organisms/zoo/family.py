"""What a family is: how to build one small model of a kind of architecture, and what is irregular about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["vlm", "dual", "vision", "text", "other"]
"""Language model that sees; pair of encoders with one space; encoder alone; language model alone; none of these."""

Built = tuple[Any, dict[str, Any]]
"""A model as its constructor leaves it, and the inputs of one forward: arrays, or what else the model takes."""


@dataclass(frozen=True)
class Family:
    """One architecture of transformers at toy size."""

    name: str
    kind: Kind
    model_types: tuple[str, ...]
    """The `model_type`s of transformers that it stands for."""
    what: str
    """What is irregular about it, in one line."""
    build: Callable[[Any], Built]
    """Takes the module `transformers`, so that nobody imports it before a model is wanted."""


def family(kind: Kind, *model_types: str, what: str) -> Callable[[Callable[[Any], Built]], Family]:
    """Make a Family of a build function and name it after it; without `model_types` it stands for its own name."""

    def decorate(build: Callable[[Any], Built]) -> Family:
        name = build.__name__
        return Family(name, kind, model_types or (name,), what, build)

    return decorate
