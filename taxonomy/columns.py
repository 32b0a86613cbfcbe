"""Which column of a table is what: image, label, split, levels. The same rules for manifests and `datasets` tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from commandline import InputError
from taxonomy.listing import Label
from taxonomy.names import normalise
from taxonomy.tables import Table, text_column

IMAGE_ALIASES = ("image", "img", "file", "file_name", "filename", "path", "image_path", "file_path")
LABEL_ALIASES = ("label", "class", "class_name", "label_name")
SPLIT_ALIASES = ("split",)
RANKS = ("kingdom", "phylum", "class", "order", "family", "subfamily", "tribe", "genus", "species")


@dataclass(frozen=True)
class Columns:
    """Names of columns, as the user gave them; None is looked for.

    * image: the first of `image, img, file, file_name, filename, path, image_path, file_path` (in any case).
    * label: the first of `label, class, class_name, label_name`; where level columns are named and none of these is
      asked for, the finest level is the label.
    * split: `split`, if there is one.
    * id: only when named; else the image's path is its id.
    * levels: coarse to fine. Not given, they are `level1, level2, ...` or the ranks of biology (`kingdom, phylum,
      class, order, family, subfamily, tribe, genus, species`: two or more of them, `class` only beside `kingdom` or
      `phylum`), with the label below them unless it repeats the finest.
    """

    image: str | None = None
    label: str | None = None
    split: str | None = None
    id: str | None = None
    levels: tuple[str, ...] | None = None


def find_column(names: Sequence[str], given: str | None, aliases: Sequence[str], what: str) -> str | None:
    """The column asked for, else the first alias there is, else None.

    Raises InputError when the one asked for is not there.
    """
    if given is not None:
        if given not in names:
            raise InputError(
                f"there is no column {given!r} (asked for as the {what}); the columns are {', '.join(names)}"
            )
        return given
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[alias] for alias in aliases if alias in by_lower), None)


def read_labels(table: Table, columns: Columns, has_taxonomy: bool) -> tuple[tuple[Label, ...], tuple[str, ...] | None]:
    """The label of each row, and the names of the levels where the labels are paths.

    With a taxonomy at hand a label is a name to be matched; without one it is the row's path through the level columns.
    Raises InputError when there is neither, or a row's path has a gap.
    """
    for name in columns.levels or ():
        find_column(list(table), name, (), "level")
    levels = list(columns.levels or _recognised(table))
    label = find_column(list(table), columns.label, LABEL_ALIASES, "label")
    if not columns.label and (columns.levels or label in levels):  # the levels say it all; `class` may be one of them
        label = None
    if has_taxonomy:
        name = label or (levels[-1] if levels else None)
        if name is None:
            raise InputError(f"no label column: none of {', '.join(LABEL_ALIASES)} is among {', '.join(table)}")
        return text_column(table, name, "label"), None
    if not levels:
        raise InputError(
            "no taxonomy: give a taxonomy file (--taxonomy) or name the level columns, coarse to fine "
            f"(--levels=a,b,c), out of {', '.join(table)}"
        )
    if label and label not in levels and not _repeats(table, label, levels[-1]):
        levels = [*levels, label]
    return _paths(table, levels), tuple(levels)


def _recognised(table: Mapping[str, object]) -> list[str]:
    by_lower = {name.lower(): name for name in table}
    numbered = sorted((int(match[1]), name) for name in table if (match := re.fullmatch(r"level_?(\d+)", name.lower())))
    if len(numbered) > 1:
        return [name for _, name in numbered]
    ranks = [rank for rank in RANKS if rank in by_lower]
    if "class" in ranks and not {"kingdom", "phylum"} & set(ranks):
        ranks.remove("class")
    return [by_lower[rank] for rank in ranks] if len(ranks) > 1 else []


def _repeats(table: Table, label: str, finest: str) -> bool:
    """Whether a label column says the same as the finest level; nothing refines a species."""
    if finest.lower() == "species":
        return True
    labels, names = text_column(table, label, "label"), text_column(table, finest, "level", required=False)
    return all(normalise(a) == normalise(b) for a, b in zip(labels, names, strict=True) if b)


def _paths(table: Table, levels: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    cells = [text_column(table, name, "level", required=False) for name in levels]
    paths: list[tuple[str, ...]] = []
    for row, names in enumerate(zip(*cells, strict=True), start=1):
        depth = max((index + 1 for index, name in enumerate(names) if name), default=0)
        if depth == 0 or not all(names[:depth]):
            empty = levels[names.index("")]
            raise InputError(
                f"row {row}: the level {empty!r} is empty" + (" though a finer one is not" if depth else "")
            )
        paths.append(names[:depth])
    parents = {path[:depth] for path in set(paths) for depth in range(1, len(path))}
    for row, path in enumerate(paths, start=1):
        if path in parents:  # a path may end early, but what ends there is a leaf and has nothing below it
            raise InputError(
                f"row {row}: the level {levels[len(path)]!r} is empty, though other rows have one below "
                f"{' / '.join(path)}"
            )
    return tuple(paths)
