"""What a preset is: a name, where its data comes from and where it belongs, and how its layout is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from commandline import InputError
from taxonomy.files import existing_folder
from taxonomy.listing import Listing
from taxonomy.tree import Taxonomy

STUDY = "https://github.com/yuanqing-ai/LLM-Hierarchical-Consistency/tree/main/data/taxonomies"
"""Where the study (arXiv 2505.24840) publishes its taxonomies (MIT)."""

DATA_VARIABLE = "TAXOPROBE_DATA"
"""The environment variable that names the folder of all data sets."""


@dataclass(frozen=True)
class Preset:
    """A published image set, laid out as its publisher ships it."""

    name: str
    title: str
    page: str
    """Where the publisher offers it."""
    archives: tuple[str, ...]
    """What to download there."""
    marker: tuple[str, ...]
    """Paths of which one at least lies in the publisher's top folder."""
    read: Callable[[Path, Taxonomy | None], Listing]
    """Lists the images of a top folder; a preset with a `taxonomy_file` is always given a taxonomy."""
    tops: tuple[str, ...] = ()
    """Folders the archives may unpack to, inside the root; the root itself is looked at first."""
    family: str | None = None
    """A second name for the root, shared by presets that read the same files."""
    taxonomy_file: str | None = None
    """The study's taxonomy file, for a data set that has none of its own."""

    def list(self, root: Path | None, taxonomy: Taxonomy | None) -> Listing:
        """The listing, from `root` or from where the data belongs.

        Raises InputError saying what to download and where to put it, when the images or their taxonomy are not there.
        """
        places = [existing_folder(root, f"the root of {self.name}")] if root else self._places()
        for place in places:
            for top in (place, *(place / name for name in self.tops)):
                if any((top / path).exists() for path in self.marker):
                    return self.read(top.resolve(), taxonomy or self._find_taxonomy(top))
        where = places[-1]
        there = where.joinpath(*self.tops[:1], self.marker[0])
        raise InputError(
            f"{self.title} is not in {where}: download {', '.join(self.archives)} from {self.page} and unpack it "
            f"there, so that {there} exists; or say where it is with --root or ${DATA_VARIABLE}"
        )

    def _places(self) -> list[Path]:
        base = Path(os.environ.get(DATA_VARIABLE) or "data").expanduser()
        return [base / name for name in (self.name, self.family) if name]

    def _find_taxonomy(self, top: Path) -> Taxonomy | None:
        if self.taxonomy_file is None:
            return None
        folders = (top.parent, top) if top.name in self.tops else (top,)
        for folder in folders:
            for name in ("taxonomy.json", self.taxonomy_file):
                if (folder / name).is_file():
                    return Taxonomy.from_json(folder / name)
        raise InputError(
            f"{self.title} has no taxonomy of its own: put {self.taxonomy_file} from {STUDY} into {folders[0]}, "
            "or give a taxonomy (--taxonomy)"
        )


def read_rows(file: Path, columns: int, separator: str | None = None) -> list[list[str]]:
    """The lines of a publisher's text file cut into at least `columns` fields; the last takes the rest of the line.

    Blank lines and lines that start with `#` are passed over. Raises InputError naming the line that does not fit.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: {error}") from error
    rows: list[list[str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            row = line.strip().split(separator, columns - 1)
            if len(row) < columns:
                raise InputError(f"{file}, line {number}: expected {columns} fields, found {line!r}")
            rows.append(row)
    return rows
