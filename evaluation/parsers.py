"""From a model's own words to the option it chose; every parser has a name and, where it may change, a version.

A parser never guesses: what it cannot read has no option and stays wrong. Random credit for refusals is how a parser
inflates a weak model (lm-eval-harness PR 3842), and over the levels of a path the errors of a loose one multiply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from commandline import InputError
from taxonomy.names import normalise

How = Literal["letter", "statement", "option", "ambiguous", "unparsable", "empty", "error"]


@dataclass(frozen=True)
class Parsed:
    """What an answer chose, and how that was seen."""

    option: int | None
    """Index into the options as shown; None where the answer names none, or more than one."""
    how: How
    """letter: the reply is a letter, or starts or ends with one; statement: `the answer is C`; option: an option's own
    words; ambiguous: more than one was named; unparsable: none; empty: nothing was said; error: nothing came back."""


Parser = Callable[[str, Sequence[str], Sequence[str]], Parsed]
"""(reply, letters shown, options shown) -> Parsed."""

_EMPHASIS = re.compile(r"\*\*|__|[*`$]|\\(?:boxed|text(?:bf)?|mathbf|mathrm)\s*(?=\{)")
_EDGES = " \t\r\n\"'\u201c\u201d\u2018\u2019.,;:!{}"
_STATEMENT = re.compile(
    r"(?:\banswer\b|\bcorrect\s+(?:option|choice|letter)\b|\b(?:option|choice)\s+is\b)"
    r"(?:\s+(?:is|would\s+be|should\s+be|must\s+be))?\s*(?:[:=]|\bis\b)?\s*",
    re.IGNORECASE,
)
_CONNECTED = re.compile(
    r"^\s*(?:,|/|&|\bor\b|\band\b|\bnor\b)\s*(?:also\s+|possibly\s+|maybe\s+)?[\[({]?", re.IGNORECASE
)
_JUDGED = re.compile(
    r"[)\]]?\s+(?:is\s+(?:the\s+)?(?:most\s+likely\s+)?(?:correct|right|best|answer|most\s+likely)|because|since)\b",
    re.I,
)
_DENIED = re.compile(r"(?:\bnot|\bnor|\bneither|n't|\bexcept|\brather than|\bunlike)\s*(?:option\s*)?[\[({]?$", re.I)


def strict_v1(reply: str, letters: Sequence[str], options: Sequence[str]) -> Parsed:
    """The letter or the option that a reply commits to.

    In this order: the reply is an option's own words (compared in `taxonomy.names.normalise`'s form); the last explicit
    statement (`the answer is (C)`, `Answer: C`); the letter it starts with (`A`, `A.`, `(A)`, `**D**`, `A) A grebe`);
    the letter it ends with (`Based on the beak, C`). Only letters that were shown count. The article of `A bird of ...`
    is no letter, `A or B` and a list of all options are ambiguous, and so is a letter followed by another option's
    words. A letter in lower case counts where nothing else is said.
    """
    text = _EMPHASIS.sub("", reply).strip()
    if not text:
        return Parsed(None, "empty")
    whole = _same_words(text, options)
    if len(whole) > 1:
        return Parsed(None, "ambiguous")
    opening = _opening(text, letters, options)
    if whole:
        # "A" may be a letter and another option's name; "A. alba" may be B's name and begin like the choice of A.
        clash = opening.how == "letter" and opening.option != whole[0] and _says_letter(text, letters, options)
        return Parsed(None, "ambiguous") if clash else Parsed(whole[0], "option")
    stated = _stated(text, letters, options)
    if stated is not None:
        return stated
    if opening.how != "unparsable":
        return opening
    return _closing(text, letters)


def released(reply: str, letters: Sequence[str], options: Sequence[str]) -> Parsed:
    """As the study's released code: the first letter, in the order A, B, C, D, that occurs anywhere in the reply.

    `Answer: C` is read as A. Kept to reproduce published numbers (arXiv 2505.24840).
    """
    del options
    if not reply.strip():
        return Parsed(None, "empty")
    found = next((index for index, letter in enumerate(letters) if letter in reply), None)
    return Parsed(found, "unparsable" if found is None else "letter")


def yes_no_v1(reply: str, letters: Sequence[str], options: Sequence[str]) -> Parsed:
    """0 for yes, 1 for no: the word the reply starts with, else its last `the answer is yes`, else None."""
    del letters, options
    text = _EMPHASIS.sub("", reply).strip().strip(_EDGES).casefold()
    if not text:
        return Parsed(None, "empty")
    words = {"yes": 0, "no": 1}
    if first := re.match(r"[\[(\"']*(yes|no)\b(?!\s*(?:,|/|or)\s*(?:or\s*)?(?:yes|no)\b)", text):
        return Parsed(words[first[1]], "letter")
    if re.match(r"[\[(\"']*(yes|no)\b", text):
        return Parsed(None, "ambiguous")
    if stated := re.findall(r"\banswer\b(?:\s+is)?\s*[:=]?\s*(yes|no)\b", text):
        return Parsed(words[stated[-1]], "statement")
    return Parsed(None, "unparsable")


def yes_no_released(reply: str, letters: Sequence[str], options: Sequence[str]) -> Parsed:
    """As the study's released code: a reply that starts with y is yes, with n no."""
    del letters, options
    start = reply.strip().lower()[:1]
    if not start:
        return Parsed(None, "empty")
    return Parsed({"y": 0, "n": 1}.get(start), "letter" if start in "yn" else "unparsable")


PARSERS: dict[str, Parser] = {"strict_v1": strict_v1, "released": released}
YES_NO: dict[str, Parser] = {"strict_v1": yes_no_v1, "released": yes_no_released}


def parser_named(name: str, reads: str = "letter") -> Parser:
    """The parser of that name for prompts that read `letter`, `chain` or `yes_no`. Raises InputError."""
    known = YES_NO if reads == "yes_no" else PARSERS
    if name not in known:
        raise InputError(f"no parser {name!r}; there are {', '.join(PARSERS)}")
    return known[name]


def _same_words(text: str, options: Sequence[str]) -> list[int]:
    """The options whose words these are."""
    words = {normalise(text), normalise(text.strip(_EDGES))} - {""}
    return [index for index, option in enumerate(options) if normalise(option) in words]


def _stated(text: str, letters: Sequence[str], options: Sequence[str]) -> Parsed | None:
    """What the last explicit statement commits to; None where there is none that names a choice."""
    for found in reversed(list(_STATEMENT.finditer(text))):
        rest = text[found.end() :]
        sentence = re.split(r"\n|(?<=\w[.!])\s", rest, maxsplit=1)[0]
        named = _same_words(sentence, options)
        letter = _leading_letter(rest, letters)
        if letter is not None:
            index, after = letter
            if _another(after, letters, index) or any(other != index for other in _same_words(after, options)):
                return Parsed(None, "ambiguous")
            if not after[:1].isspace() or index != 0 or not after.strip()[:1].islower() or _same_words(after, options):
                return Parsed(index, "statement")
        if len(named) == 1:
            return Parsed(named[0], "statement")
        if len(named) > 1:
            return Parsed(None, "ambiguous")
    return None


def _opening(text: str, letters: Sequence[str], options: Sequence[str]) -> Parsed:
    """The letter a reply starts with."""
    alone = text.strip(_EDGES + "()[]")
    if alone.upper() in letters:
        return Parsed(list(letters).index(alone.upper()), "letter")
    leading = _leading_letter(text, letters)
    if leading is None:
        return Parsed(None, "unparsable")
    index, after = leading
    rest = after.lstrip(")].:,-\u2013\u2014} \t\n")
    if _another(after, letters, index) or _listed(text, letters) - {index}:
        return Parsed(None, "ambiguous")
    first_line = rest.splitlines()[0] if rest else ""
    named = _same_words(rest, options) + _same_words(first_line, options)
    if named and index not in named:
        return Parsed(None, "ambiguous")
    if _JUDGED.match(after):
        return Parsed(index, "letter")
    if (
        after[:1].isspace()
        and rest
        and not named
        and not after.lstrip(" \t").startswith(("\n", "-", "\u2013", "\u2014"))
    ):
        return Parsed(None, "unparsable")  # the article of "A bird", or the beginning of a name
    return Parsed(index, "letter")


def _closing(text: str, letters: Sequence[str]) -> Parsed:
    """The letter a reply ends with, on a line of its own or after its last words."""
    found = re.search(rf"(?:^|[\s,:(\[{{])([{''.join(letters)}])[)\]}}.!\"']*$", text) if letters else None
    if found is None or _DENIED.search(text[: found.start(1)].rstrip(" ")):
        return Parsed(None, "unparsable")
    index = list(letters).index(found[1])
    before = text[: found.start(1)].rstrip(" ([{")
    joined = re.search(rf"(?:^|[\s(\[])([{''.join(letters)}])[)\]]?\s*(?:,|/|&|\bor|\band)$", before)
    if (joined and joined[1] != found[1]) or _listed(text, letters) - {index}:
        return Parsed(None, "ambiguous")
    return Parsed(index, "letter")


def _leading_letter(text: str, letters: Sequence[str]) -> tuple[int, str] | None:
    """The letter shown that `text` starts with, in brackets or not, and what follows it; None where it is a word."""
    found = re.match(
        r"[\s\"'\u201c\u2018(\[{]*(?:(?:option|choice|letter)\s+)?[(\[{]?([A-Za-z])(?![\w'\u2019])", text, re.I
    )
    if found is None:
        return None
    letter, after = found[1], text[found.end() :]
    if letter.islower() and after.lstrip(")]} ")[:1] not in ("", ".", ":", ",", "\n"):
        return None
    letter = letter.upper()
    return (list(letters).index(letter), after) if letter in letters else None


def _another(after: str, letters: Sequence[str], index: int) -> bool:
    """Whether a second letter is joined to the first: `A or B`, `A, C`, `A/B`."""
    joined = _CONNECTED.match(after.lstrip(")]}"))
    if joined is None:
        return False
    second = re.match(r"([A-Z])(?![\w'\u2019])", after.lstrip(")]}")[joined.end() :])
    return second is not None and second[1] in letters and second[1] != letters[index]


def _listed(text: str, letters: Sequence[str]) -> set[int]:
    """The options of a list: letters that begin a line and are followed by `.`, `)` or `:`."""
    found = re.findall(r"^\s*[(\[]?([A-Z])[).\]:](?=\s|$)", text, re.MULTILINE)
    return {list(letters).index(letter) for letter in found if letter in letters}


def _says_letter(text: str, letters: Sequence[str], options: Sequence[str]) -> bool:
    """Whether the reply is a bare letter, or a letter followed by that letter's own option."""
    if text.strip(_EDGES + "()[]") in letters:
        return True
    leading = _leading_letter(text, letters)
    if leading is None:
        return False
    index, after = leading
    return index in _same_words(after.lstrip(")].:,- \t\n"), options)
