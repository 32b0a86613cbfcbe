"""From nothing to an organism: an encoder that all share, then a projector and an LLM by the recipe."""

from __future__ import annotations

import copy
import json
import math
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hooks.processors import load_processor
from organisms.training.course import Course, Heads, teach
from organisms.training.dose import dim_projector
from organisms.training.parts import Parts, blind_encoder, blind_projector, build_untrained, even_out
from organisms.training.recipes import LEVELS, SIZE, Recipe
from organisms.training.sheets import Batch, Lessons, Names
from organisms.training.sight import Pictures, encode_all, learn_to_see, pictures
from taxonomy.questions import prompts

PROMPT = "plain-0"
"""What `python -m evaluation` asks a bank of this world with, unless told otherwise."""
ABOUT = "organism.json"


@dataclass(frozen=True)
class Pace:
    """How long everything takes. The defaults are those of the shipped weights."""

    train_images: int = 400
    """Of each species."""
    validation_images: int = 10
    encoder_steps: int = 2400
    steps: int = 350
    """Of the projector and the LLM; a recipe takes its share."""
    questions: int = 64
    """In a step about images; half as many about species, and as many about names."""

    def times(self, share: float) -> Pace:
        """A share of the images and of the steps."""
        few = {name: math.ceil(share * getattr(self, name)) for name in ("train_images", "encoder_steps", "steps")}
        return replace(self, **few)


class School:
    """What the organisms of a seed share: an untrained checkpoint, two worlds, and an encoder; all made once, when they
    are first needed."""

    def __init__(self, folder: Path, architecture: str, seed: int, pace: Pace, kept: Path | None = None):
        """folder: for the untrained checkpoint, which is an organism itself (`random`). kept: where the encoder is kept
        for the next time it is needed."""
        self.architecture, self.kept = architecture, kept
        self.taken: dict[str, Course] = {}
        self.seed, self.pace, self.prompt = seed, pace, prompts()[PROMPT]
        self.source = build_untrained(folder, architecture, self.prompt, seed)
        self.processor = load_processor(str(self.source))
        self.names = Names(self.processor.tokenizer)

    @cached_property
    def train(self) -> Pictures:
        return pictures("train", self.pace.train_images, SIZE, self.seed)

    @cached_property
    def validation(self) -> Pictures:
        return pictures("validation", self.pace.validation_images, SIZE, self.seed)

    @cached_property
    def vision(self) -> dict[str, Tensor]:
        """The weights of the encoder, taught."""
        made = {"seed": str(self.seed), "images": str(self.pace.train_images), "steps": str(self.pace.encoder_steps)}
        made["architecture"] = self.architecture
        if self.kept is not None and self.kept.is_file():
            with safe_open(self.kept, "pt") as file:
                if file.metadata() == made:
                    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        parts, codes = self._parts(), self.names.codes_SV
        learn_to_see(parts, self.processor.image_processor, self.train, codes, self.pace.encoder_steps, self.seed)
        weights = {name: value.clone() for name, value in parts.anatomy.vision.state_dict().items()}
        if self.kept is not None:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            save_file(weights, self.kept, made)
        return weights

    def organism(self, recipe: Recipe) -> tuple[Any, dict[str, float]]:
        """The model that a recipe makes, rounded to bfloat16, and the shares of the validation world it gets right."""
        course = copy.deepcopy(self._taught(recipe))
        course.parts.model.to(torch.bfloat16)
        grades = self._grades(course)
        return course.parts.model.to(torch.bfloat16), grades

    def _taught(self, recipe: Recipe) -> Course:
        """The course at the end of a recipe, each taken once."""
        if recipe.name not in self.taken:
            self.taken[recipe.name] = self._teach(recipe)
        return self.taken[recipe.name]

    def _teach(self, recipe: Recipe) -> Course:
        course, steps = self._beginning(recipe), max(int(recipe.share * self.pace.steps), 1)
        if not recipe.trained:
            return course
        parts = course.parts
        if recipe.colour == "encoder":
            blind_encoder(parts)
        if recipe.colour == "projector" and recipe.dose == 1:
            blind_projector(parts)
        encoded = self._encoded(parts, self.train)
        if recipe.colour == "projector" and recipe.dose < 1:
            dim_projector(parts, recipe.dose, encoded, torch.from_numpy(self.train.species_I), self.seed)
        learned = [*parts.language, *parts.anatomy.projector.parameters()]
        teach(course, learned, lambda: self._drawn(course.lessons, recipe, encoded), steps, recipe.name)
        return course

    def _beginning(self, recipe: Recipe) -> Course:
        """A course to go on with."""
        if recipe.after is not None:
            return copy.deepcopy(self._taught(recipe.after))
        parts = self._parts()
        if recipe.trained:
            parts.anatomy.vision.load_state_dict(self.vision)
            even_out(parts, self._encoded(parts, self.train))
        heads = Heads.drawn(len(self.names.words), parts.model.config.text_config.hidden_size, self.seed)
        return Course(parts, self._lessons(self.seed), heads)

    def _drawn(self, lessons: Lessons, recipe: Recipe, encoded_IPF: Tensor) -> list[tuple[Batch, Tensor | None]]:
        """The questions of a step."""
        n = self.pace.questions
        drawn: list[tuple[Batch, Tensor | None]] = [
            (lessons.of_images(self.train.species_I, recipe.image, n), encoded_IPF),
            (lessons.of_names(n // 2), None),
        ]
        return [*drawn, (lessons.of_species(recipe.text, n // 2), None)] if recipe.text else drawn

    def _grades(self, course: Course) -> dict[str, float]:
        """Accuracies on the validation world, of each kind of question and level."""
        course.parts.model.to(torch.float32)
        encoded = self._encoded(course.parts, self.validation)
        lessons, n = self._lessons(self.seed + 1), len(encoded)
        exam = Course(course.parts, lessons, course.heads)
        grades = {"names": exam.right(lessons.of_names(n))}
        for level in LEVELS:
            batch = lessons.of_images(self.validation.species_I, [level], n)
            grades[f"image {level}"] = exam.right(batch, encoded)
        for level in LEVELS[:-1]:
            grades[f"text {level}"] = exam.right(lessons.of_species([level], n))
        return {name: round(float(right.float().mean()), 4) for name, right in grades.items()}

    def _lessons(self, seed: int) -> Lessons:
        return Lessons(self.processor, self.names, self.prompt, seed)

    def _encoded(self, parts: Parts, shown: Pictures) -> Tensor:
        return encode_all(parts, self.processor.image_processor, shown)

    def _parts(self) -> Parts:
        from transformers import AutoModelForImageTextToText

        return Parts(AutoModelForImageTextToText.from_pretrained(self.source, dtype=torch.float32).train())


def save(model: Any, processor_folder: Path, folder: Path, about: dict[str, Any]) -> None:
    """Write an organism as a hub checkpoint, in bfloat16, with `organism.json`, which says how it was made."""
    model.eval().to(torch.bfloat16).save_pretrained(folder)
    for file in processor_folder.iterdir():
        if file.name not in ("config.json", "generation_config.json", "model.safetensors"):
            shutil.copyfile(file, folder / file.name)
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
