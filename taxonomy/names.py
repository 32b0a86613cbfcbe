"""How a label finds its leaf: one normaliser, and the index that uses it."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from commandline import InputError

_SEPARATORS = re.compile(r"[\s_\-\u2010-\u2015\u2212]+")
_NUMBERING = re.compile(r"^(?:\d+\.\s*)+(?=[^\d\s])")
_POSSESSIVE = re.compile(r"'s(?!\w)")
_APOSTROPHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'", "`": "'"})


@lru_cache(maxsize=1 << 16)
def normalise(label: str) -> str:
    """The form in which labels are compared; two labels are the same name when their normal forms are equal.

    In this order:

    1. Unicode NFKC (composed accents, full-width letters) and case folding: `Ａcadian` is `acadian`, `É` is `é`.
    2. Underscores, hyphens, dashes and white space, in runs, become one space: `Black_footed-Albatross`.
    3. A leading class number with its dot goes: `001.Black footed Albatross` (CUB-200-2011). A decimal stays: `3.5 mm`.
    4. A possessive `'s` goes, then every other apostrophe: `Brandt's Cormorant` is `brandt cormorant`, as in CUB's
       folder `023.Brandt_Cormorant`; `jack-o'-lantern` is `jack o lantern`.

    Accents, commas, brackets and `/` are part of a name and stay. Applying it twice changes nothing.

    >>> normalise("022.Chuck_will_Widow") == normalise("Chuck-will's-widow")
    True
    """
    text = _once(label)
    while (again := _once(text)) != text:  # taking something away may bare something else to take away
        text = again
    return text


def _once(label: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold()).translate(_APOSTROPHES)
    text = _SEPARATORS.sub(" ", text).strip()
    text = _NUMBERING.sub("", text)
    return _POSSESSIVE.sub("", text).replace("'", "").strip()


@dataclass(frozen=True)
class LabelIndex:
    """Finds the leaf a label means. Build it with `LabelIndex.of(leaves, paths)`.

    A label is, in this order: a leaf's own label letter for letter; a leaf's name in normal form; or the end of a
    leaf's path written `genus/species`, in normal form. A label that fits two leaves is refused, never guessed at.
    """

    leaves: tuple[str, ...]
    exact: Mapping[str, int]
    keys: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, leaves: Sequence[str], paths: Sequence[Sequence[str]]) -> LabelIndex:
        keys: dict[str, set[int]] = {}
        for index, (leaf, path) in enumerate(zip(leaves, paths, strict=True)):
            keys.setdefault(normalise(leaf), set()).add(index)
            names = [normalise(name) for name in path]
            for start in range(len(names)):
                keys.setdefault("/".join(names[start:]), set()).add(index)
        exact = {leaf: index for index, leaf in enumerate(leaves)}
        return cls(tuple(leaves), exact, {key: tuple(sorted(found)) for key, found in keys.items()})

    def find(self, label: str) -> int | None:
        """The index of the leaf `label` means, or None. Raises InputError, naming the leaves, when it fits several."""
        if label in self.exact:
            return self.exact[label]
        found = self.keys.get(normalise(label)) or self.keys.get("/".join(map(normalise, label.split("/")))) or ()
        if len(found) > 1:
            names = ", ".join(repr(self.leaves[index]) for index in found[:5])
            raise InputError(
                f"the label {label!r} fits {len(found)} leaves of the taxonomy ({names}); "
                "write it as one of them is spelled, or with its parent as parent/label"
            )
        return found[0] if found else None

    def find_path(self, path: Sequence[str]) -> int | None:
        """The leaf of a label given as folders: the longest end of `path` that fits a leaf decides."""
        for start in range(len(path)):
            found = self.find("/".join(path[start:]))
            if found is not None:
                return found
        return None

    def nearest(self, label: str, count: int = 3) -> tuple[str, ...]:
        """The leaves whose names look most like `label`, best first (difflib's ratio on normal forms)."""
        names: dict[str, str] = {normalise(leaf): leaf for leaf in reversed(self.leaves)}
        close = difflib.get_close_matches(normalise(label).rsplit("/", 1)[-1], names, n=count, cutoff=0.6)
        return tuple(names[name] for name in close)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 label`, `2 labels`, `1,200 leaves`: a number with its noun, for a message."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Iterable[str], most: int = 5, width: int = 200) -> str:
    """`'a', 'b', ... and 7 more`: names quoted for an error message, cut after `width` characters."""
    names = [name if len(name) <= width else f"{name[:width]}..." for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
