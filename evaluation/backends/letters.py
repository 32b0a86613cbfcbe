"""Which tokens say a letter, where the answer begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from commandline import InputError


@dataclass(frozen=True)
class Letters:
    """The tokens of letters by a tokenizer, in the context of the text that stands before the answer."""

    tokenizer: Any
    _known: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def tokens(self, letter: str, before: str) -> list[int]:
        """The ids that say `letter` as one token after the text `before`: of "A", and of " A" where that is one.

        Raises InputError where neither is a single token there.
        """
        key = (letter, before)
        if key not in self._known:
            self._known[key] = self._search(letter, before)
        return self._known[key]

    def logits(self, logits: Tensor, letters: Sequence[str], before: str) -> Tensor:
        """float32 (letter,): the log-sum-exp of the next-token logits (vocabulary,) of the tokens of each letter."""
        found = [logits[self.tokens(letter, before)] for letter in letters]
        return torch.stack([values.float().logsumexp(0) for values in found]) if found else logits.new_zeros(0).float()

    def _search(self, letter: str, before: str) -> list[int]:
        context, found = self._ids(before), []
        for said in (letter, f" {letter}"):
            ids = self._ids(before + said)
            # Where the letter melts into what stands before, or takes several tokens, no next token says it.
            if ids[:-1] == context and self.tokenizer.decode(ids[-1:]).strip() == letter and ids[-1] not in found:
                found.append(ids[-1])
        if not found:
            raise InputError(
                f"{type(self.tokenizer).__name__} has no single token for the letter {letter!r} after "
                f"{before[-20:]!r}, so its logits say nothing of the options; use letters that are tokens, or read "
                "the generated text alone"
            )
        return found

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]
