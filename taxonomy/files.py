"""Image files of a dataset: found inside its root, checked early, read late."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from commandline import InputError

_SUFFIXES = ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .avif"
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
"""What counts as an image where files are found by walking a folder (compared in lower case)."""


@dataclass(frozen=True)
class FileReader:
    """Reads image files: `reader(row)` gives the bytes of `files[row]`, relative to `root`, or raises OSError."""

    root: Path
    files: tuple[str, ...]

    def __call__(self, row: int) -> bytes:
        return (self.root / self.files[row]).read_bytes()


def existing_folder(path: str | os.PathLike[str], what: str) -> Path:
    """`path` as an absolute folder, links resolved. Raises InputError when it is none."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"{what} {folder} " + ("is not a folder" if folder.exists() else "does not exist"))
    return folder.resolve()


def relative_paths(root: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Each name as a path relative to `root`, in posix form without `.` or `..`: the stable id of an image.

    Raises InputError, naming the row (counted from 1), for a path that leaves the root by `..`, or is absolute and
    elsewhere.
    """
    base = root.as_posix().rstrip("/") + "/"
    paths: list[str] = []
    for row, name in enumerate(names, start=1):
        path = posixpath.normpath(name)
        if path.startswith("/"):
            given, path = path, path.removeprefix(base)
            if given == path and not (path := _through_links(root, given)):
                raise InputError(
                    f"row {row}: the image {name!r} lies outside the root {root}; set --root to a folder that holds it"
                )
        if path == ".." or path.startswith("../"):
            raise InputError(
                f"row {row}: the image path {name!r} leaves the root {root}; set --root to a folder that holds it"
            )
        if path == "." or "\0" in path:
            raise InputError(f"row {row}: {name!r} is not an image path")
        if "://" in name:
            raise InputError(f"row {row}: the image {name!r} is an address, not a file; download the images first")
        paths.append(path)
    return tuple(paths)


def missing_files(root: Path, paths: Sequence[str]) -> tuple[int, ...]:
    """The rows whose file is not there. Each folder is listed once, so a million paths cost seconds.

    Raises InputError for a link that leads out of the root: what a dataset may read stays inside it.
    """
    folders: dict[str, dict[str, os.DirEntry[str]]] = {}
    missing: list[int] = []
    for row, path in enumerate(paths):
        above, _, name = path.rpartition("/")
        if above not in folders:
            folders[above] = _entries(root, above)
        entry = folders[above].get(name)
        if entry is not None and not entry.is_symlink():
            found = entry.is_file(follow_symlinks=False)
        else:  # a link, or a name the file system spells otherwise (case, accents)
            found = _is(Path.is_file, root / path)
            if found:
                _check_inside(root, root / path, f"the image {path!r}")
        if not found:
            missing.append(row)
    return tuple(missing)


def _entries(root: Path, above: str) -> dict[str, os.DirEntry[str]]:
    folder = root / above
    if not _is(Path.is_dir, folder):
        return {}
    _check_inside(root, folder, f"the folder {above!r}")
    with os.scandir(folder) as entries:
        return {entry.name: entry for entry in entries}


def _is(test: Callable[[Path], bool], path: Path) -> bool:
    """`Path.is_file` or `is_dir`, False too for a name no file can have (longer than the system allows)."""
    try:
        return test(path)
    except OSError:
        return False


def _check_inside(root: Path, path: Path, what: str) -> None:
    if not path.resolve().is_relative_to(root):
        raise InputError(f"{what} is a link that leads out of the root {root}; set --root to a folder that holds both")


def _through_links(root: Path, path: str) -> str | None:
    """An absolute path that reaches into `root` by another name (`/tmp` for `/private/tmp`), relative to it."""
    parent = Path(path).parent.resolve()
    return (parent / Path(path).name).relative_to(root).as_posix() if parent.is_relative_to(root) else None
