"""The hidden states that the model itself returns, and the model put back as it was."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hooks.checks.case import Case, duplicate, run, small

States = list[Tensor]


def offered_states(case: Case) -> dict[str, States]:
    """Every list of hidden states the model returns, by its place in the output.

    Asking for them can break a model for good (transformers hooks its blocks on the first call that asks, and hooks
    some twice): a small model is copied for it, a large one is put back as it was.
    """
    model = duplicate(case.model) if small(case.model) else case.model
    with restored(model):
        output = run(model, case.inputs, output_hidden_states=True, return_dict=True)
        found = dict(_lists(output))
        if any(site.stage == "encoder" for site in case.sites.values()):
            found |= _vision_lists(model, case.inputs)
    return found


def _vision_lists(model: Any, inputs: Mapping[str, Any]) -> dict[str, States]:
    for owner in (model, getattr(model, "model", None)):
        method = getattr(owner, "get_image_features", None)
        if method is None:
            continue
        names = inspect.signature(method).parameters
        given = {name: value for name, value in inputs.items() if name in names}
        try:
            with torch.no_grad():
                return {f"image.{name}": s for name, s in _lists(method(**given, output_hidden_states=True))}
        except Exception:  # many do not know the argument
            continue
    return {}


def _lists(value: Any, place: str = "") -> Iterator[tuple[str, States]]:
    items = value.items() if isinstance(value, Mapping) else ()
    for name, part in items:
        if isinstance(part, (tuple, list)) and "hidden_states" in name and len(part) > 1:
            if all(isinstance(state, Tensor) for state in part):
                yield f"{place}{name}", [state.cpu() for state in part]
        elif isinstance(part, Mapping):
            yield from _lists(part, f"{place}{name}.")


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Afterwards every module has the attributes and hooks it had before."""
    before = {
        module: {name: value.copy() if isinstance(value, dict) else value for name, value in module.__dict__.items()}
        for module in model.modules()
    }
    try:
        yield
    finally:
        for module, attributes in before.items():
            for name in module.__dict__.keys() - attributes.keys():
                del module.__dict__[name]
            for name, value in attributes.items():
                now = module.__dict__.get(name)
                if isinstance(value, dict) and isinstance(now, dict):
                    now.clear()  # hooks may be held from elsewhere: the same dictionary stays
                    now.update(value)
                elif now is not value:
                    module.__dict__[name] = value
