"""Small VLMs of genuine transformers classes, and a rendered world with a known taxonomy to show them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from organisms.architectures import ARCHITECTURES, build, build_causal_lm
    from organisms.world import render_world

__all__ = ["ARCHITECTURES", "build", "build_causal_lm", "render_world"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command's help must not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module 'organisms' has no attribute {name!r}")
    return getattr(import_module("organisms.world" if name == "render_world" else "organisms.architectures"), name)
