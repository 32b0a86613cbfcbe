"""Toy models of every vision-language family of transformers, in memory, each with a batch to run it on.

The matrix on which the search for sites is proved: `hooks` may not know a single architecture, so all that is
particular to one stands here. Weights are untrained and drawn so that every pixel matters. Listing the families is
cheap; torch and transformers are imported when one is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from commandline import InputError
from organisms.zoo import (
    crossed,
    cut,
    discrete,
    dual,
    joined,
    llava,
    native,
    packed,
    packed_others,
    resampled,
    retrieval,
    seq2seq,
    text,
    tiles,
    views,
    vision,
    whole,
)
from organisms.zoo.excluded import EXCLUDED
from organisms.zoo.family import Family, Kind

if TYPE_CHECKING:
    from torch import nn

__all__ = ["EXCLUDED", "FAMILIES", "Family", "Kind", "build_family"]

_ROOMS = (
    llava,
    whole,
    tiles,
    views,
    packed,
    packed_others,
    native,
    cut,
    resampled,
    discrete,
    seq2seq,
    joined,
    llava,
    crossed,
    retrieval,
    dual,
    vision,
    text,
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {found.name: found for room in _ROOMS for found in vars(room).values() if isinstance(found, Family)}
)
"""Every family by name, in the order of the modules that define them."""


def build_family(name: str, seed: int = 0) -> tuple[nn.Module, dict[str, Any]]:
    """An untrained model (float32, eval mode, CPU) of family `name`, and the inputs of one forward of two samples.

    The same name and seed give the same weights and inputs. Raises InputError for a name that is not in `FAMILIES`.
    """
    if name not in FAMILIES:
        near = get_close_matches(name, FAMILIES, n=3, cutoff=0.4)
        raise InputError(f"no family {name!r}; " + (f"did you mean {', '.join(near)}?" if near else "see FAMILIES"))
    import numpy as np
    import torch
    import transformers

    from organisms.checkpoint import seed_weights

    with torch.random.fork_rng(devices=[]):  # constructors draw buffers from the global generator
        torch.manual_seed(seed)
        model, inputs = FAMILIES[name].build(transformers)
    seed_weights(model.float().eval(), seed)
    _calm(model)
    return model, {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in inputs.items()}


def _calm(model: nn.Module) -> None:
    """Bring what `seed_weights` takes for tables to the scale of matrices: experts, and weights of unusual layers."""
    import torch
    from torch import nn

    usual = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, usual):
                continue
            for name, parameter in module.named_parameters(recurse=False):
                experts = parameter.ndim == 3 and len(parameter) > 1 and min(parameter.shape[1:]) > 8
                if experts or (parameter.ndim == 2 and name.endswith("weight")):
                    parameter.mul_(2 / max(parameter.shape[-2:]) ** 0.5)
