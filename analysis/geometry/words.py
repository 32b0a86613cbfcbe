"""Sets of words that a language model has one token for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from commandline import InputError
from taxonomy import Taxonomy


@dataclass(frozen=True)
class LeafTokens:
    """The tokens of the leaves that have any."""

    token: np.ndarray
    """int (row,): vocabulary ids, each once."""
    leaf: np.ndarray
    """int (row,): index into the taxonomy's leaves."""
    asked: int
    """Words that were looked for, variants not counted."""
    found: int
    """Those of which some variant is one token."""
    shared: int
    """Tokens that several leaves would have, and none has."""


def words_of(tree: Taxonomy, file: str | None) -> dict[int, list[str]]:
    """{leaf: its words}. Raises InputError for a file that is none, or names a leaf that there is not."""
    if file is None:
        return {leaf: [path[-1]] for leaf, path in enumerate(tree.paths)}
    try:
        given: Any = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}") from error
    lists = given.values() if isinstance(given, Mapping) else [None]
    if not all(isinstance(words, list) and all(isinstance(word, str) for word in words) for words in lists):
        raise InputError(f"{file} should hold {{leaf: [word, ...]}}")
    return {tree.index(name): words for name, words in given.items()}


def leaf_tokens(tokenizer: Any, words: Mapping[int, Sequence[str]], variants: bool) -> LeafTokens:
    """Every token that says a word of a leaf, and of no other."""
    owners: dict[int, set[int]] = {}
    asked = found = 0
    for leaf, names in words.items():
        for word in dict.fromkeys(names):
            ids = single_tokens(tokenizer, spellings(word) if variants else [word])
            asked, found = asked + 1, found + bool(ids)
            for token in ids:
                owners.setdefault(token, set()).add(leaf)
    alone = {token: min(leaves) for token, leaves in sorted(owners.items()) if len(leaves) == 1}
    rows = np.array(list(alone), np.int64), np.array(list(alone.values()), np.int64)
    return LeafTokens(*rows, asked, found, len(owners) - len(alone))


def spellings(word: str) -> list[str]:
    """The word, capitalised too, and the regular plural of both."""
    plain = word.replace("_", " ").strip()
    both = [plain, plain[:1].upper() + plain[1:], plain.casefold()]
    return list(dict.fromkeys([*both, *(_plural(one) for one in both)]))


def single_tokens(tokenizer: Any, words: Iterable[str]) -> list[int]:
    """The ids of those words, alone or after a space, that are one known token."""
    ids = (tokenizer(said, add_special_tokens=False)["input_ids"] for word in words for said in (word, f" {word}"))
    return list(dict.fromkeys(one[0] for one in ids if len(one) == 1 and one[0] != tokenizer.unk_token_id))


def _plural(word: str) -> str:
    if word.endswith("y") and word[-2:-1] not in set("aeiou"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "z", "ch", "sh")) else f"{word}s"
