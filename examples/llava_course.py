"""How a LLaVA whose encoder stays as it is learns to answer four-choice questions: three stages, each on the last.

Shape suffixes: I image, T visual token, F encoder's width, D decoder's width, Q question, S next-token logit, L token,
O option, V level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import DynamicCache

from commandline import InputError

if TYPE_CHECKING:
    from taxonomy.questions.prompts import Prompt
    from taxonomy.questions.question import Question

QUESTIONS = 8
"""Questions of an image in a step."""
SHOWN = {"names": 64, "short": 15, "whole": 31}
"""Visual tokens of each stage, drawn anew in every step, beside the first (the class token, where there is one)."""
LAST = 1 / 3
"""The share of stage 3 that sees all of them."""
ALIGNED = 2
"""The decoder block behind which visual tokens and options are to tell their names."""
SHARPNESS = 8.0


@dataclass(frozen=True)
class Sheet:
    """A question as the model reads it after the image."""

    before: list[int]
    """What stands before the image, the same in every question."""
    ids: list[int]
    """What follows it. The right letter is the last one."""
    ends: list[int]
    """The token at which each option's line ends."""
    names: list[int]
    """Which name each option is."""
    answer: int


class Course:
    """A model in training."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        images: dict[str, list[Question]],
        features_ITF: Tensor,
        generator: torch.Generator,
    ) -> None:

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
        self.end = self.tokenizer.eos_token_id
        lacking = [token for token in (*self.letters, self.end) if token in (None, self.tokenizer.unk_token_id)]
        if lacking:
            raise InputError("the language model's tokenizer lacks A, B, C or D as tokens, or one that ends a text")

    def learn_names(self, steps: int) -> None:
        """Stage 1."""

        optimiser = torch.optim.AdamW([*self.projector.parameters(), self.name_head], weight_decay=0.5)
        for step in _bar(range(steps), "names"):
            images = self._draw(50)
            visual_ITD = self.projector(self.features_ITF[images][:, self._shown("names")])
            loss = self._naming(visual_ITD.mean(1), self.truth_IV[images])
            _step(optimiser, loss, 3e-3 * min(1, (step + 1) / 20) * (1.02 - step / steps))

    def learn_letters(self, short: Prompt, whole: Prompt, short_steps: int, steps: int, learning_rate: float) -> None:
        """Stages 2 and 3."""

        learned = [self.decoder, self.projector, self.model.lm_head, self.right_head]
        parameters = [self.name_head, *(p for part in learned for p in part.parameters())]
        optimiser = torch.optim.AdamW(parameters, weight_decay=0.01, betas=(0.9, 0.98))
        bar = _bar(range(short_steps + steps), "questions")
        for step in bar:
            stage = "short" if step < short_steps else "whole" if step < short_steps + (1 - LAST) * steps else "all"
            loss, right = self._loss(short if stage == "short" else whole, self._shown(stage))
            fall = 0.515 + 0.485 * math.cos(math.pi * step / (short_steps + steps))
            _step(optimiser, loss, learning_rate * min(1, (step + 1) / 30) * fall, parameters)
            bar.set_postfix(right=f"{right:.2f}")

    def _shown(self, stage: str) -> Tensor:
        """Which visual tokens a step sees, in their order."""

        rest = torch.randperm(self.features_ITF.shape[1] - 1, generator=self.generator)
        some = rest[: SHOWN.get(stage, len(rest))].sort().values
        return torch.cat([torch.zeros(1, dtype=torch.int64), 1 + some])

    def _loss(self, prompt: Prompt, shown: Tensor) -> tuple[Tensor, float]:
        """What a step learns, and the share of its letters that are right."""

        images = self._draw(8)
        sheets = [sheet for image in images.tolist() for sheet in self._sheets(image, prompt)]
        letter_QS, end_QS, right_QO, named_QOD, visual_ID = self._forward(images, sheets, shown)
        answer_Q = torch.tensor([sheet.answer for sheet in sheets])
        letter_Q = torch.tensor(self.letters)[answer_Q]
        end_Q = torch.full_like(answer_Q, self.end)
        names_QO = torch.tensor([sheet.names for sheet in sheets])
        naming = cross_entropy(self._names(named_QOD).flatten(0, 1), names_QO.flatten())
        seeing = self._naming(visual_ID, self.truth_IV[images])
        said = cross_entropy(letter_QS, letter_Q) + 0.1 * cross_entropy(end_QS, end_Q)
        loss = said + cross_entropy(right_QO, answer_Q) + naming + seeing
        return loss, float((letter_QS[:, self.letters].argmax(1) == answer_Q).float().mean())

    def _forward(self, images: Tensor, sheets: Sequence[Sheet], shown_T: Tensor) -> tuple[Tensor, ...]:
        """Next-token logits where the letter is due (Q, S) and behind it (Q, S), what options say of being right (Q, O)
        and of their names (Q, O, D), and what visual tokens say (I, D).

        The image's keys and values are computed once for all its questions.
        """

        features_ITF = self.features_ITF[images]
        tokens = features_ITF.shape[1]
        embed, cache = self.decoder.get_input_embeddings(), DynamicCache()
        start = embed(torch.tensor(sheets[0].before, dtype=torch.int64).expand(len(images), -1))
        first = start.shape[1]
        before = self.decoder(
            inputs_embeds=torch.cat([start, self.projector(features_ITF[:, shown_T])], 1),
            position_ids=torch.cat([torch.arange(first), first + shown_T]).expand(len(images), -1),
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=True,
        )
        cache.batch_repeat_interleave(len(sheets) // len(images))
        length = max(len(sheet.ids) for sheet in sheets)
        ids_QL = torch.tensor([sheet.ids + [0] * (length - len(sheet.ids)) for sheet in sheets])
        after = self.decoder(
            inputs_embeds=embed(ids_QL),  # causal: what pads the right end is seen by nobody
            position_ids=(first + tokens + torch.arange(length)).expand(len(sheets), -1),
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=True,
        )
        row_Q = torch.arange(len(sheets))
        ends_QO = torch.tensor([sheet.ends for sheet in sheets])
        letter_Q = torch.tensor([len(sheet.ids) - 1 for sheet in sheets])
        return (
            self.model.lm_head(after.last_hidden_state[row_Q, letter_Q - 1]),
            self.model.lm_head(after.last_hidden_state[row_Q, letter_Q]),
            self.right_head(after.hidden_states[-2][row_Q[:, None], ends_QO])[..., 0],
            after.hidden_states[ALIGNED][row_Q[:, None], ends_QO],
            before.hidden_states[ALIGNED][:, first:].mean(1),
        )

    def _sheets(self, image: int, prompt: Prompt) -> Iterator[Sheet]:
        """Questions of an image, drawn, options in an order that is drawn too; as many of every level as there is
        room for."""

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
        answer = order.index(question.answer)
        return Sheet(
            found.input_ids[: first - 1], [*found.input_ids[first:], self.letters[answer]], ends, names, answer
        )

    def _naming(self, visual_ID: Tensor, truth_IV: Tensor) -> Tensor:
        """Cross-entropy of the names at every level, its mean over levels."""

        scores = self._names(visual_ID)
        losses = []
        for level, codes in enumerate(self.levels):
            place = truth_IV[:, level] - codes[0]  # the names of a level are neighbours
            losses.append(cross_entropy(scores[:, codes], place.masked_fill(truth_IV[:, level] < 0, -100)))
        return sum(losses, scores.new_zeros(())) / len(losses)

    def _names(self, states: Tensor) -> Tensor:

        return SHARPNESS * normalize(states, dim=-1) @ self.name_head.T

    def _draw(self, count: int) -> Tensor:

        return torch.randperm(len(self.questions), generator=self.generator)[:count]


def _step(optimiser: Any, loss: Tensor, rate: float, clipped: Sequence[Tensor] = ()) -> None:

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
