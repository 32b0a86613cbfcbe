"""What a model's forward takes: samples put together, which inputs are pixels and text, the same with others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from commandline import InputError


def signature(inputs: Mapping[str, Any]) -> Hashable:
    """The shape of every input: samples of equal signature make a batch by concatenation, without padding."""
    return tuple(sorted((name, tuple(value.shape)) for name, value in inputs.items()))


def collate(samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of samples of equal `signature`, in their order: concatenated on the leading axis."""
    return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}


def token_name(inputs: Mapping[str, Any]) -> str | None:
    """The input that carries the text: `input_ids`, a decoder's, or the integers of (sample, token); None without."""
    for name in ("input_ids", "decoder_input_ids"):
        if name in inputs:
            return name
    for name, value in inputs.items():
        whole = isinstance(value, Tensor) and not value.is_floating_point() and value.dtype != torch.bool
        if whole and value.ndim == 2 and "mask" not in name and ("text" in name or "ids" in name or "token" in name):
            return name
    return None


def pixel_names(inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """The inputs that carry images: the floating-point ones that are not masks, and of those the ones that are called
    pixels, patches or images where there are such (an action model has floating-point states beside them)."""
    floating = tuple(
        name
        for name, value in inputs.items()
        if isinstance(value, Tensor) and value.is_floating_point() and "mask" not in name
    )
    return tuple(name for name in floating if any(word in name for word in ("pixel", "patch", "image"))) or floating


def change_pixels(inputs: Mapping[str, Any], kind: int) -> dict[str, Any]:
    """The same inputs with other pixels: each value times a random factor, {1/2, 1} (kind 0) or uniform on [0, 1).

    A factor keeps zeros zero (models drop all-zero padding images) and integer grid coordinates inside their range.
    """
    changed = dict(inputs)
    generator = torch.Generator().manual_seed(kind)
    for name in pixel_names(inputs):
        value = inputs[name]
        factor = torch.rand(value.shape, generator=generator)
        factor = 0.5 + 0.5 * (factor > 0.5) if kind == 0 else factor
        changed[name] = value * factor.to(value.device, value.dtype)
    return changed


def change_text(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The same inputs with one token changed: the last attended one of the first sample that is not all over it.

    An id that occurs four times or more may be a placeholder of the image and is left alone; the new id is another one
    of that row. Raises InputError when the prompt has no such token.
    """
    name = token_name(inputs)
    if name is None:
        raise InputError(f"the inputs hold no token ids (there are {', '.join(inputs)}); give the processor's output")
    ids = inputs[name].clone()
    row = ids[0]
    mask = inputs.get("attention_mask")
    attended = mask[0].bool() if isinstance(mask, Tensor) and mask.shape == ids.shape else torch.ones_like(row).bool()
    values, counts = row[attended].unique(return_counts=True)
    free = attended & torch.isin(row, values[counts < 4])
    if not free.any() or len(values) < 2:
        raise InputError("the prompt has no text of its own beside the image; give a prompt of a few words")
    place = int(free.nonzero()[-1])
    row[place] = next(value for value in row[free].tolist() + values.tolist() if value != int(row[place]))
    return {**inputs, name: ids}


def to_model(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs where the model's weights are, pixels in their dtype."""
    weight = next(weight for weight in model.parameters() if weight.is_floating_point())
    return to_device(inputs, weight.device, weight.dtype)


def to_device(inputs: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The inputs where the model is, pixels in its dtype; integers keep theirs, and what is no tensor stays."""
    return {
        name: value.to(device, dtype if value.is_floating_point() else None, non_blocking=True)
        if isinstance(value, Tensor)
        else value
        for name, value in inputs.items()
    }
