"""Whether a bank is one: what must hold of every question, and what is worth knowing about all of them."""

from __future__ import annotations

import numpy as np

from commandline import InputError
from taxonomy.ancestry import depths_and_parents
from taxonomy.names import counted, normalise
from taxonomy.questions.bank import Bank
from taxonomy.questions.grid import Grid, grid
from taxonomy.questions.question import LETTERS, OPTIONS


def check(bank: Bank) -> Grid:
    """The bank's arrays, when it is whole. Raises InputError, naming the first question that is not.

    * an image is listed once, and asked once at each level of its leaf's path, coarse to fine (a bank of leaves not at
      the leaf's own);
    * options are nodes of the level and read as they are called; no two have one normal form; the truth is among them;
    * there are four, or as many as the level has names; a question is scored where there is a choice;
    * depths of common ancestors, and which parents are offered, are what the tree says.
    """
    if not len(bank):
        raise InputError("the bank holds no questions")
    _once(bank)
    found = grid(bank)
    expected = bank.taxonomy.codes[found.leaf]
    asked = found.position >= 0
    due = expected >= 0
    if bank.text_only:
        due[np.arange(len(due)), bank.taxonomy.depths[found.leaf] - 1] = False
    _all(bank, asked == due, "is missing, or is one too many: an image is asked once at each level of its path")
    truth = np.take_along_axis(found.nodes, np.maximum(found.position, 0)[..., None], axis=2)[..., 0]
    _all(bank, ~asked | (truth == expected), "does not offer its leaf's node as the right one")
    _all(bank, ~asked | (found.options <= len(LETTERS)), f"has more options than {len(LETTERS)} letters")
    _names(bank)
    names = np.array([len({normalise(name) for name in bank.taxonomy.names(level)}) for level in bank.levels])
    _all(bank, ~asked | (found.options >= np.minimum(names, OPTIONS)), "has fewer options than it could")
    _all(
        bank,
        ~asked | (found.scored == (found.options > 1)),
        "is scored without a choice, or has one and is not",
    )
    depth, offered = depths_and_parents(bank.taxonomy, found.nodes, found.position)
    _all(bank, (depth == found.depth).all(axis=2), "has a wrong depth of common ancestors")
    _all(bank, (offered == found.parent_offered).all(axis=2), "is wrong about which parents are offered")
    return found


def bank_report(bank: Bank, found: Grid) -> str:
    """What a bank holds, level by level, as text."""
    what = counted(len(found.leaf), "leaf", "leaves") if bank.text_only else counted(len(found.leaf), "image")
    leaves = counted(len(np.unique(found.leaf)), "leaf", "leaves")
    chance = np.prod(1 / np.maximum(found.options, 1), axis=1).mean()
    letters = np.bincount(found.position[found.scored])
    return "\n".join(
        [
            f"{bank.dataset}: {counted(len(bank), 'question')} about {what} of {leaves}, {found.scored.sum():,} scored",
            *(f"{name}: {value}" for name, value in bank.settings.items()),
            f"every level right by guessing: {100 * chance:.3g} %",
            f"right answers at {', '.join(f'{LETTERS[place]} {count:,}' for place, count in enumerate(letters))}",
            "",
            f"{'level':<16}{'questions':>10}{'scored':>10}{'options':>9}{'siblings':>10}{'parents':>9}",
            *(_level_row(found, level, name) for level, name in enumerate(bank.levels)),
            "siblings: wrong options under the right parent; parents: those whose parent is offered one level up",
        ]
    )


def _level_row(found: Grid, level: int, name: str) -> str:
    asked, wrong = found.position[:, level] >= 0, found.wrong[:, level]
    options = f"{found.options[asked, level].mean():.2f}" if asked.any() else "-"
    near, parents = found.depth[:, level][wrong] == level, found.parent_offered[:, level][wrong]
    rates = [f"{values.mean():.2f}" if level and len(values) else "-" for values in (near, parents)]
    counts = asked.sum(), found.scored[:, level].sum()
    return f"{name:<16}{counts[0]:>10,}{counts[1]:>10,}{options:>9}{rates[0]:>10}{rates[1]:>9}"


def _once(bank: Bank) -> None:
    ids = bank.table["id"].take(bank.starts[:-1]).to_pylist()
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))
        raise InputError(f"the questions about {twice!r} are there twice, or not side by side")
    unknown = set(bank.table["level"].unique().to_pylist()) - set(bank.levels)
    if unknown:
        raise InputError(f"the bank asks at {sorted(unknown)!r}, which are no levels of its taxonomy")


def _names(bank: Bank) -> None:
    """Every option reads like its node, and no two of a question alike."""
    known = {name: [normalise(node) for node in bank.taxonomy.names(name)] for name in bank.levels}
    for row in bank.rows():
        names = [normalise(option) for option in row["options"]]
        if len(set(names)) < len(names):
            raise InputError(f"{row['id']}#{row['level']} offers one name twice: {row['options']}")
        nodes = known[row["level"]]
        if any(
            not 0 <= node < len(nodes) or nodes[node] != name for node, name in zip(row["nodes"], names, strict=True)
        ):
            raise InputError(f"{row['id']}#{row['level']} offers names that are not their nodes': {row['options']}")


def _all(bank: Bank, holds: np.ndarray, problem: str) -> None:
    """holds: bool (image, level)."""
    if not holds.all():
        image, level = np.argwhere(~holds)[0]
        name = bank.table["id"][int(bank.starts[image])].as_py()
        raise InputError(f"the question {name}#{bank.levels[level]} {problem}")
