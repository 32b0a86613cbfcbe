"""From an image and a prompt to what a model's forward takes, one sample at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from commandline import InputError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


def encode(processor: Any, image: Image.Image, prompt: str, system: str | None = None) -> dict[str, Tensor]:
    """One sample: through the model's own chat template with the image before the text, where there is one; as image
    and text for a model without; as pixels alone for one without text.

    Everything the processor returns is passed on: leaving a part out (`mm_token_type_ids`) changes some models'
    positions without an error.

    Args:
        image: RGB.
        system: a system turn; None for the template's own default.

    Returns:
        The forward's inputs, leading axis 1 (or the sample's patches or tiles, where the processor packs those).

    Raises:
        InputError: the processor refuses the image, its template puts no image into the prompt, or it has no template
            that a system turn could go into.
    """
    template = getattr(processor, "chat_template", None)
    if system is not None and not template:
        raise InputError(f"{type(processor).__name__} has no chat template for a system turn to go into; leave it out")
    try:
        if getattr(processor, "tokenizer", None) is None:
            return dict(processor(images=[image], return_tensors="pt"))
        return _with_template(processor, image, prompt, system) if template else _plain(processor, image, prompt)
    except (ValueError, TypeError, ZeroDivisionError, OSError, IndexError) as error:
        raise InputError(
            f"{type(processor).__name__} cannot take this image ({image.width} x {image.height} pixels): {error}"
        ) from error


def _with_template(processor: Any, image: Image.Image, prompt: str, system: str | None) -> dict[str, Tensor]:
    content = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
    turns = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system is not None else []
    turns.append({"role": "user", "content": content})
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    # Templates differ in whether they write the first token; a tokenizer that adds it would add a second one.
    first = processor.tokenizer.bos_token
    bare = not (first and text.startswith(first))
    return dict(processor(text=[text], images=[image], return_tensors="pt", add_special_tokens=bare))


def _plain(processor: Any, image: Image.Image, prompt: str) -> dict[str, Tensor]:
    token = getattr(processor, "image_token", None) or getattr(processor.tokenizer, "image_token", None)
    if token is None:  # a dual encoder: its text has a length of its own, and the image no place in it
        return dict(processor(text=[prompt], images=[image], return_tensors="pt", padding=True, truncation=True))
    # Some processors put the placeholders before the text themselves, some expand the one they find.
    token, place = str(token), processor.tokenizer.convert_tokens_to_ids(str(token))
    try:
        inputs = processor(text=[prompt], images=[image], return_tensors="pt")
        if bool((inputs["input_ids"] == place).any()):
            return dict(inputs)
    except (ValueError, IndexError):
        pass
    return dict(processor(text=[f"{token}\n{prompt}"], images=[image], return_tensors="pt"))
