"""`python -m evaluation`: from a bank and a model to answers, and to what they are worth."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from commandline import InputError
from evaluation.asking import Asked, Plan, plan
from evaluation.asks import Backend
from evaluation.config import AskConfig, ZeroShotConfig
from evaluation.results import AnswerWriter, AskRun, begin, identify, only_writer, write_whole
from evaluation.tracked import answers_of
from hooks.fingerprints import files_stamp
from taxonomy.questions import Bank, Prompt, prompts
from tracking import own_folder, track

IMAGES_AT_ONCE = 32
"""Images whose asks are handed to a backend together: what it can batch by length or send at a time."""

PLAIN = Prompt("zero-shot", "Which of these is it?")
"""Stands for a prompt where the options' names are compared and none is read."""

Opener = Callable[[AskConfig, Plan], Backend]


def run(config: AskConfig, opener: Opener | None = None) -> None:
    """Ask, or go on asking, and print the scores. Raises InputError before any model is loaded where that can be seen.

    opener: what makes the backend; by default `evaluation.backends.choose.open_backend`.
    """
    from evaluation.backends.choose import check, open_backend
    from evaluation.report import report

    bank = open_bank(config)
    kind = check(config) if opener is None else None
    chosen = (PLAIN,) if kind == "dual" else choose_prompts(config, bank)
    out = Path(config.out) if config.out else own_folder(default_out(config))
    asks = planned(config, bank, chosen, out)
    with only_writer(out):
        found = begin(out, settings_of(config, bank, chosen), bank.taxonomy, about(config, asks))
        if config.shown == "blank":
            _write_blank(out / BLANK)
        done = found.done(asks.size, config.retry_errors)
        # Nothing is left to ask, and the files are those of last time: no model need be loaded to know it is the same.
        if int(done.sum()) < len(asks) or found.record["about"].get("files") != files_stamp(config.model):
            found = ask(found, asks, (opener or open_backend)(config, asks), done, config.flush)
        else:
            print(f"{out}: every question has its answer already", file=sys.stderr)
    print(report(AskRun.open(out), config.parser, config.bootstrap))
    track(config.wandb, lambda: answers_of(config, out))


def ask(found: AskRun, asks: Plan, backend: Backend, done: np.ndarray, flush: int) -> AskRun:
    """Put what is not done yet to the backend, and write the answers as they come; what came is kept, whatever stops.

    Raises InputError where the backend is not the one the run was begun with.
    """
    found = identify(found, backend.identity)
    writer = AnswerWriter(found, flush)
    watched = sys.stderr.isatty()
    bar = tqdm(
        total=len(asks),
        initial=int(done.sum()),
        unit="question",
        desc=found.path.name,
        mininterval=0.2 if watched else 30,
        maxinterval=10 if watched else 60,
    )
    with bar:
        try:
            for groups in _batches(asks.groups(done), IMAGES_AT_ONCE):
                waiting = {asked.ask.key: asked for group in groups for asked in group}
                for answer in backend.answer([[asked.ask for asked in group] for group in groups]):
                    writer.add(waiting.pop(answer.key), answer)
                    bar.update()
                if waiting:
                    raise RuntimeError(f"{type(backend).__name__} left {len(waiting)} asks unanswered")
        finally:
            writer.flush()
    return found


def open_bank(config: AskConfig | ZeroShotConfig) -> Bank:
    """The question bank. Raises InputError."""
    from taxonomy import load_taxonomy

    if config.taxonomy is None:
        return Bank.open(config.questions)
    return Bank.open(config.questions, load_taxonomy(config.taxonomy, levels=config.levels))  # pyright: ignore[reportArgumentType]


def choose_prompts(config: AskConfig, bank: Bank) -> tuple[Prompt, ...]:
    """The prompts by name or pattern, in the catalogue's order. Raises InputError, naming those there are."""
    known = prompts(config.prompt_file)
    names = list(config.prompts or [])
    if not names:
        return (_fitting(known, bank, config.text_only),)
    patterns = ["*" if name == "all" else name for name in names]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in known):
            raise InputError(f"no prompt {pattern!r}; there are {', '.join(known)}")
    found = tuple(p for name, p in known.items() if any(fnmatch(name, pattern) for pattern in patterns))
    if config.text_only and any("*" in pattern for pattern in patterns):
        found = tuple(prompt for prompt in found if prompt.text_only is not None)
    return found


def _fitting(known: Mapping[str, Prompt], bank: Bank, text_only: bool) -> Prompt:
    """The first prompt made for the bank's data set, else the first plain one; none that says the name of a level that
    has none."""
    named = not any(re.fullmatch(r"level_?\d+", level) for level in bank.levels)
    usable = [
        prompt
        for prompt in known.values()
        if prompt.reads == "letter" and (named or not prompt.names_level) and (prompt.text_only or not text_only)
    ]
    dataset = bank.dataset.casefold()
    for prompt in usable:
        if all(word in dataset for word in prompt.name.rsplit("-", 1)[0].split("-")):
            return prompt
    for prompt in usable:
        if prompt.name.startswith("plain-"):
            return prompt
    raise InputError(f"no prompt fits {bank.dataset}; name one with --prompts: {', '.join(known)}")


def planned(config: AskConfig, bank: Bank, chosen: Sequence[Prompt], out: Path) -> Plan:
    """What is asked, by the settings."""
    return plan(
        bank,
        chosen,
        Path(config.images) if config.images else None,
        text_only=config.text_only,
        shown=config.shown,
        blank=(out / BLANK).resolve(),
        rotations=config.rotations,
        prior_fraction=config.prior_fraction,
        split=config.split,
        limit=config.limit,
        per_leaf=config.per_leaf,
        seed=config.seed,
    )


BLANK = "blank.png"

ASKED = ("rotations", "prior_fraction", "text_only", "shown", "split", "limit", "per_leaf", "seed")
MODEL = ("model", "backend", "revision", "dtype", "random_init", "min_pixels", "max_pixels", "templates")
SERVER = ("base_url", "temperature", "image_detail")


def settings_of(config: AskConfig, bank: Bank, chosen: Sequence[Prompt]) -> dict[str, Any]:
    """Everything an answer depends on that is known before a model is loaded. The parser is none of it."""
    server = SERVER if config.base_url else ()
    model = {key: getattr(config, key) for key in (*MODEL, *server)}
    tree = hashlib.sha256(repr(bank.taxonomy.to_dict()).encode()).hexdigest()
    return {
        "bank": {"sha256": bank.sha256, "dataset": bank.dataset, "taxonomy": tree},
        "prompts": {prompt.name: _plain(prompt) for prompt in chosen},
        **{key: getattr(config, key) for key in ASKED},
        "model": model | {"model": Path(config.model).name if Path(config.model).exists() else config.model},
    }


def about(config: AskConfig, asks: Plan) -> dict[str, Any]:
    """What is noted beside: where things were, and how the work was cut."""
    return {
        "questions": str(Path(config.questions).absolute()),
        "images": None if config.images is None else str(Path(config.images).absolute()),
        "model": config.model,
        "files": files_stamp(config.model),
        "device": config.device,
        "batch_size": config.batch_size,
        "asks": len(asks),
    }


def default_out(config: AskConfig) -> Path:
    """runs/<model>-<bank>.ask, with what sets the run apart from the plain one."""
    bank = Path(config.questions).name.split(".")[0]
    apart = "-text" if config.text_only else "" if config.shown == "image" else f"-{config.shown}"
    apart += "-4" if config.rotations == 4 else ""
    apart += f"-{config.limit}" if config.limit else ""
    model = Path(config.model.rstrip("/")).name.removeprefix("hf-hub:").replace(":", "-")
    return Path("runs") / f"{model}-{bank}{apart}.ask"


def _plain(prompt: Prompt) -> dict[str, Any]:
    return {key: value for key, value in asdict(prompt).items() if key != "name"}


def _write_blank(path: Path) -> None:
    if not path.is_file():
        import io

        from PIL import Image

        data = io.BytesIO()
        Image.new("RGB", (224, 224), (127, 127, 127)).save(data, "PNG")
        write_whole(path, data.getvalue())


def _batches(groups: Iterator[list[Asked]], size: int) -> Iterator[list[list[Asked]]]:
    while batch := list(islice(groups, size)):
        yield batch
