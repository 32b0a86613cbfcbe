"""What a source names, from its configuration alone: where it is, what kind of model, which class, which dtype."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from commandline import InputError, first_line

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

Kind = Literal["image-text", "text", "vision"]
"""A vision-language model, a causal language model, or an encoder of images (alone, or beside one of text)."""


def source_name(source: str | Path) -> str:
    """A directory with `~` written out; a hub id as it is."""
    return str(Path(source).expanduser()) if str(source).startswith("~") else str(source)


def load_config(source: str, *, revision: str | None = None, trust_remote_code: bool = False) -> PretrainedConfig:
    """The model's configuration alone. Raises InputError when the source is no model directory and no known hub id."""
    from transformers import AutoConfig

    source = source_name(source)
    path = Path(source)
    if path.exists() and not (path / "config.json").is_file():
        raise InputError(f"{source}: no config.json in it; give a directory written by save_pretrained, or a hub id")
    # A hub id is `owner/name`; where `owner` is a folder here, a mistyped path is meant.
    deep = len(path.parts) > 2 or (len(path.parts) == 2 and path.parent.is_dir())
    if not path.exists() and (path.is_absolute() or source.startswith(".") or deep):
        raise InputError(f"{source}: no such directory; give a model directory or a hub id, owner/name")
    try:
        return AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        if path.exists():
            raise InputError(f"{source}: its config.json cannot be read: {first_line(error)}") from error
        raise InputError(
            f"{source}: no such directory, and not to be had from the hub or its cache ({first_line(error)}); "
            f"check the spelling and the network, and write hf-hub:{source} for an OpenCLIP checkpoint"
        ) from error


def model_kind(source: str, config: PretrainedConfig) -> Kind:
    """What kind of model a configuration is of. Raises InputError when it neither sees nor speaks."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    remote = getattr(config, "auto_map", None) or {}
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or "AutoModelForImageTextToText" in remote:
        return "image-text"
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or "AutoModelForCausalLM" in remote:
        return "text"
    found = _own_class(config)
    if found and "pixel_values" in inspect.signature(found.forward).parameters:
        return "vision"
    raise InputError(
        f"{source}: {type(config).__name__} is neither a vision-language model, a causal language model nor an image "
        "encoder of the installed transformers; if its code is on the hub, add trust_remote_code after reading it"
    )


def model_class(source: str, config: PretrainedConfig) -> Any:
    """The class whose `from_pretrained` loads this configuration's weights. Raises InputError as `model_kind`."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = model_kind(source, config)
    if kind == "vision":
        return _own_class(config)
    return AutoModelForImageTextToText if kind == "image-text" else AutoModelForCausalLM


def untrained(source: str, config: PretrainedConfig, *, trust_remote_code: bool = False, **settings: Any) -> Any:
    """A model of this configuration with the weights its constructor draws. Raises InputError as `model_kind`."""
    cls = model_class(source, config)
    if hasattr(cls, "from_config"):
        return cls.from_config(config, trust_remote_code=trust_remote_code, **settings)
    return cls._from_config(config, **settings)


def _own_class(config: PretrainedConfig) -> Any:
    """The class a checkpoint was saved from, where transformers has it, else the one for the bare model, or None."""
    import transformers

    for name in config.architectures or ():
        found = getattr(transformers, name, None)
        if found is not None and getattr(found, "config_class", None) is type(config):
            return found
    return transformers.MODEL_MAPPING.get(type(config), None)


def config_dtype(config: PretrainedConfig) -> torch.dtype:
    """The dtype the checkpoint was saved in; float32 where it does not say."""
    import torch

    dtype = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    return dtype_named(dtype) if dtype is not None else torch.float32


def dtype_named(dtype: str | torch.dtype) -> torch.dtype:
    """`torch.float32` for "float32", and so on. Raises InputError for a name torch does not have."""
    import torch

    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(f"dtype {dtype!r} is not known; use auto, float32, bfloat16 or float16")
    return found
