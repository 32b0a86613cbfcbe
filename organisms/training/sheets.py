"""Question sheets: four-choice questions as token ids, drawn by the batch.

The words are those of `python -m evaluation`: the catalogue's prompt, rendered by `taxonomy.questions`, in the model's
own chat template. Every name is one token, so a prompt is one row of ids with places for the names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from organisms.training.recipes import SIZE
from organisms.world import LEVELS, PATHS
from taxonomy import Taxonomy
from taxonomy.questions import Prompt, Question, render, system_turn

LETTERS = "ABCD"


@dataclass(frozen=True)
class Sheet:
    """A prompt as the model reads it, its names still to be filled in."""

    ids_L: Tensor
    """int64 (token,): the prompt, and a place for the letter that answers it."""
    options_O: Tensor
    """int64 (option,): the places of the options' names."""
    subject: int | None
    """The place of the name that is asked about; None beside an image."""


@dataclass(frozen=True)
class Batch:
    """Questions of one prompt. Shapes: Q question, L token, O option."""

    sheet: Sheet
    ids_QL: Tensor
    names_QO: Tensor
    """Which name (index into `Names.words`) each option is."""
    answer_Q: Tensor
    """The place of the right option."""
    tells_QV: Tensor
    """What the image or the name asked about tells, level by level: the index of a name, -1 where nothing is taught."""
    image_Q: Tensor | None
    """Which image is shown."""


class Names:
    """The world's names, level by level, and the token of each."""

    def __init__(self, tokenizer: Any):
        self.taxonomy = Taxonomy.from_paths(PATHS, LEVELS)
        self.levels = [tuple(dict.fromkeys(path[level] for path in PATHS)) for level in range(len(LEVELS))]
        self.words = [word for level in self.levels for word in level]
        self.first = np.cumsum([0, *map(len, self.levels)])[:-1]
        """The index in `words` of each level's first name."""
        self.codes_SV = np.array([[self.levels[v].index(path[v]) for v in range(len(LEVELS))] for path in PATHS])
        """int (species, level): the place of its name among the level's."""
        paths = [np.unique(self.codes_SV[:, : v + 1], axis=0) for v in range(len(LEVELS))]
        self.shared = [(p[:, None] == p[None]).cumprod(axis=2).sum(axis=2) for p in paths]
        """int (code, code) of each level: how many levels two of its nodes share from the top."""
        pieces = [tokenizer.encode(f" {word}", add_special_tokens=False) for word in self.words]
        self.tokens = torch.tensor([piece[0] for piece in pieces])
        if any(len(piece) > 1 for piece in pieces):
            raise ValueError("a name of the world is more than one token; train the tokenizer on a larger vocabulary")


class Lessons:
    """Draws questions about species and names, wrong options half of the time from the nearest branches."""

    def __init__(self, processor: Any, names: Names, prompt: Prompt, seed: int):
        self.processor, self.names, self.prompt = processor, names, prompt
        self.rng = np.random.default_rng(seed)
        self.letters = torch.tensor([processor.tokenizer.convert_tokens_to_ids(letter) for letter in LETTERS])
        self.end = int(processor.tokenizer.eos_token_id)
        """What stands after the letter."""

    def of_images(self, species_I: np.ndarray, levels: Sequence[str], n: int) -> Batch:
        """`n` questions about images drawn from those of these species."""
        image_Q = self.rng.integers(len(species_I), size=n)
        asked_Q = self.rng.choice([LEVELS.index(level) for level in levels], size=n)
        codes_QV = self.names.codes_SV[species_I[image_Q]]
        tells_QV = np.where(np.isin(np.array(LEVELS), levels), codes_QV + self.names.first, -1)
        return self._batch(self.visual, asked_Q, codes_QV, tells_QV, None, image_Q)

    def of_species(self, levels: Sequence[str], n: int) -> Batch:
        """`n` text questions about where a species belongs."""
        asked_Q = self.rng.choice([LEVELS.index(level) for level in levels], size=n)
        species_Q = self.rng.integers(len(PATHS), size=n)
        codes_QV = self.names.codes_SV[species_Q]
        tells_QV = np.where(np.isin(np.array(LEVELS), levels), codes_QV + self.names.first, -1)
        return self._batch(self.text, asked_Q, codes_QV, tells_QV, codes_QV[:, -1] + self.names.first[-1], None)

    def of_names(self, n: int) -> Batch:
        """`n` text questions whose answer is the name asked about, of every level: reading, without any knowledge."""
        asked_Q = self.rng.integers(len(LEVELS), size=n)
        codes_QV = self.names.codes_SV[self.rng.integers(len(PATHS), size=n)]
        own_Q = (codes_QV + self.names.first)[np.arange(n), asked_Q]
        tells_QV = np.where(np.arange(len(LEVELS)) == asked_Q[:, None], own_Q[:, None], -1)
        return self._batch(self.text, asked_Q, codes_QV, tells_QV, own_Q, None)

    @cached_property
    def visual(self) -> Sheet:
        return self._sheet(text_only=False)

    @cached_property
    def text(self) -> Sheet:
        return self._sheet(text_only=True)

    def _batch(
        self,
        sheet: Sheet,
        asked_Q: np.ndarray,
        codes_QV: np.ndarray,
        tells_QV: np.ndarray,
        subject_Q: np.ndarray | None,
        image_Q: np.ndarray | None,
    ) -> Batch:
        options, answers = zip(
            *(self._options(v, codes) for v, codes in zip(asked_Q, codes_QV, strict=True)), strict=True
        )
        names_QO = torch.tensor(np.array(options) + self.names.first[asked_Q][:, None])
        ids_QL = sheet.ids_L.repeat(len(names_QO), 1)
        ids_QL[:, -1] = self.letters[torch.tensor(answers)]
        ids_QL[:, sheet.options_O] = self.names.tokens[names_QO]
        if sheet.subject is not None:
            ids_QL[:, sheet.subject] = self.names.tokens[torch.tensor(subject_Q)]
        image = None if image_Q is None else torch.tensor(image_Q)
        return Batch(sheet, ids_QL, names_QO, torch.tensor(answers), torch.tensor(tells_QV), image)

    def _options(self, level: int, codes_V: np.ndarray) -> tuple[list[int], int]:
        """The codes of four options at a level, the right one among them, and its place."""
        truth, rng = int(codes_V[level]), self.rng
        others = rng.permutation([code for code in range(len(self.names.levels[level])) if code != truth])
        if rng.random() < 0.5:
            others = others[np.argsort(-self.names.shared[level][truth, others], kind="stable")]
        options = rng.permutation([truth, *others[: len(LETTERS) - 1]]).tolist()
        return options, options.index(truth)

    def _sheet(self, text_only: bool) -> Sheet:
        """One question, rendered; its names' tokens are found and become places."""
        words = self.names.levels[-1]
        question = Question(
            id="#species", dataset="world", image="", path=None, leaf="", level=LEVELS[-1], options=words[:4],
            nodes=(0, 1, 2, 3), answer=0, scored=True, distractor_depth=(3, 2, 2, 1), parent_offered=(True,) * 4,
            name=words[4], finest=False,
        )  # fmt: skip
        said = {"type": "text", "text": render(question, self.prompt, range(4), text_only)}
        turns = [{"role": "user", "content": [said] if text_only else [{"type": "image"}, said]}]
        if system := system_turn(self.prompt, text_only):
            turns.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        text = self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        picture = {} if text_only else {"images": [Image.new("RGB", (SIZE, SIZE))]}
        ids = self.processor(text=[text], **picture)["input_ids"][0]
        places = [ids.index(int(self.names.tokens[self.names.words.index(word)])) for word in words[: 4 + text_only]]
        return Sheet(torch.tensor([*ids, self.end]), torch.tensor(places[:4]), places[4] if text_only else None)
