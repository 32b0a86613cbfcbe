"""Assemble a vision-language model from a vision encoder and a language model on disk.

The result is a genuine transformers checkpoint, a LLaVA (`LlavaForConditionalGeneration` with its processor) whose
encoder and language model are the ones given, weight for weight. Between them stands a projector that nobody trained:
the model sees the image, but its language model was never taught what to make of it. So the break is known, and probes
show what the encoder knows in front of it and what is left of that behind it.

    python examples/assemble_llava.py --vision models/vit --language models/llama --out models/llava
    make extract MODEL=models/llava DATASET=photographs/labels.csv
    make probe

`--vision` is any vision transformer that `AutoModel` reads and that has an image processor (ViT, DINOv2, CLIP's vision
tower, ...), `--language` any causal language model with its tokenizer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commandline import Command, Config, InputError, main

if TYPE_CHECKING:
    import torch

IMAGE_TOKEN = "<image>"
# No roles: a language model that was never taught to chat has no markers for them.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + IMAGE_TOKEN + "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
)


class Assemble(Config):
    """Assemble a LLaVA checkpoint from a vision encoder and a language model; its projector is untrained."""

    vision: Path
    """Folder of the vision encoder, as `save_pretrained` writes it, with its preprocessor_config.json."""
    language: Path
    """Folder of the causal language model, with its tokenizer."""
    out: Path
    """Folder to write; it becomes a checkpoint that `from_pretrained` reads."""
    seed: int = 0
    """Seed of everything untrained: the projector, the embedding of the image token, an encoder's missing pooler."""


def assemble(config: Assemble) -> None:
    """Write the checkpoint. Raises InputError when a part is missing or is not what it should be."""
    for role, folder in (("vision", config.vision), ("language", config.language)):
        if not (folder / "config.json").is_file():
            raise InputError(f"--{role} {folder}: no config.json there; give a folder written by save_pretrained")
        if config.out.resolve() == folder.resolve():
            raise InputError(f"--out {config.out} is the {role} folder itself; give another one")
    import torch

    generator = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator; the caller's stays as it was
        tower, image_processor = _load_vision(config.vision, generator)
        language, tokenizer = _load_language(config.language)
        states = _look(tower, image_processor, generator)
        model = _join(tower, language, tokenizer, image_tokens=states.shape[1], generator=generator)
    _match_scale(model, states)
    patches = _patches(image_processor, tower.config.patch_size)
    _save(model, tokenizer, image_processor, additional_tokens=states.shape[1] - patches, out=config.out)
    parts = {"encoder": tower, "untrained projector": model.model.multi_modal_projector, "language model": language}
    sizes = ", ".join(f"{name} {sum(p.numel() for p in part.parameters()):,}" for name, part in parts.items())
    print(f"{config.out}: {states.shape[1]} visual tokens per image; parameters: {sizes}")


def _load_vision(folder: Path, generator: torch.Generator) -> tuple[Any, Any]:
    """The encoder in float32 and its image processor (PIL)."""
    import torch
    from transformers import AutoImageProcessor, AutoModel

    try:
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        tower, report = AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise InputError(f"--vision {folder}: cannot be read as a vision encoder: {error}") from error
    if not hasattr(tower.config, "patch_size"):
        raise InputError(f"--vision {folder}: a {type(tower).__name__} has no patches; give a vision transformer")
    # A classifier's checkpoint has no pooler, and LLaVA does not use one; the class has it all the same.
    missing = sorted(report["missing_keys"])
    if others := [name for name in missing if "pooler" not in name]:
        raise InputError(f"--vision {folder}: its weights lack {', '.join(others[:3])}; a part of the file is gone")
    for name in missing:
        _draw(tower.get_parameter(name), generator)
    return tower.eval(), processor


def _load_language(folder: Path) -> tuple[Any, Any]:
    """The language model in float32 and its tokenizer, which now has the image token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        language = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"--language {folder}: cannot be read as a causal language model: {error}") from error
    tokenizer.add_tokens([IMAGE_TOKEN], special_tokens=True)
    return language.eval(), tokenizer


def _look(tower: Any, image_processor: Any, generator: torch.Generator) -> torch.Tensor:
    """The encoder's last block on one image of noise: (1, token, feature), the tensor that the projector will read."""
    import torch

    noise = torch.randint(0, 256, (224, 224, 3), generator=generator, dtype=torch.uint8)
    pixels = image_processor(images=noise.numpy(), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return tower(pixels, output_hidden_states=True).hidden_states[-1]


def _patches(image_processor: Any, patch: int) -> int:
    size = getattr(image_processor, "crop_size", None) or image_processor.size
    return (size["height"] // patch) * (size["width"] // patch)


def _join(tower: Any, language: Any, tokenizer: Any, image_tokens: int, generator: torch.Generator) -> Any:
    """LLaVA around the two parts: their weights copied, the rest drawn from the generator.

    The projector reads the encoder's last block, and every token of it ("full"): a classifier keeps what it knows in
    its class token, which LLaVA's usual setting drops.
    """
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    words, unembedding = language.get_input_embeddings().weight, language.get_output_embeddings().weight
    vocabulary = max(len(tokenizer), len(words))  # some models have more rows than words
    text_config = type(language.config)(**language.config.to_dict() | {"vocab_size": vocabulary})
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=text_config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=image_tokens,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    model = LlavaForConditionalGeneration(config).eval()
    model.model.vision_tower.load_state_dict(tower.state_dict())
    for parameter in model.model.multi_modal_projector.parameters():
        _draw(parameter, generator)
    weights = {
        name: _lengthen(value, vocabulary, generator) if value is words else value
        for name, value in language.base_model.state_dict(keep_vars=True).items()
    }
    model.model.language_model.load_state_dict(weights)
    model.lm_head.load_state_dict({"weight": _lengthen(unembedding, vocabulary, generator)})
    return model


def _draw(parameter: torch.Tensor, generator: torch.Generator) -> None:
    """Matrices N(0, 1/fan_in), biases 0, in place."""
    import torch

    with torch.no_grad():
        parameter.zero_()
        if parameter.ndim > 1:
            parameter.normal_(std=parameter.shape[1] ** -0.5, generator=generator)


def _lengthen(matrix: torch.Tensor, rows: int, generator: torch.Generator) -> torch.Tensor:
    """The matrix with rows added up to `rows`, as spread as its own are."""
    import torch

    new = torch.randn(rows - len(matrix), matrix.shape[1], generator=generator) * matrix.detach().std()
    return torch.cat([matrix.detach(), new])


def _match_scale(model: Any, states: torch.Tensor) -> None:
    """Scale the projector so that visual tokens enter the language model as large as its word embeddings are."""
    import torch

    projector = model.model.multi_modal_projector
    with torch.no_grad():
        words = model.get_input_embeddings().weight.square().mean().sqrt()
        projector.linear_2.weight *= words / projector(states).square().mean().sqrt()


def _save(model: Any, tokenizer: Any, image_processor: Any, additional_tokens: int, out: Path) -> None:
    from transformers import LlavaProcessor

    processor = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=model.config.vision_config.patch_size,
        vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE_TOKEN,
        num_additional_image_tokens=additional_tokens,
    )
    try:
        model.save_pretrained(out)
        processor.save_pretrained(out)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error}") from error


if __name__ == "__main__":
    sys.exit(main("python examples/assemble_llava.py", {"assemble": Command(Assemble, assemble)}, "assemble"))
