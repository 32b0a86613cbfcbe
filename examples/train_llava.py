r"""Teach an assembled LLaVA to answer four-choice questions about images; its encoder stays as it is.

    python examples/assemble_llava.py --vision models/vit --language models/llama --out models/llava
    python -m taxonomy questions --images photographs/labels.csv --splits train \
        --distractors random --output runs/random.parquet
    python -m taxonomy questions --images photographs/labels.csv --splits train \
        --distractors sibling --output runs/sibling.parquet
    python examples/train_llava.py --model models/llava --images photographs \
        --questions runs/random.parquet,runs/sibling.parquet --out models/llava-birds

The projector and the language model learn in three stages, each starting where the one before ended:

1. names: the projector alone, so that the mean visual token tells the names of every level apart;
2. short questions: only level and options are written, and a few visual tokens shown, which is a quarter of the work;
3. whole questions: as they will be asked (`--prompt`), beside a sixth of the image, and at last beside all of it.

Beside the letter, stages 2 and 3 learn three things that a small model does not find by itself from letters: what the
visual tokens show, which name each option is, and which option is right, read at the end of its line. Their heads are
thrown away. Nothing is ever seen of images outside of the banks, nor of names that do not occur in them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat, PositiveInt

from commandline import Command, Config, InputError, Names, main

if TYPE_CHECKING:
    from torch import Tensor

    from taxonomy.questions.question import Question


class TrainLlava(Config):
    """Train the projector and the language model of an assembled LLaVA on a bank's questions."""

    model: Path
    """Folder of the checkpoint that examples/assemble_llava.py wrote."""
    questions: Names = None
    """Banks of the training images, as `python -m taxonomy questions` writes them."""
    images: Path
    """The folder the banks' image paths start from."""
    out: Path
    """Folder to write; it becomes a checkpoint that `from_pretrained` reads."""
    prompt: str = "cub-0"
    """The prompt of the catalogue that questions are asked with."""
    name_steps: PositiveInt = 1600
    """Steps of stage 1, of 50 images."""
    short_steps: PositiveInt = 500
    """Steps of stage 2, of 8 images with 8 questions each."""
    steps: PositiveInt = 450
    """Steps of stage 3, likewise."""
    learning_rate: PositiveFloat = 3e-3
    """The largest; it rises for 30 steps, and falls as a cosine over stages 2 and 3."""
    seed: int = 0
    """Of everything drawn."""


def train(config: TrainLlava) -> None:
    """Write the trained checkpoint. Raises InputError, before any training, for what cannot be trained on."""
    import torch
    from llava_course import Course

    from taxonomy.questions.prompts import Prompt, prompts

    if not config.questions:
        raise InputError("name the banks to train on (--questions runs/random.parquet,runs/sibling.parquet)")
    if config.out.resolve() == config.model.resolve():
        raise InputError(f"--out {config.out} is the model itself; give another folder")
    known = prompts()
    if config.prompt not in known:
        raise InputError(f"--prompt {config.prompt!r} is not in the catalogue; it has {', '.join(known)}")
    model, processor = _load(config.model)
    images = _images(config.questions)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        course = Course(model, processor, images, _features(model, processor, config.images, list(images)), generator)
        course.learn_names(config.name_steps)
        short = Prompt("short", "{level}", ending=".")
        course.learn_letters(short, known[config.prompt], config.short_steps, config.steps, config.learning_rate)
    model.save_pretrained(config.out)
    processor.save_pretrained(config.out)
    print(config.out)


def _load(folder: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if not (folder / "config.json").is_file():
        raise InputError(f"--model {folder}: no checkpoint there; examples/assemble_llava.py makes one")
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    settings = (
        getattr(model.config, "vision_feature_layer", None),
        getattr(model.config, "vision_feature_select_strategy", None),
    )
    if settings != (-1, "full"):
        raise InputError(f"--model {folder}: not a LLaVA that reads its encoder's last block in full")
    return model, AutoProcessor.from_pretrained(folder)


def _images(banks: Sequence[str]) -> dict[str, list[Question]]:
    """The questions of every image file; those of levels with fewer than four names are left out."""
    from taxonomy.questions import Bank

    found: dict[str, list[Question]] = {}
    for path in banks:
        for question in Bank.open(path).questions():
            if question.path is None:
                raise InputError(f"{path}: the question {question.id!r} has no image file; train on a bank of images")
            if len(question.options) == 4:
                found.setdefault(question.path, []).append(question)
    return found


def _features(model: Any, processor: Any, root: Path, paths: Sequence[str]) -> Tensor:
    """The encoder's last block (image, token, feature), which training never changes."""
    import torch
    from PIL import Image
    from tqdm import tqdm

    parts = []
    for start in tqdm(range(0, len(paths), 25), "encoding", unit="batch"):
        pictures = []
        for path in paths[start : start + 25]:
            try:
                with Image.open(root / path) as picture:
                    pictures.append(picture.convert("RGB"))
            except OSError as error:
                raise InputError(f"{root / path}: cannot be read as an image ({error})") from error
        pixels = processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            parts.append(model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1])
    return torch.cat(parts)


if __name__ == "__main__":
    sys.exit(main("python examples/train_llava.py", {"train": Command(TrainLlava, train)}, "train"))
