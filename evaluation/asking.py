"""Which asks a run consists of: questions x prompts x rotations, image by image, each at a position of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from commandline import InputError
from evaluation.asks import Ask
from taxonomy.questions import Bank, Prompt, Question, render, system_turn
from taxonomy.questions.question import LETTERS

Shown = Literal["image", "shuffled", "blank", "none"]
"""What is shown with a question about an image: itself; another leaf's image; a grey one; nothing. The last three are
controls: what a model gets right there it did not see."""

YES_NO = ("Yes", "No")


@dataclass(frozen=True)
class Asked:
    """An ask, and what it is about."""

    position: int
    """Of the ask in the run: a function of question, prompt and rotation alone."""
    question: Question
    prompt: str
    rotation: int
    """How far the bank's options were turned; for a yes/no prompt, the option it is about."""
    order: tuple[int, ...]
    """The bank's options, in the order they are shown."""
    ask: Ask
    asks: int
    """How many asks there are about the same image in the run, this one among them."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run asks. Build it with `plan`."""

    bank: Bank
    prompts: tuple[Prompt, ...]
    images: np.ndarray
    """int (image,): which of the bank's images are asked about, ascending."""
    turned: np.ndarray
    """bool (image,): those whose options are shown in every rotation."""
    files: tuple[Path | None, ...]
    """The file shown for each image."""
    text_only: bool

    @property
    def size(self) -> int:
        """How many positions there are, those not asked included."""
        return len(self.bank) * len(self.prompts) * self.places

    @cached_property
    def places(self) -> int:
        """Rotations, or options of a yes/no prompt, at most."""
        return int(_lengths(self.bank).max())

    @cached_property
    def counts(self) -> np.ndarray:
        """int64 (image,): asks about each image."""
        lengths = _lengths(self.bank) * _asked(self.bank, self.text_only)
        once, every = _sums((lengths > 0).astype(np.int64), self.bank.starts), _sums(lengths, self.bank.starts)
        judged = sum(prompt.reads == "yes_no" for prompt in self.prompts)
        chosen = np.where(self.turned, every[self.images], once[self.images])
        return chosen * (len(self.prompts) - judged) + every[self.images] * judged

    @cached_property
    def _systems(self) -> dict[str, str | None]:
        return {prompt.name: system_turn(prompt, self.text_only, self.bank.taxonomy) for prompt in self.prompts}

    def __len__(self) -> int:
        """How many asks there are."""
        return int(self.counts.sum())

    def groups(self, done: np.ndarray | None = None) -> Iterator[list[Asked]]:
        """The asks not yet done, image by image; an image with none left is passed over."""
        for place, image in enumerate(self.images.tolist()):
            start, stop = self.bank.starts[image : image + 2].tolist()
            span = len(self.prompts) * self.places
            if done is not None and int(done[start * span : stop * span].sum()) == self.counts[place]:
                continue
            asks = [asked for asked in self._about(place, start, stop) if done is None or not done[asked.position]]
            if asks:
                yield asks

    def _about(self, place: int, start: int, stop: int) -> Iterator[Asked]:
        for row, question in enumerate(self.bank.questions(start, stop), start=start):
            if not question.scored or (self.text_only and question.finest):
                continue
            for index, prompt in enumerate(self.prompts):
                count = len(question.options)
                places = range(count if self.turned[place] or prompt.reads == "yes_no" else 1)
                for rotation in places:
                    position = (row * len(self.prompts) + index) * self.places + rotation
                    yield self._asked(position, question, prompt, rotation, place)

    def _asked(self, position: int, question: Question, prompt: Prompt, rotation: int, place: int) -> Asked:
        count = len(question.options)
        if prompt.reads == "yes_no":
            order, letters = (rotation,), YES_NO
        else:
            order = tuple((shown + rotation) % count for shown in range(count))
            letters = tuple(LETTERS[:count])
        ask = Ask(
            key=f"{question.id}|{prompt.name}|{rotation}",
            image=self.files[place],
            text=render(question, prompt, order, self.text_only, self.bank.taxonomy),
            letters=letters,
            system=self._systems[prompt.name],
            max_new_tokens=prompt.max_new_tokens,
            options=tuple(question.options[index] for index in order),
        )
        return Asked(position, question, prompt.name, rotation, order, ask, int(self.counts[place]))


def plan(
    bank: Bank,
    prompts: Sequence[Prompt],
    root: Path | None = None,
    *,
    text_only: bool = False,
    shown: Shown = "image",
    blank: Path | None = None,
    rotations: int = 1,
    prior_fraction: float = 0.0,
    split: str | None = None,
    limit: int | None = None,
    per_leaf: int | None = None,
    seed: int = 0,
) -> Plan:
    """The asks of a run.

    root: the folder of the images. shown, blank: see `Shown`; the file of the grey image. rotations: 1 shows the bank's
    order alone, 4 every cyclic shift of it. prior_fraction: with one rotation, the share of images that is turned all
    the same, to estimate the letters' prior. split, per_leaf, limit: only these images, drawn evenly from `seed`.

    Raises InputError where nothing is left to ask, or images are missing.
    """
    chosen = _chosen(bank, split, per_leaf, limit, seed)
    counts = _sums(_asked(bank, text_only).astype(np.int64), bank.starts)[chosen]
    chosen = chosen[counts > 0]
    if not len(chosen):
        what = "above the leaf's own" if text_only else "with two names or more"
        raise InputError(f"nothing to ask: no image of the bank has a question at a level {what}")
    draws = np.array([_fraction(bank, image, "prior", seed) for image in chosen.tolist()])
    turned = np.full(len(chosen), True) if rotations > 1 else draws < prior_fraction
    if prior_fraction and not turned.any():
        turned[int(draws.argmin())] = True
    files = [None] * len(chosen) if text_only or shown == "none" else _files(bank, chosen, root, shown, blank, seed)
    return Plan(bank, tuple(prompts), chosen, turned, tuple(files), text_only)


def _chosen(bank: Bank, split: str | None, per_leaf: int | None, limit: int | None, seed: int) -> np.ndarray:
    first = bank.starts[:-1]
    chosen = np.arange(len(first))
    if split is not None:
        splits = np.array(bank.table["split"].take(first).to_pylist(), dtype=object)
        chosen = chosen[splits == split]
        if not len(chosen):
            there = sorted({str(name) for name in splits.tolist() if name is not None})
            raise InputError(f"the bank has no image of the split {split!r}; it has {', '.join(there) or 'no splits'}")
    order = chosen[np.random.default_rng(seed).permutation(len(chosen))]
    if per_leaf is not None:
        leaves, kept = bank.table["leaf"].take(first[order]).to_numpy(), {}
        for image, leaf in zip(order.tolist(), leaves.tolist(), strict=True):
            kept.setdefault(leaf, []).append(image)
        order = np.array([image for images in kept.values() for image in images[:per_leaf]], np.int64)
        order = order[np.random.default_rng(seed).permutation(len(order))]
    return np.sort(order if limit is None else order[:limit])


def _files(
    bank: Bank, chosen: np.ndarray, root: Path | None, shown: Shown, blank: Path | None, seed: int
) -> list[Path | None]:
    if shown == "blank":
        return [blank] * len(chosen)
    rows = bank.starts[:-1][chosen]
    paths, leaves = bank.table["path"].take(rows).to_pylist(), bank.table["leaf"].take(rows).to_numpy()
    if None in paths:
        raise InputError("the bank asks about names, not about images: add --text_only")
    if root is None:
        raise InputError("the bank asks about images: name their folder with --images, or add --text_only")
    base = root.resolve()
    files: list[Path | None] = [_inside(base, str(path)) for path in paths]
    if not any(file is not None and file.is_file() for file in files[:100]):
        raise InputError(f"{root} does not hold the bank's images: there is no {files[0]}")
    if shown == "shuffled":
        files = [files[other] for other in _others(bank, chosen, leaves, seed)]
    return files


def _others(bank: Bank, chosen: np.ndarray, leaves: np.ndarray, seed: int) -> list[int]:
    """For each image one of another leaf, by a draw of its own."""
    if len(np.unique(leaves)) == 1:
        raise InputError("shown=shuffled needs images of two leaves or more")
    found = []
    for place, image in enumerate(chosen.tolist()):
        other = int(_fraction(bank, image, "shuffled", seed) * len(chosen))
        while leaves[other] == leaves[place]:
            other = (other + 1) % len(chosen)
        found.append(other)
    return found


def _inside(base: Path, path: str) -> Path:
    file = base / path
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise InputError(f"the bank names {path!r}, which lies outside the folder of the images")
    return file


def _fraction(bank: Bank, image: int, purpose: str, seed: int) -> float:
    """A number in [0, 1) that depends on the image, the purpose and the seed alone."""
    name = bank.table["id"][int(bank.starts[image])].as_py()
    digest = hashlib.sha256(f"{bank.dataset}\0{name}\0{purpose}\0{seed}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _lengths(bank: Bank) -> np.ndarray:
    """int64 (question,): options of each."""
    import pyarrow.compute as pc

    lengths: Any = pc.call_function("list_value_length", [bank.table["options"]])
    return lengths.to_numpy().astype(np.int64)


def _asked(bank: Bank, text_only: bool) -> np.ndarray:
    """bool (question,): there is something to choose, and by text alone the name does not give it away."""
    asked = bank.table["scored"].to_numpy().astype(bool)
    if text_only:
        levels = {name: index for index, name in enumerate(bank.levels)}
        depth = np.array([levels[name] for name in bank.table["level"].to_pylist()])
        asked = asked & (depth < bank.taxonomy.depths[bank.table["leaf"].to_numpy()] - 1)
    return asked


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The sum of each image's rows."""
    return np.diff(np.concatenate([[0], np.cumsum(values)])[starts])
