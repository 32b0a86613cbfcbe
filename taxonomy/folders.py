"""Image folders: nested folders are a taxonomy path, first-level folders named like splits are splits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from commandline import InputError
from taxonomy.files import IMAGE_SUFFIXES, FileReader, existing_folder, relative_paths
from taxonomy.listing import Listing
from taxonomy.splits import parse_split


def list_folder(folder: Path, root: Path | None = None) -> Listing:
    """Every image below `folder`, labelled by the folders above it.

    The id of an image is its path relative to `root` (`folder` itself unless given). Raises InputError when there is no
    image, an image lies outside any class folder, or a link is found that leads elsewhere.
    """
    folder = existing_folder(folder, "the image folder")
    base = existing_folder(root, "the root") if root else folder
    if not folder.is_relative_to(base):
        raise InputError(f"the image folder {folder} does not lie in the root {base}")
    found = [(parts, name) for parts, names in _walk(folder) for name in names]
    if not found:
        raise InputError(f"the folder {folder} holds no images")
    has_splits = all(parts and parse_split(parts[0]) for parts, _ in found)
    for parts, name in found:
        if len(parts) <= has_splits:
            where = "/".join((*parts, name))
            raise InputError(f"the image {where} of {folder} lies in no class folder, so it has no label")
    files = relative_paths(base, [str(folder.joinpath(*parts, name)) for parts, name in found])
    return Listing(
        name=folder.name,
        ids=files,
        labels=tuple(parts[has_splits:] for parts, _ in found),
        splits=tuple(parts[0] for parts, _ in found) if has_splits else None,
        reader=FileReader(base, files),
    )


def class_paths(folder: Path) -> list[tuple[str, ...]]:
    """The class folders below `folder` as paths, sorted; see `Taxonomy.from_folder`. Raises InputError."""
    labels = list_folder(folder).labels
    return sorted({label for label in labels if isinstance(label, tuple)})


def _walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """(folders below the top, names of the images there), in the order of names; hidden entries are passed over."""
    with os.scandir(folder) as entries:
        visible = sorted((e for e in entries if not e.name.startswith((".", "__MACOSX"))), key=lambda e: e.name)
    images = [e for e in visible if Path(e.name).suffix.lower() in IMAGE_SUFFIXES and not e.is_dir()]
    yield above, [entry.name for entry in images]
    for entry in visible:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), (*above, entry.name))
        elif entry.is_symlink() and entry.is_dir():
            raise InputError(
                f"{entry.path} is a link to a folder; links are not followed, so that no image lies outside the "
                "dataset or counts twice: give the real folder"
            )
