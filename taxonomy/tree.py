"""Taxonomies: leaves, their paths, and integer codes for the nodes of each level."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from commandline import InputError
from taxonomy import formats
from taxonomy.names import LabelIndex, counted, listed, normalise

NodePath = tuple[str, ...]


@dataclass(frozen=True)
class Taxonomy:
    """A tree of named levels, coarse to fine, seen from its leaves.

    A node is its path from the top: equal names on two branches are two nodes, and a leaf named like its genus is a
    node of its own. Paths may have different lengths. Every array is read-only.

    `leaves[i]` labels leaf i and `paths[i]` is its path, whose last item is its name. A leaf's label is its name;
    where two leaves share a name it is the shortest end of the path that tells them apart (`home/other`,
    `garden/other`).

    Raises InputError for a taxonomy without leaves, an empty name, two equal paths, or a leaf that is also an inner
    node.
    """

    levels: tuple[str, ...]
    leaves: tuple[str, ...]
    paths: tuple[NodePath, ...]
    codes: np.ndarray = field(init=False, repr=False, compare=False)
    """int32 (leaf, level): the node of each leaf at each level, 0 .. nodes - 1 in order of first appearance; -1 below a
    leaf that ends higher up."""
    _nodes: tuple[tuple[NodePath, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self.levels, self.leaves, self.paths)
        codes = np.full((len(self.paths), len(self.levels)), -1, dtype=np.int32)
        nodes: list[dict[NodePath, int]] = [{} for _ in self.levels]
        for row, path in zip(codes, self.paths, strict=True):
            for level, known in enumerate(nodes[: len(path)]):
                row[level] = known.setdefault(path[: level + 1], len(known))
        codes.setflags(write=False)
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "_nodes", tuple(tuple(known) for known in nodes))

    def __len__(self) -> int:
        return len(self.leaves)

    def level_index(self, level: str | int) -> int:
        """The position of a level given by name or by position (negative from the end). Raises InputError."""
        if isinstance(level, str):
            if level in self.levels:
                return self.levels.index(level)
        elif -len(self.levels) <= level < len(self.levels):
            return level % len(self.levels)
        raise InputError(f"no level {level!r}; the levels are {', '.join(self.levels)}")

    def nodes(self, level: str | int) -> tuple[NodePath, ...]:
        """The nodes of a level as paths from the top; a node's position is its code."""
        return self._nodes[self.level_index(level)]

    def names(self, level: str | int) -> tuple[str, ...]:
        """The names of a level's nodes (not unique where two branches share one), in the order of their codes."""
        return tuple(node[-1] for node in self.nodes(level))

    def path(self, leaf: str | int) -> NodePath:
        """The path of a leaf given by label (spelled in any way `taxonomy.names.normalise` allows) or by index."""
        return self.paths[self.index(leaf) if isinstance(leaf, str) else leaf]

    def index(self, leaf: str) -> int:
        """The index of the leaf a label means. Raises InputError when it fits none or several."""
        found = self.labels.find(leaf)
        if found is None:
            near = self.labels.nearest(leaf)
            raise InputError(f"no leaf {leaf!r} in the taxonomy" + (f"; nearest: {listed(near)}" if near else ""))
        return found

    def parent_codes(self, level: str | int) -> np.ndarray:
        """int32 (node of `level`,): the code of each node's parent one level up; -1 everywhere at the top level."""
        index = self.level_index(level)
        parents = np.full(len(self._nodes[index]), -1, dtype=np.int32)
        if index:
            present = self.codes[:, index] >= 0
            parents[self.codes[present, index]] = self.codes[present, index - 1]
        parents.setflags(write=False)
        return parents

    @cached_property
    def depths(self) -> np.ndarray:
        """int32 (leaf,): the number of levels on each leaf's path."""
        depths = (self.codes >= 0).sum(axis=1, dtype=np.int32)
        depths.setflags(write=False)
        return depths

    @cached_property
    def lca_depth(self) -> np.ndarray:
        """int16 (leaf, leaf): how many levels two leaves share from the top; 0 = none, the leaf's own depth on the
        diagonal.

        Computed on first use and kept: 58 MB for the 5,388 leaves of iNat21-Animal.
        """
        depth = np.zeros((len(self), len(self)), dtype=np.int16)
        for column in np.ascontiguousarray(self.codes.T):  # a code names a whole path, so equal codes share all above
            depth += (column[:, None] == column[None, :]) & (column >= 0)
        depth.setflags(write=False)
        return depth

    @cached_property
    def labels(self) -> LabelIndex:
        """Finds leaves by label."""
        return LabelIndex.of(self.leaves, self.paths)

    @cached_property
    def shared_names(self) -> dict[str, tuple[NodePath, ...]]:
        """Names that two or more nodes of ONE level carry, with those nodes: a name with two parents.

        They stay separate nodes; this is the report. ImgNet-Artifact has `sports equipment` under `equipment` and under
        `implement`. Names are compared in normal form.
        """
        shared: dict[str, tuple[NodePath, ...]] = {}
        for nodes in self._nodes:
            shared |= {name: group for name, group in _by_name(nodes).items() if len(group) > 1}
        return shared

    @cached_property
    def repeated_names(self) -> dict[str, tuple[NodePath, ...]]:
        """Names that nodes of different levels carry, with those nodes (CUB: the genus and the species `Sayornis`)."""
        groups = _by_name([node for nodes in self._nodes for node in nodes])
        return {name: group for name, group in groups.items() if len({len(node) for node in group}) > 1}

    @classmethod
    def from_json(
        cls, path: str | os.PathLike[str], levels: Sequence[str] | None = None, drop_root: bool = False
    ) -> Taxonomy:
        """Read a taxonomy file in one of the forms of `from_dict`. Raises InputError, naming the file."""
        file = Path(path)
        try:
            return cls.from_dict(formats.read_json(file), levels, drop_root)
        except InputError as error:
            raise InputError(f"the taxonomy {file}: {error}") from error.__cause__

    @classmethod
    def from_dict(cls, data: Any, levels: Sequence[str] | None = None, drop_root: bool = False) -> Taxonomy:
        """A taxonomy from JSON data, in one of three forms.

        * `{leaf: [coarse, ..., leaf]}`: the study's files. The levels are called `level1`, `level2`, ... unless named.
        * `{"levels": [...], "leaves": [...], "paths": [[...], ...]}`: what `to_dict` gives.
        * nested objects, `{"animal": {"dog": {"beagle": {}}, "cat": ["Bengal", "Persian"]}}`: an empty object, null,
          or a name in a list is a leaf.

        `levels` names the levels, coarse to fine, the root included; `drop_root` then leaves the root out.
        """
        parts = formats.parse(data)
        return cls._build(parts.paths, parts.leaves, levels or parts.levels, drop_root)

    @classmethod
    def from_paths(
        cls, paths: Sequence[Sequence[str]], levels: Sequence[str] | None = None, drop_root: bool = False
    ) -> Taxonomy:
        """A taxonomy from one path per leaf, coarse to fine, the leaf last. Raises InputError."""
        return cls._build(paths, None, levels, drop_root)

    @classmethod
    def from_folder(
        cls, root: str | os.PathLike[str], levels: Sequence[str] | None = None, drop_root: bool = False
    ) -> Taxonomy:
        """The taxonomy of an image folder: a leaf is a folder that holds images, its path the folders above it.

        First-level folders that are all split names (`train`, `val`, `test`, ...) are splits, not nodes. Folders are
        read in the order of their names. Raises InputError, also for a folder that holds both images and classes.
        """
        from taxonomy.folders import class_paths

        return cls._build(class_paths(Path(root)), None, levels, drop_root)

    @classmethod
    def _build(
        cls,
        paths: Sequence[Sequence[str]],
        leaves: Sequence[str] | None,
        levels: Sequence[str] | None,
        drop_root: bool,
    ) -> Taxonomy:
        checked = tuple(formats.checked_path(path) for path in paths)
        depth = max((len(path) for path in checked), default=0)
        names = tuple(levels) if levels else tuple(f"level{number}" for number in range(1, depth + 1))
        tree = cls(names, tuple(leaves) if leaves is not None else _labels(checked), checked)
        return tree.without_root() if drop_root else tree

    def without_root(self) -> Taxonomy:
        """The same taxonomy less its top level, which must be one node; the other levels keep their names.

        Raises InputError when the top level has several nodes, or a leaf is the root itself.
        """
        if len(self._nodes[0]) != 1:
            raise InputError(
                f"there is no root to drop: the top level {self.levels[0]!r} has {len(self._nodes[0])} nodes "
                f"({listed(self.names(0))})"
            )
        if (self.depths == 1).any():
            raise InputError(f"the root cannot be dropped: the leaf {self.leaves[0]!r} is the root itself")
        paths = tuple(path[1:] for path in self.paths)
        kept = all(formats.names_end(leaf, path) for leaf, path in zip(self.leaves, paths, strict=True))
        return Taxonomy(self.levels[1:], self.leaves if kept else _labels(paths), paths)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able and lossless: `{"levels": [...], "leaves": [...], "paths": [[...], ...]}`, leaves in order."""
        return {"levels": list(self.levels), "leaves": list(self.leaves), "paths": [list(path) for path in self.paths]}

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as a JSON file that `from_json` reads back equal."""
        Path(path).write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _labels(paths: Sequence[NodePath]) -> tuple[str, ...]:
    """Each path's last name, lengthened by its parents until no other leaf has it."""
    labels = [path[-1] for path in paths]
    for length in range(2, max((len(path) for path in paths), default=0) + 1):
        counts: dict[str, int] = {}
        for label in labels:
            counts[label] = counts.get(label, 0) + 1
        labels = [
            "/".join(path[-length:]) if counts[label] > 1 else label for label, path in zip(labels, paths, strict=True)
        ]
    return tuple(labels)


def _by_name(nodes: Sequence[NodePath]) -> dict[str, tuple[NodePath, ...]]:
    groups: dict[str, list[NodePath]] = {}
    for node in nodes:
        groups.setdefault(normalise(node[-1]), []).append(node)
    return {group[0][-1]: tuple(group) for group in groups.values()}


def _check(levels: tuple[str, ...], leaves: tuple[str, ...], paths: tuple[NodePath, ...]) -> None:
    if not paths:
        raise InputError("a taxonomy needs at least one leaf")
    depth = max(len(path) for path in paths)
    if len(levels) != depth:
        raise InputError(
            f"{counted(len(levels), 'level name')} ({', '.join(levels)}) for paths of up to {counted(depth, 'level')}"
        )
    if len(set(levels)) < len(levels) or not all(level.strip() for level in levels):
        raise InputError(f"the level names should be different and not empty: {list(levels)!r}")
    inner = {path[:length] for path in paths for length in range(1, len(path))}
    seen: dict[NodePath, str] = {}
    for leaf, path in zip(leaves, paths, strict=True):
        if not formats.names_end(leaf, path):
            raise InputError(f"the path of {leaf!r} should end in that leaf, but ends in {path[-1]!r}")
        if path in seen:
            raise InputError(f"the leaves {seen[path]!r} and {leaf!r} have the same path: {' / '.join(path)}")
        if path in inner:
            raise InputError(f"{' / '.join(path)} is a leaf, and yet other leaves lie below it")
        seen[path] = leaf
    if len(set(leaves)) < len(leaves):
        raise InputError("two leaves have the same label")
