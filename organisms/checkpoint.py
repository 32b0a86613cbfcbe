"""Write a model folder the way the hub ships one: tokenizer, chat template, processor, seeded weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

CORPUS = (
    "What is in the image? What animal is this? What plant is this? Describe the photo in one word.",
    "Answer with the letter of the right option. A. yes B. no C. both D. neither",
    "Based on the taxonomy, where does the object in the image belong: order, family, genus or species?",
    "A dog is a mammal, a sparrow is a bird, an oak is a tree and a lorry is a vehicle.",
    "the a an of in is this that it to and or not user assistant system entity 0 1 2 3 4 5 6 7 8 9",
)
"""Ordinary questions. A tokenizer trained on them spells out any other text in bytes, so nothing is unknown to it."""


def train_tokenizer(special: Sequence[str], corpus: Iterable[str] = CORPUS, vocab_size: int = 512, **settings: Any):
    """A byte-level BPE tokenizer (fast) trained on `corpus`, `special` tokens first; `settings` go to its constructor.

    The first of `special` pads, `<|im_end|>` (where there is one) ends a sequence. It pads on the left, as checkpoints
    meant for generation do.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    # The stub of `tokenizers` types these as read-only; the library documents assigning them.
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    bpe.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=special[0],
        eos_token="<|im_end|>" if "<|im_end|>" in special else special[0],
        padding_side="left",
        model_max_length=4096,
        **settings,
    )


def chat_template(image: str) -> str:
    """A ChatML template (Qwen's) in which every image of a message becomes the text `image`."""
    return (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '" + image.replace("\n", "\\n") + "' }}"
        "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def save_processor(
    directory: Path,
    processor_class: str,
    tokenizer,
    image_processor,
    template: str,
    video_processor: Mapping[str, Any] | None = None,
    **settings: Any,
) -> None:
    """The files that `ProcessorMixin.save_pretrained` writes, without building the processor.

    Building one that also takes video needs torchvision, which reading images does not; the folder must still be whole
    for those who have it. `settings` are the constructor's other arguments.
    """
    tokenizer._set_processor_class(processor_class)
    tokenizer.save_pretrained(directory)
    entries = {"image_processor": image_processor.to_dict(), "processor_class": processor_class, **settings}
    if video_processor is not None:
        entries["video_processor"] = dict(video_processor)
    text = json.dumps(entries, indent=2, sort_keys=True)
    (directory / "processor_config.json").write_text(text + "\n", encoding="utf-8")
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")


def seed_weights(model: nn.Module, seed: int) -> None:
    """Draw every parameter anew from an explicit generator, so that all of them matter to the output.

    The libraries' own initialisation makes some models blind (a projection of zeros, gates at 0) and most layers alike
    (std 0.02 leaves the residual stream untouched). Here matrices and kernels are N(0, 1/fan_in), tables (embeddings,
    positions, class tokens, newline rows, layer scales) N(0, 1/4), the gains of norms N(1, 0.01), biases N(0, 0.01).
    """
    generator = torch.Generator().manual_seed(seed)
    seen: set[int] = set()
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) in seen or not parameter.is_floating_point():
                    continue
                seen.add(id(parameter))
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(_scaled(module, name, noise))


def _scaled(module: nn.Module, name: str, noise: torch.Tensor) -> torch.Tensor:
    if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)) and name == "weight":
        return noise / noise[0].numel() ** 0.5
    if "bias" in name.split("."):
        return 0.1 * noise
    if "norm" in type(module).__name__.lower():
        return 1 + 0.1 * noise
    return 0.5 * noise
