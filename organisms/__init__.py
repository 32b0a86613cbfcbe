"""Small VLMs of genuine transformers classes, and a rendered world with a known taxonomy to show them."""

from organisms.architectures import ARCHITECTURES, build, build_causal_lm
from organisms.world import render_world

__all__ = ["ARCHITECTURES", "build", "build_causal_lm", "render_world"]
