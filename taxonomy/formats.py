"""The forms in which a taxonomy is written as JSON, read into one: leaves and their paths."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commandline import InputError
from taxonomy.names import normalise


@dataclass(frozen=True)
class Parts:
    """What a file says: a path per leaf, and, where it gives them, the leaves' labels and the levels' names."""

    paths: Sequence[Sequence[str]]
    leaves: Sequence[str] | None = None
    levels: Sequence[str] | None = None


def read_json(file: Path, unique: bool = True) -> Any:
    """The JSON value in `file` (UTF-8, a byte order mark allowed). Raises InputError.

    A key given twice in one object is an error, unless `unique` is off (several times faster on a large file).
    """
    try:
        return json.loads(file.read_bytes().decode("utf-8-sig"), object_pairs_hook=_unique if unique else None)
    except FileNotFoundError:
        raise InputError("there is no such file") from None
    except IsADirectoryError:
        raise InputError("this is a folder, not a JSON file") from None
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"it is not valid JSON: {error}") from error


def parse(data: Any) -> Parts:
    """The parts of a taxonomy from JSON data in any of the forms of `Taxonomy.from_dict`. Raises InputError."""
    if not isinstance(data, Mapping) or not data:
        raise InputError("it should be an object {leaf: [coarse, ..., leaf]} with at least one leaf")
    if set(data) == {"levels", "leaves", "paths"} and isinstance(data["paths"], list) and data["paths"]:
        own = [data["levels"], data["leaves"]]
        if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in own):
            raise InputError('"levels" and "leaves" should be lists of names')
        if len(data["leaves"]) != len(data["paths"]):
            raise InputError(f"it has {len(data['leaves'])} leaves but {len(data['paths'])} paths")
        return Parts(data["paths"], data["leaves"], data["levels"])
    if any(isinstance(value, Mapping) for value in data.values()):
        return Parts(_nested_paths(data))
    for leaf, path in data.items():
        if not isinstance(path, list):
            raise InputError(f"the path of {leaf!r} should be a list of names [coarse, ..., {leaf!r}], not {path!r}")
    return Parts(list(data.values()), list(data))


def checked_path(path: Any) -> tuple[str, ...]:
    """`path` as a tuple of names. Raises InputError when it is empty or holds anything but names."""
    if isinstance(path, str) or not isinstance(path, Sequence) or not path:
        raise InputError(f"a path should be a list of names [coarse, ..., leaf], not {path!r}")
    for name in path:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"the path {list(path)!r} has an item that is not a name: {name!r}")
    return tuple(path)


def names_end(label: str, path: Sequence[str]) -> bool:
    """Whether `label` is, in normal form, the last name of `path` or the end of it written `parent/name`."""
    names = [normalise(name) for name in path]
    if normalise(label) == names[-1]:
        return True
    wanted = "/".join(normalise(part) for part in label.split("/"))
    return any("/".join(names[start:]) == wanted for start in range(len(names)))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise InputError(f"the name {key!r} is given twice in one object")
        data[key] = value
    return data


def _nested_paths(data: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for name, below in data.items():
        here = (*above, name)
        if below is None or below == {} or below == []:
            paths.append(here)
        elif isinstance(below, Mapping):
            paths += _nested_paths(below, here)
        elif isinstance(below, list):
            paths += [(*here, leaf) for leaf in below]
        else:
            raise InputError(f"below {' / '.join(here)} there should be an object or a list of leaves, not {below!r}")
    return paths
