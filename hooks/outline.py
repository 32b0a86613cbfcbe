"""What a model will cost, from its configuration alone: layers, widths and parameters of each stage, without weights.

The module tree is built on the meta device, where parameters have shapes and no memory. Nothing can run there, so this
is an estimate for planning; `find_sites` says what is really there once the weights are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from commandline import InputError
from hooks.configs import config_dtype, load_config, model_kind, untrained


@dataclass(frozen=True)
class Outline:
    """The expected size of a model's sites."""

    model_class: str
    stages: Mapping[str, tuple[int, int]]
    """(number of sites, features) of "encoder" (its blocks), "projector" and "llm", of "text" for a model without
    vision, of "encoder" for one without a language model."""
    encoder_final: int
    """Features of `encoder.final`, what the projector reads; 0 without one."""
    parameters: Mapping[str, int]
    """Parameters that multiply every token of a stage ("encoder", "llm"): its blocks, without embeddings."""
    total_parameters: int
    dtype: torch.dtype
    """The checkpoint's own."""


def outline(source: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Outline:
    """Estimate a model's sites from its configuration.

    The LLM's blocks are the longest list of modules inside the decoder that transformers names; the encoder's, the
    longest one outside it.

    Raises:
        InputError: the source is no model (as `load`), or has no such list.
    """
    from accelerate import init_empty_weights

    config = load_config(source, revision=revision, trust_remote_code=trust_remote_code)
    with init_empty_weights(include_buffers=False):
        model = untrained(source, config, trust_remote_code=trust_remote_code)
    if model_kind(source, config) == "vision":
        return _encoder_alone(source, model, config_dtype(config))
    decoder = getattr(model, "get_decoder", lambda: None)()
    if not isinstance(decoder, nn.Module):
        raise InputError(f"{source}: {type(model).__name__} does not say which of its parts is the language model")
    inside = {id(module) for module in decoder.modules()}
    llm = _longest(module for module in decoder.modules() if isinstance(module, nn.ModuleList))
    encoder = _longest(
        module for module in model.modules() if isinstance(module, nn.ModuleList) and id(module) not in inside
    )
    if llm is None:
        raise InputError(f"{source}: {type(model).__name__} has no list of LLM blocks")
    width = _width(llm)
    stages, read = {"text": (len(llm) + 2, width)}, 0
    parameters = {"llm": _size(llm)}
    if encoder is not None:
        stages = {"encoder": (len(encoder), _width(encoder)), "projector": (1, width), "llm": (len(llm) + 2, width)}
        read = _projector_width(model, encoder, decoder, width) or stages["encoder"][1]
        parameters["encoder"] = _size(encoder)
    return Outline(type(model).__name__, stages, read, parameters, _size(model), config_dtype(config))


def _encoder_alone(source: str, model: Any, dtype: torch.dtype) -> Outline:
    """Of a dual encoder, what is not its text's: a tower is a child of the model with a list of blocks in it."""
    towers = [part for name, part in model.named_children() if not name.startswith("text")] or [model]
    blocks = _longest(list_ for part in towers for list_ in part.modules() if isinstance(list_, nn.ModuleList))
    if blocks is None:
        raise InputError(f"{source}: {type(model).__name__} has no list of blocks")
    stages = {"encoder": (len(blocks), _width(blocks))}
    return Outline(type(model).__name__, stages, 0, {"encoder": _size(blocks)}, _size(model), dtype)


def _longest(lists: Iterator[nn.ModuleList]) -> Any:
    deep = [blocks for blocks in lists if any(list(block.children()) for block in blocks)]
    return max(deep, key=len, default=None)


def _width(blocks: nn.ModuleList) -> int:
    """A block begins with a normalisation of the residual stream: its weight is as long as the stream is wide."""
    for part in blocks[0].children():
        weights = list(part.parameters())
        if weights and all(weight.ndim == 1 for weight in weights):
            return weights[0].shape[0]
    raise InputError(f"the width of {type(blocks[0]).__name__} cannot be told without its weights")


def _projector_width(model: nn.Module, encoder: nn.ModuleList, decoder: nn.Module, width: int) -> int | None:
    """Features that enter the outermost module, beside blocks and decoder, that has a matrix onto the LLM's width."""
    apart = {id(part) for whole in (encoder, decoder) for part in whole.modules()}

    def search(module: nn.Module) -> nn.Module | None:
        for part in module.children():
            if id(part) in apart:
                continue
            if not any(id(inner) in apart for inner in part.modules()):
                matrices = [inner for inner in part.modules() if isinstance(inner, nn.Linear)]
                if any(matrix.out_features == width for matrix in matrices):
                    return part
            elif (found := search(part)) is not None:
                return found
        return None

    projector = search(model)
    return next(iter(projector.parameters())).shape[-1] if projector is not None else None


def _size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
