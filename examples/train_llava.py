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
3. whole questions: as they will be asked (`--prompt`), beside the whole image.

Beside the letter, stages 2 and 3 learn three things that a small model does not find by itself from letters: what the
visual tokens show, which name each option is, and which option is right, read at the end of its line. Their heads are
thrown away. Nothing is ever seen of images outside of the banks, nor of names that do not occur in them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat, PositiveInt

from commandline import Command, Config, InputError, Names, main

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from taxonomy.questions.prompts import Prompt
    from taxonomy.questions.question import Question

QUESTIONS = 8
"""Questions of an image in a step."""
SHOWN = 15
"""Visual tokens of stage 2, beside the first (the class token, where the encoder has one)."""
ALIGNED = 2
"""The decoder block behind which visual tokens and options are to tell their names."""
SHARPNESS = 8.0


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
    name_steps: PositiveInt = 800
    """Steps of stage 1, of 50 images."""
    short_steps: PositiveInt = 600
    """Steps of stage 2, of 8 images with 8 questions each."""
    steps: PositiveInt = 300
    """Steps of stage 3, likewise."""
    learning_rate: PositiveFloat = 3e-3
    """The largest; it rises for 30 steps, and falls as a cosine over stages 2 and 3."""
    seed: int = 0
    """Of everything drawn."""


def train(config: TrainLlava) -> None:
    """Write the trained checkpoint. Raises InputError, before any training, for what cannot be trained on."""
    import torch

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
    """The scored questions of every image file."""
    from taxonomy.questions import Bank

    found: dict[str, list[Question]] = {}
    for path in banks:
        for question in Bank.open(path).questions():
            if question.path is None:
                raise InputError(f"{path}: the question {question.id!r} has no image file; train on a bank of images")
            if question.scored:
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


@dataclass(frozen=True)
class Sheet:
    """A question as the model reads it after the image."""

    ids: list[int]
    ends: list[int]
    """The token at which each option's line ends."""
    names: list[int]
    """Which name each option is."""
    answer: int


class Course:
    """The model in training. Shapes: I image, T visual token, F encoder's width, Q question, L token, O option."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        images: dict[str, list[Question]],
        features_ITF: Tensor,
        generator: torch.Generator,
    ) -> None:
        import torch

        self.model, self.processor, self.tokenizer = model.train(), processor, processor.tokenizer
        self.questions, self.features_ITF, self.generator = list(images.values()), features_ITF, generator
        self.projector, self.decoder = model.model.multi_modal_projector, model.model.language_model
        width = model.config.text_config.hidden_size
        names = sorted({(q.level, name) for asked in self.questions for q in asked for name in q.options})
        self.name = {name: place for place, name in enumerate(names)}
        levels = sorted({level for level, _ in names})
        self.levels = [torch.tensor([self.name[n] for n in names if n[0] == level]) for level in levels]
        truth = [{q.level: self.name[q.level, q.options[q.answer]] for q in asked} for asked in self.questions]
        self.truth_IV = torch.tensor([[of.get(level, -1) for level in levels] for of in truth])
        self.name_head = torch.nn.Parameter(0.1 * torch.randn(len(names), width))
        self.right_head = torch.nn.Linear(width, 1)
        self.letters = [self.tokenizer.convert_tokens_to_ids(letter) for letter in "ABCD"]

    def learn_names(self, steps: int) -> None:
        """Stage 1."""
        import torch

        optimiser = torch.optim.AdamW([*self.projector.parameters(), self.name_head], weight_decay=0.05)
        for step in _bar(range(steps), "names"):
            images = self._draw(50)
            loss = self._naming(self.projector(self.features_ITF[images]).mean(1), self.truth_IV[images])
            _step(optimiser, loss, 3e-3 * min(1, (step + 1) / 20) * (1.02 - step / steps))

    def learn_letters(self, short: Prompt, whole: Prompt, short_steps: int, steps: int, learning_rate: float) -> None:
        """Stages 2 and 3."""
        import torch

        learned = [self.decoder, self.projector, self.model.lm_head, self.right_head]
        parameters = [self.name_head, *(p for part in learned for p in part.parameters())]
        optimiser = torch.optim.AdamW(parameters, weight_decay=0.01, betas=(0.9, 0.98))
        bar = _bar(range(short_steps + steps), "questions")
        for step in bar:
            shown = None
            if step < short_steps:
                rest = torch.randperm(self.features_ITF.shape[1] - 1, generator=self.generator)[:SHOWN]
                shown = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + rest.sort().values])
            loss, right = self._loss(short if step < short_steps else whole, shown)
            fall = 0.515 + 0.485 * math.cos(math.pi * step / (short_steps + steps))
            _step(optimiser, loss, learning_rate * min(1, (step + 1) / 30) * fall, parameters)
            bar.set_postfix(right=f"{right:.2f}")

    def _loss(self, prompt: Prompt, shown: Tensor | None) -> tuple[Tensor, float]:
        """What a step learns, and the share of its letters that are right."""
        import torch
        from torch.nn.functional import cross_entropy

        images = self._draw(8)
        sheets = [sheet for image in images.tolist() for sheet in self._sheets(image, prompt)]
        logits, right_QO, named_QOD, visual_ID = self._forward(images, sheets, shown)
        answer_Q = torch.tensor([sheet.answer for sheet in sheets])
        letter_Q = torch.tensor(self.letters)[answer_Q]
        names_QO = torch.tensor([sheet.names for sheet in sheets])
        naming = cross_entropy(self._names(named_QOD).flatten(0, 1), names_QO.flatten())
        seeing = self._naming(visual_ID, self.truth_IV[images])
        loss = cross_entropy(logits, letter_Q) + cross_entropy(right_QO, answer_Q) + naming + seeing
        return loss, float((logits[:, self.letters].argmax(1) == answer_Q).float().mean())

    def _forward(
        self, images: Tensor, sheets: Sequence[Sheet], shown: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Next-token logits (question, token), what options say of being right (question, option) and of their names
        (question, option, feature), and what visual tokens say (image, feature). The image's keys and values are
        computed once for all its questions."""
        import torch
        from transformers import DynamicCache

        features_ITF = self.features_ITF[images]
        tokens = features_ITF.shape[1]
        places_T = torch.arange(tokens) if shown is None else shown
        embed, cache = self.decoder.get_input_embeddings(), DynamicCache()
        start = embed(torch.full((len(images), 1), self.tokenizer.bos_token_id))
        before = self.decoder(
            inputs_embeds=torch.cat([start, self.projector(features_ITF[:, places_T])], 1),
            position_ids=torch.cat([torch.zeros(1, dtype=torch.int64), places_T + 1]).expand(len(images), -1),
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=True,
        )
        cache.batch_repeat_interleave(len(sheets) // len(images))
        length = max(len(sheet.ids) for sheet in sheets)
        ids_QL = torch.tensor([sheet.ids + [0] * (length - len(sheet.ids)) for sheet in sheets])
        after = self.decoder(
            inputs_embeds=embed(ids_QL),  # causal: what pads the right end is seen by nobody
            position_ids=(tokens + 1 + torch.arange(length)).expand(len(sheets), -1),
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=True,
        )
        row_Q = torch.arange(len(sheets))
        ends_QO = torch.tensor([sheet.ends for sheet in sheets])
        last_Q = torch.tensor([len(sheet.ids) - 1 for sheet in sheets])
        return (
            self.model.lm_head(after.last_hidden_state[row_Q, last_Q]),
            self.right_head(after.hidden_states[-2][row_Q[:, None], ends_QO])[..., 0],
            after.hidden_states[ALIGNED][row_Q[:, None], ends_QO],
            before.hidden_states[ALIGNED][:, 1:].mean(1),
        )

    def _sheets(self, image: int, prompt: Prompt) -> Iterator[Sheet]:
        """Questions of an image, drawn, options in an order that is drawn too; as many of every level as there is
        room for."""
        import torch

        asked = self.questions[image]
        order = torch.randperm(len(asked), generator=self.generator).tolist()
        by_level: dict[str, list[Question]] = {}
        for place in order:
            by_level.setdefault(asked[place].level, []).append(asked[place])
        for number in range(QUESTIONS):
            pool = list(by_level.values())[number % len(by_level)]
            question = pool[number // len(by_level) % len(pool)]
            yield self._sheet(
                question, prompt, torch.randperm(len(question.options), generator=self.generator).tolist()
            )

    def _sheet(self, question: Question, prompt: Prompt, order: list[int]) -> Sheet:
        from taxonomy.questions.prompts import render

        content = [{"type": "image"}, {"type": "text", "text": render(question, prompt, order, text_only=False)}]
        turns = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(turns, add_generation_prompt=True)
        found = self.tokenizer(text, return_offsets_mapping=True)
        first = found.input_ids.index(self.model.config.image_token_index) + 1
        ends, place = [], 0
        for index in order:  # an option's line ends where the next begins
            name = " ".join(question.options[index].splitlines())
            place = text.index(f". {name}\n", place) + len(name) + 2
            ends.append(
                next(t for t, (start, stop) in enumerate(found.offset_mapping) if start <= place < stop) - first
            )
        names = [self.name[question.level, question.options[index]] for index in order]
        return Sheet(found.input_ids[first:], ends, names, order.index(question.answer))

    def _naming(self, visual_ID: Tensor, truth_IV: Tensor) -> Tensor:
        """Cross-entropy of the names at every level, its mean over levels."""
        from torch.nn.functional import cross_entropy

        scores = self._names(visual_ID)
        losses = []
        for level, codes in enumerate(self.levels):
            place = truth_IV[:, level] - codes[0]  # the names of a level are neighbours
            losses.append(cross_entropy(scores[:, codes], place.masked_fill(truth_IV[:, level] < 0, -100)))
        return sum(losses, scores.new_zeros(())) / len(losses)

    def _names(self, states: Tensor) -> Tensor:
        from torch.nn.functional import normalize

        return SHARPNESS * normalize(states, dim=-1) @ self.name_head.T

    def _draw(self, count: int) -> Tensor:
        import torch

        return torch.randperm(len(self.questions), generator=self.generator)[:count]


def _step(optimiser: Any, loss: Tensor, rate: float, clipped: Sequence[Tensor] = ()) -> None:
    import torch

    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    if clipped:
        torch.nn.utils.clip_grad_norm_(clipped, 1.0)
    optimiser.step()


def _bar(steps: range, what: str) -> Any:
    from tqdm import tqdm

    return tqdm(steps, what, unit="step")


if __name__ == "__main__":
    sys.exit(main("python examples/train_llava.py", {"train": Command(TrainLlava, train)}, "train"))
