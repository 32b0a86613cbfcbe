"""Oxford-IIIT Pets: 7,349 photographs of 37 breeds of cats and dogs (Parkhi et al. 2012)."""

from __future__ import annotations

from pathlib import Path

from commandline import InputError
from taxonomy.files import FileReader, relative_paths
from taxonomy.listing import Listing
from taxonomy.presets.preset import Preset, read_rows
from taxonomy.tree import Taxonomy

SPECIES = {"1": "cat", "2": "dog"}


def read(top: Path, taxonomy: Taxonomy | None) -> Listing:
    """annotations/list.txt, lines of `Breed_number class species breed`, gives species > breed.

    annotations/trainval.txt (read as train) and test.txt, of the same form, give the split.
    """
    paths = {row[0]: _path(row, top / "annotations" / "list.txt") for row in _rows(top, "list")}
    sides = {row[0]: split for split in ("trainval", "test") for row in _rows(top, split)}
    unlisted = next((name for name in paths if name not in sides), None)
    if unlisted is not None:
        raise InputError(f"{top / 'annotations'}: {unlisted} of list.txt is neither in trainval.txt nor in test.txt")
    files = relative_paths(top, [f"images/{name}.jpg" for name in paths])
    return Listing(
        name="pets",
        ids=files,
        labels=tuple(paths.values()),
        splits=tuple(sides[name] for name in paths),
        reader=FileReader(top, files),
        taxonomy=taxonomy,
        levels=("species", "breed"),
        split_note="the publisher's trainval.txt (train) and test.txt",
    )


def _rows(top: Path, name: str) -> list[list[str]]:
    return read_rows(top / "annotations" / f"{name}.txt", 4)


def _path(row: list[str], file: Path) -> tuple[str, str]:
    breed = row[0].rpartition("_")[0].replace("_", " ")
    if row[2] not in SPECIES or not breed:
        raise InputError(
            f"{file}: the line of {row[0]} gives the species {row[2]!r}, which is neither 1 (cat) nor 2 (dog)"
        )
    return SPECIES[row[2]], breed


PETS = Preset(
    name="pets",
    title="Oxford-IIIT Pets",
    page="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    archives=("images.tar.gz", "annotations.tar.gz"),
    marker=("annotations/list.txt",),
    read=read,
    tops=("", "oxford-iiit-pet"),
)
