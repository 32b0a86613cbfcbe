"""What a model's answers depend on, for the record of a run."""

from __future__ import annotations

import hashlib

from evaluation.backends.prefix import Sharing
from evaluation.backends.rendering import Renderer
from hooks.loading import Loaded

Identity = dict[str, str | int | float | bool | None]


def identity(backend: str, loaded: Loaded, renderer: Renderer, sharing: Sharing) -> Identity:
    """The model, its precision, how it is spoken to, and whether its prompts share a prefix (and why not)."""
    import transformers

    images = getattr(loaded.processor, "image_processor", None)
    return {
        "backend": backend,
        "model": loaded.source,
        "revision": loaded.revision,
        "class": type(loaded.model).__name__,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "random_init": loaded.random_init,
        "image_backend": loaded.image_backend if images is not None else None,
        "image_processor": _digest(images.to_json_string()) if images is not None else None,
        "chat_template": _digest(renderer.template) if renderer.template else None,
        "system": "in a turn of its own" if renderer.system_turn else "before the question",
        "shares_prefix": sharing.manner is not None,
        "shares_prefix_not": sharing.reason or None,
        "transformers": transformers.__version__,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
