"""What a model's answers depend on, for the record of a run: contents, not the folder they lie in."""

from __future__ import annotations

import hashlib

from evaluation.backends.prefix import Sharing
from evaluation.backends.rendering import Renderer
from hooks.fingerprints import config_hash, processor_hash, weights_hash
from hooks.loading import Loaded

Identity = dict[str, str | int | float | bool | None]


def of_model(loaded: Loaded) -> Identity:
    """The model, its precision, and what makes its inputs."""
    import transformers

    return {
        "revision": loaded.revision,
        "class": type(loaded.model).__name__,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "random_init": loaded.random_init,
        "config": config_hash(loaded.model.config),
        "weights": weights_hash(loaded.model),
        "processor": processor_hash(loaded.processor or loaded.tokenizer),
        "image_backend": None if loaded.processor is None else loaded.image_backend,
        "transformers": transformers.__version__,
    }


def identity(backend: str, loaded: Loaded, renderer: Renderer, sharing: Sharing) -> Identity:
    """`of_model`, how it is spoken to, and whether its prompts share a prefix (and why not)."""
    return {
        "backend": backend,
        **of_model(loaded),
        "chat_template": hashlib.sha256(renderer.template.encode()).hexdigest() if renderer.template else None,
        "system": "in a turn of its own" if renderer.system_turn else "before the question",
        "shares_prefix": sharing.manner is not None,
        "shares_prefix_not": sharing.reason or None,
    }
