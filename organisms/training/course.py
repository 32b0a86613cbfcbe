"""Stage 2: a projector and an LLM that answer four-choice questions.

Beside the letter they learn three things that a small model does not find by itself from letters: which name each
option is, what the image (or the name asked about) tells, and which option is right, read where its name stands. The
heads of these are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from organisms.training.optimising import Schedule
from organisms.training.parts import Parts
from organisms.training.sheets import Batch, Lessons

ALIGNED = 2
"""The block behind which options and what is asked about are to tell their names."""
POINTED = -2
"""The state in which an option is to tell whether it is right: before the last block, which reads the letter off."""
SHARPNESS = 8.0


@dataclass
class Heads:
    """What is learned beside the model, and thrown away."""

    names: torch.nn.Parameter
    """(name, feature)"""
    right: torch.nn.Parameter
    """(feature,)"""

    @classmethod
    def drawn(cls, names: int, width: int, seed: int) -> Heads:
        generator = torch.Generator().manual_seed(seed)
        return cls(
            torch.nn.Parameter(0.1 * torch.randn(names, width, generator=generator)),
            torch.nn.Parameter(torch.randn(width, generator=generator) / width**0.5),
        )

    def tell(self, states: Tensor) -> Tensor:
        """Scores of every name (..., name) in states (..., feature)."""
        return SHARPNESS * normalize(states, dim=-1) @ self.names.T


@dataclass(frozen=True)
class Course:
    """A model, what it is taught with, and the heads."""

    parts: Parts
    lessons: Lessons
    heads: Heads

    def loss(self, batch: Batch, features_IPF: Tensor | None = None) -> tuple[Tensor, float]:
        """What a batch of questions teaches, and the share of its letters that are right."""
        states, visual_QTD = self._states(batch, features_IPF)
        letters = self.lessons.letters[batch.answer_Q]
        logits, ended = self.parts.model.lm_head(states[-1][:, -2:]).unbind(1)
        options_QOD = states[POINTED][:, batch.sheet.options_O]
        loss = cross_entropy(logits, letters) + cross_entropy(ended, torch.full_like(letters, self.lessons.end))
        loss = loss + cross_entropy(options_QOD @ self.heads.right, batch.answer_Q)
        named = self.heads.tell(states[ALIGNED][:, batch.sheet.options_O])
        loss = loss + cross_entropy(named.flatten(0, 1), batch.names_QO.flatten())
        if visual_QTD is None:
            told = states[ALIGNED][:, batch.sheet.subject]
        else:
            told = states[ALIGNED][:, self.parts.shown(batch)].mean(1)
        loss = loss + self._telling(told, batch.tells_QV)
        right = logits[:, self.lessons.letters].argmax(1) == batch.answer_Q
        return loss, float(right.float().mean())

    @torch.inference_mode()
    def right(self, batch: Batch, features_IPF: Tensor | None = None) -> Tensor:
        """bool (question,): whether the likeliest letter is the right one."""
        states, _ = self._states(batch, features_IPF)
        logits = self.parts.model.lm_head(states[-1][:, -2])
        return logits[:, self.lessons.letters].argmax(1) == batch.answer_Q

    def _states(self, batch: Batch, features_IPF: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor | None]:
        visual = None
        if batch.image_Q is not None and features_IPF is not None:
            visual = self.parts.anatomy.project(features_IPF[batch.image_Q])
        return self.parts.read(batch, visual), visual

    def _telling(self, states: Tensor, tells_QV: Tensor) -> Tensor:
        """Cross-entropy over the names of each level that is told, their mean."""
        scores, first = self.heads.tell(states), [*self.lessons.names.first.tolist(), len(self.lessons.names.words)]
        losses = []
        for level in range(tells_QV.shape[1]):
            truth = tells_QV[:, level]
            if (truth >= 0).any():
                own = scores[:, first[level] : first[level + 1]]
                losses.append(cross_entropy(own, (truth - first[level]).masked_fill(truth < 0, -100)))
        return torch.stack(losses).mean()


def teach(
    course: Course,
    learned: Sequence[torch.nn.Parameter],
    draw: Callable[[], Sequence[tuple[Batch, Tensor | None]]],
    steps: int,
    what: str,
    rate: float = 3e-3,
) -> None:
    """Steps over whatever batches `draw` gives, each with the images' features or None."""
    schedule = Schedule([*learned, course.heads.names, course.heads.right], steps, what, rate)
    for _ in schedule:
        losses, rights = zip(*(course.loss(batch, features) for batch, features in draw()), strict=True)
        schedule.step(torch.stack(losses).sum(), **{f"right{k}": right for k, right in enumerate(rights)})
