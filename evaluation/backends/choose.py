"""Which backend a model is asked by."""

from __future__ import annotations

from typing import Literal

from commandline import InputError
from evaluation.asking import Plan
from evaluation.asks import Backend
from evaluation.config import AskConfig

Kind = Literal["vlm", "causal", "api", "dual"]
KINDS: dict[str, Kind] = {"image-text": "vlm", "text": "causal", "vision": "dual"}


def check(config: AskConfig) -> Kind:
    """The kind of backend, from the settings and the model's configuration alone; no weights are read.

    Raises InputError for a device that is not there, a kind that cannot be asked in this way, a missing key.
    """
    kind = _kind(config)
    if kind == "causal" and not config.text_only:
        raise InputError(f"{config.model} is a language model without vision: add --text_only")
    if kind == "dual" and (config.text_only or config.shown == "none"):
        raise InputError(f"{config.model} compares images with texts: it cannot be asked without an image")
    if kind == "api":
        from evaluation.backends.api import key_of

        if config.base_url is None:
            raise InputError("--backend api needs the server's --base_url, such as https://api.openai.com/v1")
        key_of(config.api_key_env, config.base_url)
    elif config.max_cost is not None:
        raise InputError("--max_cost is for servers (--base_url); a model here costs nothing per answer")
    return kind


def open_backend(config: AskConfig, asks: Plan) -> Backend:
    """Load the model, or get ready to call the server. Raises InputError."""
    kind = check(config)
    if kind == "api":
        from evaluation.backends.api import ApiBackend

        return ApiBackend.of(config, asks)
    if kind == "dual":
        from evaluation.backends.dual_encoder import DualEncoderBackend

        return DualEncoderBackend.of(config)
    from hooks import load

    loaded = load(
        config.model,
        config.device,
        config.dtype,
        revision=config.revision,
        random_init=config.random_init,
        trust_remote_code=config.trust_remote_code,
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
    )
    if kind == "causal":
        from evaluation.backends.causal import CausalBackend

        return CausalBackend(loaded, config.batch_size)
    from evaluation.backends.vision_language import VisionLanguageBackend

    return VisionLanguageBackend(loaded, config.batch_size, config.images_per_batch)


def _kind(config: AskConfig) -> Kind:
    if config.backend == "api" or (config.backend == "auto" and config.base_url is not None):
        return "api"
    from hooks.configs import load_config, model_kind
    from hooks.loading import device_named
    from hooks.openclip import is_open_clip

    device_named(config.device)
    if is_open_clip(config.model):
        found: Kind = "dual"
    else:
        loaded = load_config(config.model, revision=config.revision, trust_remote_code=config.trust_remote_code)
        found = KINDS[model_kind(config.model, loaded)]
    if config.backend not in ("auto", found):
        raise InputError(f"{config.model} is to be asked with --backend {found}, not {config.backend}")
    return found
