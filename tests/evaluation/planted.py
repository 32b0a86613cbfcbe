"""A bank of our own making, and something that answers it by a rule, so that every score is known."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evaluation.asking import Plan, plan
from evaluation.asks import Answer, Ask
from evaluation.config import AskConfig
from evaluation.run import run
from taxonomy import Taxonomy
from taxonomy.questions import Bank, Prompt

LEVELS = ("order", "family", "species")
PROMPT = Prompt("mine", "Which {level} is it?", text_only="Which {level} is {name}?", max_new_tokens=3)


def tree(counts: tuple[int, ...] = (2, 4, 12)) -> Taxonomy:
    paths = [
        [f"{level} {leaf * count // counts[-1]}" for level, count in zip(LEVELS, counts, strict=True)]
        for leaf in range(counts[-1])
    ]
    return Taxonomy.from_paths(paths, list(LEVELS))


def write_bank(folder: Path, per_leaf: int = 4, seed: int = 0, counts: tuple[int, ...] = (2, 4, 12)) -> Path:
    """An official file of questions, its taxonomy and its images (one grey each), all in `folder`."""
    found = tree(counts)
    found.to_json(folder / "tree.json")
    rng = np.random.default_rng(seed)
    lines = []
    for leaf, path in enumerate(found.paths):
        for number in range(per_leaf):
            image = f"photos/{leaf:02d}_{number}.jpg"
            row: dict[str, Any] = {"image": image, "label": path[-1], "split": "test" if number % 2 else "train"}
            for depth, name in enumerate(path):
                others = [other for other in found.names(depth) if other != name]
                drawn = [others[index] for index in rng.permutation(len(others))[:3]]
                options = [name, *drawn]
                row |= {
                    f"level{depth + 1}": name,
                    f"choices_level{depth + 1}": [options[index] for index in rng.permutation(len(options))],
                }
            lines.append(json.dumps(row))
            file = folder / image
            file.parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), (leaf, number, 0)).save(file)
    path = folder / "birds.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def open_bank(folder: Path) -> Bank:
    return Bank.open(folder / "birds.jsonl", tree_of(folder))


def tree_of(folder: Path) -> Taxonomy:
    return Taxonomy.from_json(folder / "tree.json")


def settings(folder: Path, **changes: Any) -> AskConfig:
    given: dict[str, Any] = {
        "model": "rule",
        "questions": str(folder / "birds.jsonl"),
        "taxonomy": str(folder / "tree.json"),
        "images": str(folder),
        "out": str(folder / "run"),
        "bootstrap": 200,
    }
    return AskConfig.model_validate(given | changes)


def asks_of(folder: Path, **options: Any) -> Plan:
    return plan(open_bank(folder), [PROMPT], folder, **options)


@dataclass
class RuleBackend:
    """Answers by a rule of the question alone, in an order of its own; writes down every key it was asked."""

    truths: dict[str, str]
    """The right option's name by question id."""
    right: float = 0.7
    """How often a question is answered rightly, the same way whenever it is asked."""
    letter_bonus: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    """What each letter's logit has of its own."""
    broken: frozenset[str] = frozenset()
    """Images that give errors."""
    log: Path | None = None
    pause: float = 0.0
    name: str = "rule"
    asked: list[str] = field(default_factory=list)

    @property
    def identity(self) -> dict[str, str | int | float | bool | None]:
        return {"rule": self.name, "right": self.right}

    def answer(self, groups: Sequence[Sequence[Ask]]) -> Iterator[Answer]:
        for group in reversed(groups):
            for ask in sorted(group, key=lambda ask: ask.text):
                yield self._one(ask)

    def _one(self, ask: Ask) -> Answer:
        self.asked.append(ask.key)
        if self.log:
            with self.log.open("a") as file:
                file.write(ask.key + "\n")
        time.sleep(self.pause)
        question = ask.key.split("|")[0]
        if question.split("#")[0] in self.broken:
            return Answer(ask.key, "", None, status="error", error="cannot be read")
        options = [line[3:] for line in ask.text.splitlines() if line[1:3] == ". " and line[0] in ask.letters]
        scores = np.array([self._liking(question, option) for option in options])
        scores += np.array(self.letter_bonus[: len(options)])
        letter = ask.letters[int(scores.argmax())]
        return Answer(ask.key, f"{letter}.", scores.astype(np.float32), tokens_in=len(ask.text), tokens_out=2)

    def _liking(self, question: str, option: str) -> float:
        """The right option is liked most, or least, by a draw of the question."""
        draw = _draw(question)
        if option == self.truths[question]:
            return 1.0 if draw < self.right else 0.0
        return 0.2 + 0.6 * _draw(question + option)


def _draw(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def truths(bank: Bank) -> dict[str, str]:
    return {question.id: question.options[question.answer] for question in bank.questions()}


def main(folder: str, log: str, pause: str) -> None:
    """A run in a process of its own, to be killed."""
    here = Path(folder)

    def opener(_config: AskConfig, asks: Plan) -> RuleBackend:
        return RuleBackend(truths(asks.bank), log=Path(log), pause=float(pause))

    run(settings(here, flush=7), opener)


if __name__ == "__main__":
    main(*sys.argv[1:])
