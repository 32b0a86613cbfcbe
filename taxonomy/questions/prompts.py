"""How a question is put into words: a catalogue of prompts, and what a user's message reads like."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

from commandline import InputError
from taxonomy.names import listed
from taxonomy.questions.question import LETTERS, Question
from taxonomy.tree import Taxonomy

CATALOGUE = Path(__file__).with_name("prompts.yaml")

ENDING = "Answer with the option's letter from the given choices directly."
"""The line below the options, the study's (arXiv 2505.24840, released scripts)."""

TEXT_SYSTEM = "You are a helpful assistant."
"""The study's system turn where there is no image."""

Reads = Literal["letter", "chain", "yes_no"]


@dataclass(frozen=True)
class Prompt:
    """One way of asking; see `prompts.yaml` for what the templates may say."""

    name: str
    question: str
    """Beside the image."""
    text_only: str | None = None
    """The twin without the image; None where there is none."""
    system: str | None = None
    """None: what the model's chat template has."""
    text_system: str | None = TEXT_SYSTEM
    ending: str = ENDING
    max_new_tokens: int = 10
    reads: Reads = "letter"
    """`letter`: the answer begins with it; `chain`: it is what a chain of thought ends with; `yes_no`: the options are
    put one by one, as statements."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def names_level(self) -> bool:
        """Whether the question says which level it is about; else only its options do."""
        return "level" in _fields(self.question)


def prompts(path: str | os.PathLike[str] | None = None) -> dict[str, Prompt]:
    """The prompts of a YAML file by name, coming after those that are shipped; a name of theirs replaces it.

    Raises InputError, naming the entry, for a file that cannot be read, unknown fields or placeholders.
    """
    own = _read(Path(path)) if path is not None else {}
    return {**_read(CATALOGUE), **own}


def render(
    question: Question,
    prompt: Prompt,
    order: Sequence[int],
    text_only: bool,
    taxonomy: Taxonomy | None = None,
) -> str:
    """The user's message.

    order: which option stands at each letter, a permutation of `range(len(question.options))`; for a `yes_no` prompt
        the one option the statement is about.
    text_only: ask without the image, by the leaf's name.
    taxonomy: for a prompt that shows it.

    Raises InputError for a prompt without such a twin, a level that has no name of its own, or a wrong order.
    """
    template = prompt.text_only if text_only else prompt.question
    if template is None:
        raise InputError(f"the prompt {prompt.name!r} has no text-only twin; give it a `text_only` that has {{name}}")
    fields = _fields(template)
    if "level" in fields and re.fullmatch(r"level_?\d+", question.level):
        raise InputError(
            f"the prompt {prompt.name!r} says the level's name, and the taxonomy calls it {question.level!r}: "
            "name the levels (--levels=order,family,...) or take a prompt that does not say it"
        )
    values = {"level": question.level, "name": _line(question.name), "taxonomy": _shown(taxonomy, prompt, fields)}
    if prompt.reads == "yes_no":
        if len(order) != 1:
            raise InputError(f"the prompt {prompt.name!r} is about one option at a time, not {len(order)}")
        return template.format(**values, option=_line(question.options[order[0]]))
    if sorted(order) != list(range(len(question.options))):
        raise InputError(f"{question.id}: {list(order)} is no order of {len(question.options)} options")
    options = "\n".join(f"{LETTERS[place]}. {_line(question.options[index])}" for place, index in enumerate(order))
    if "options" in fields:
        return template.format(**values, options=options)
    return "\n".join(part for part in (template.format(**values), options, prompt.ending) if part)


def _line(name: str) -> str:
    """A name on one line: one with a line break would read like an option of its own."""
    return " ".join(name.splitlines())


def system_turn(prompt: Prompt, text_only: bool, taxonomy: Taxonomy | None = None) -> str | None:
    """The system turn, or None for the chat template's own. `taxonomy`: for a prompt that shows it."""
    template = prompt.text_system if text_only else prompt.system
    if template is None:
        return None
    return template.format(taxonomy=_shown(taxonomy, prompt, _fields(template)))


def _shown(taxonomy: Taxonomy | None, prompt: Prompt, fields: set[str]) -> str:
    if "taxonomy" not in fields:
        return ""
    if taxonomy is None:
        raise InputError(f"the prompt {prompt.name!r} shows the taxonomy, and none is given")
    return in_context(taxonomy)


@lru_cache(maxsize=4)
def in_context(taxonomy: Taxonomy) -> str:
    """A taxonomy as the study puts it into a prompt: Python's text of `{leaf: [coarse, ..., leaf]}`."""
    return str(dict(zip(taxonomy.leaves, map(list, taxonomy.paths), strict=True)))


_ALLOWED = {
    "question": {"level", "options", "taxonomy", "option"},
    "text_only": {"level", "options", "taxonomy", "option", "name"},
    "system": {"taxonomy"},
    "text_system": {"taxonomy"},
    "ending": set(),
}


@lru_cache(maxsize=1024)
def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def _check(prompt: Prompt) -> None:
    where = f"the prompt {prompt.name!r}"
    if prompt.reads not in get_args(Reads):
        raise InputError(f"{where}: `reads` is one of {', '.join(get_args(Reads))}, not {prompt.reads!r}")
    if type(prompt.max_new_tokens) is not int or prompt.max_new_tokens < 1:
        raise InputError(f"{where}: `max_new_tokens` is a whole number of at least 1, not {prompt.max_new_tokens!r}")
    for part, allowed in _ALLOWED.items():
        template = getattr(prompt, part)
        if template is None and part != "question" and part != "ending":
            continue
        if not isinstance(template, str) or (part in ("question", "text_only") and not template.strip()):
            raise InputError(f"{where}: `{part}` should be text, not {template!r}")
        _check_fields(template, allowed, f"{where}: `{part}`")
    for part in ("question", "text_only"):
        template = getattr(prompt, part)
        if template is None:
            continue
        one = "option" in _fields(template)
        if one != (prompt.reads == "yes_no"):
            raise InputError(
                f"{where}: `{part}` " + ("says {option}, which belongs to `reads: yes_no`" if one else "lacks {option}")
            )
        if one and "options" in _fields(template):
            raise InputError(f"{where}: `{part}` says both {{option}} and {{options}}")
    if prompt.text_only is not None and "name" not in _fields(prompt.text_only):
        raise InputError(f"{where}: `text_only` lacks {{name}}: without the image nothing says what is asked about")


def _check_fields(template: str, allowed: set[str], where: str) -> None:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"{where}: {error}; a brace that is meant as one is written twice: {{{{ or }}}}") from None
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name == "name" and "level" in allowed and name not in allowed:
            raise InputError(f"{where} says {{name}}, which gives the answer away beside an image")
        if name not in allowed or spec or conversion:
            known = ", ".join(f"{{{field}}}" for field in sorted(allowed)) or "none"
            raise InputError(f"{where} has the placeholder {{{name}}}; there may be {known}")


def _read(path: Path) -> Mapping[str, Prompt]:
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read the prompts {path}: {' '.join(str(error).split())}") from error
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{path} should hold prompts by name, each a question or its fields")
    try:
        return {str(name): _prompt(str(name), entry) for name, entry in entries.items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _prompt(name: str, entry: Any) -> Prompt:
    fields = {"question": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, dict) or "question" not in fields:
        raise InputError(f"the prompt {name!r} should be a question, or fields with `question` among them")
    known = set(Prompt.__dataclass_fields__) - {"name"}
    unknown = [str(field) for field in fields if field not in known]
    if unknown:
        raise InputError(f"the prompt {name!r} has {listed(unknown)}; its fields are {', '.join(sorted(known))}")
    return Prompt(name, **cast(dict[str, Any], fields))
