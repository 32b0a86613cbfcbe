"""From an image and a prompt to what a model's forward takes, one sample at a time, and from samples to batches."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from commandline import InputError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor


def encode(processor: Any, image: Image.Image, prompt: str, system: str | None = None) -> dict[str, Tensor]:
    """One sample through the model's own chat template, the image before the text.

    Everything the processor returns is passed on: leaving a part out (Qwen2.5-VL's `mm_token_type_ids`) changes a
    model's positions without an error.

    Args:
        image: RGB.
        system: a system turn; None for the template's own default.

    Returns:
        The forward's inputs, leading axis 1 (or the sample's patches or tiles, where the processor packs those).

    Raises:
        InputError: the processor refuses the image, or its template puts no image into the prompt.
    """
    content = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
    turns = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system is not None else []
    turns.append({"role": "user", "content": content})
    try:
        text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        inputs = processor(text=[text], images=[image], return_tensors="pt")
    except (ValueError, TypeError, ZeroDivisionError, OSError, IndexError) as error:
        raise InputError(
            f"{type(processor).__name__} cannot take this image ({image.width} x {image.height} pixels): {error}"
        ) from error
    return dict(inputs)


def signature(inputs: Mapping[str, Any]) -> Hashable:
    """The shape of every input: samples of equal signature make a batch by concatenation, without padding."""
    return tuple(sorted((name, tuple(value.shape)) for name, value in inputs.items()))


def collate(samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of samples of equal `signature`, in their order: concatenated on the leading axis."""
    import torch

    return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}


def to_device(inputs: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """The inputs where the model is, pixels in its dtype; integers keep theirs."""
    return {
        name: value.to(device, dtype if value.is_floating_point() else None, non_blocking=True)
        for name, value in inputs.items()
    }
