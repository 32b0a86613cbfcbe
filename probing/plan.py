"""Who is trained on, who is read once, and what is asked of each level: decided before any activation is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np

from commandline import InputError
from taxonomy import Taxonomy
from taxonomy.splits import TEST, TRAIN, VALIDATION, carve_validation, leaf_disjoint

ABSENT = -1
"""The code of a level that a sample's path does not have."""


@dataclass(frozen=True)
class Plan:
    """What every site of a store is probed for. Rows are the store's usable rows, in the caller's order.

    A unit is what gets one predicted path: an image, or in a text store a leaf, whose rows ask one level each.
    """

    taxonomy: Taxonomy
    levels: tuple[str, ...]
    unscored: dict[str, str]
    """The levels that are kept but not scored, and why."""
    split: np.ndarray
    """(row,) of train, validation, test."""
    split_source: str
    """One sentence: where the split comes from."""
    unit: np.ndarray
    """int (row,): the unit of each row."""
    leaf: np.ndarray
    """int32 (unit,): the leaf of each unit."""
    path: np.ndarray
    """int32 (unit, level): codes, -1 where the unit has no such level (or no row that asks for it)."""
    asked: np.ndarray
    """bool (row, level): whether the row is asked for the level; all True for images."""
    leaf_lookup: bool
    """Whether leaves can be predicted at all: some validation and some test leaves have been trained on."""

    @property
    def scored(self) -> tuple[str, ...]:
        """The levels that are probed."""
        return tuple(level for level in self.levels if level not in self.unscored)

    @property
    def leaf_level(self) -> str | None:
        """The scored level whose nodes are the leaves themselves, if there is one."""
        finest = self.levels[-1]
        codes = self.taxonomy.codes[:, self.taxonomy.level_index(finest)]
        whole = finest in self.scored and codes.min() >= 0 and len(self.taxonomy.nodes(finest)) == len(codes)
        return finest if whole else None

    @property
    def test_units(self) -> np.ndarray:
        """The units read at the end, ascending."""
        return self.units(TEST)

    def units(self, part: str) -> np.ndarray:
        """The units with rows in a part of the split, ascending."""
        return np.unique(self.unit[self.split == part])

    @property
    def scored_path(self) -> np.ndarray:
        """int32 (unit, scored level): the codes of the levels that are probed."""
        return self.path[:, [self.levels.index(level) for level in self.scored]]

    def labels(self, level: str, path: np.ndarray | None = None) -> np.ndarray:
        """int32 (row,): the codes of a level, -1 = the row is no part of its problem; of `path` instead of the true."""
        column = self.levels.index(level)
        codes = (self.path if path is None else path)[self.unit, column]
        return np.where(self.asked[:, column], codes, ABSENT)


def make_plan(
    taxonomy: Taxonomy,
    leaf: np.ndarray,
    split: np.ndarray,
    ids: Sequence[str],
    *,
    asked: np.ndarray | None = None,
    levels: Sequence[str] | None = None,
    kind: Literal["image", "leaf", "parent"] = "image",
    validation_fraction: float = 0.2,
    leaf_fraction: float = 0.5,
    seed: int = 0,
) -> Plan:
    """Plan the probes of some usable rows.

    leaf: int (row,). split: (row,) of train, validation, test. asked: (row,) level names, in text stores. kind "image"
    takes the split as it is, with validation carved out of train where there is none (from each leaf's rows; in text
    stores whole leaves); "leaf" makes its own, by whole leaves, and asks no sample for its own leaf; "parent" by whole
    parents of leaves, and asks no sample for those either. Raises InputError when nothing can be probed.
    """
    chosen = _chosen(taxonomy, levels)
    by_level = asked is not None
    parts, source = (
        _leaf_split(taxonomy, leaf, ids, by_level, validation_fraction, leaf_fraction, seed)
        if kind == "leaf"
        else _parent_split(taxonomy, leaf, validation_fraction, leaf_fraction, seed)
        if kind == "parent"
        else _stored_split(taxonomy, leaf, np.asarray(split), ids, by_level, validation_fraction, seed)
    )
    _check_parts(parts, "leaves per parent" if by_level else "samples per leaf")
    unit, unit_leaf, asks = _units(leaf, asked, chosen)
    path = taxonomy.codes[unit_leaf].copy()
    for up in range({"image": 0, "leaf": 1, "parent": 2}[kind]):  # nobody is asked for what was held out whole
        path[np.arange(len(unit_leaf)), np.maximum(taxonomy.depths[unit_leaf] - 1 - up, 0)] = ABSENT
    path = path[:, [taxonomy.level_index(level) for level in chosen]]
    has_row = np.zeros(path.shape, bool)
    np.logical_or.at(has_row, unit, asks)
    path[~has_row] = ABSENT
    unscored = {}
    for column, level in enumerate(chosen):
        codes = np.where(asks[:, column], path[unit, column], ABSENT)
        if kind != "image" and (codes < 0).all():
            what = "the leaves" if kind == "leaf" else "the leaves or their parents"
            unscored[level] = f"it names {what}, which are held out whole"
        elif reason := _unscored(codes, parts, len(taxonomy.nodes(level))):
            unscored[level] = reason
    if len(unscored) == len(chosen):
        reasons = "; ".join(f"{level}: {reason}" for level, reason in unscored.items())
        raise InputError(f"no level can be probed ({reasons})")
    lookup = kind == "image" and not by_level and _unscored(leaf, parts, len(taxonomy.leaves)) is None
    return Plan(taxonomy, chosen, unscored, parts, source, unit, unit_leaf, path, asks, lookup)


def capped(split: np.ndarray, leaf: np.ndarray, ids: Sequence[str], most: int, seed: int) -> np.ndarray:
    """bool (row,): the rows to keep so that no leaf has more than `most` that are not in test.

    Which ones is a matter of their ids and the seed, not of their order.
    """
    rank = np.empty(len(ids), int)
    rank[np.argsort(np.asarray(ids))] = np.random.default_rng([seed, 6]).permutation(len(ids))
    keep = split == TEST
    for rows in (np.flatnonzero((leaf == one) & ~keep) for one in np.unique(leaf)):
        keep[rows[np.argsort(rank[rows])][:most]] = True
    return keep


def _units(
    leaf: np.ndarray, asked: np.ndarray | None, levels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Plan.unit`, `Plan.leaf` and `Plan.asked`."""
    if asked is None:
        return np.arange(len(leaf)), np.asarray(leaf), np.ones((len(leaf), len(levels)), bool)
    unit_leaf, unit = np.unique(leaf, return_inverse=True)
    return unit, unit_leaf, np.asarray(asked)[:, None] == np.asarray(levels)


def _check_parts(split: np.ndarray, too_few: str) -> None:
    """Raise InputError where a part of the split is empty."""
    for part, cure in (
        (TRAIN, "nothing can be fitted"),
        (TEST, "nothing can be read: extract with a test split, or probe with --split leaf"),
        (VALIDATION, f"no penalty can be chosen: too few {too_few} to set any aside"),
    ):
        if not (split == part).any():
            raise InputError(f"of {len(split)} usable rows none is in the {part} split, so {cure}")


def _chosen(taxonomy: Taxonomy, levels: Sequence[str] | None) -> tuple[str, ...]:
    if levels is None:
        return taxonomy.levels
    for level in levels:
        taxonomy.level_index(level)
    return tuple(level for level in taxonomy.levels if level in levels)


def _leaf_split(
    taxonomy: Taxonomy,
    leaf: np.ndarray,
    ids: Sequence[str],
    by_level: bool,
    validation_fraction: float,
    leaf_fraction: float,
    seed: int,
) -> tuple[np.ndarray, str]:
    """A split of our own by whole leaves, and how it was made. `by_level`: rows ask one level each."""
    parts = leaf_disjoint(taxonomy, leaf, leaf_fraction, seed, validation_fraction)
    source = f"by whole leaves: of each parent's leaves {leaf_fraction:.0%} to test, and {validation_fraction:.0%} of"
    if (parts == VALIDATION).any():
        return parts, f"{source} the others to validation (seed {seed})"
    if by_level:
        parts, family = _carve_leaves(taxonomy, parts, leaf, validation_fraction, seed)
        return parts, f"{source} {family} other leaves to validation (seed {seed})"
    parts = carve_validation(parts, leaf, validation_fraction, seed, ids)
    return parts, f"{source} the other leaves' rows to validation, the leaves being too few (seed {seed})"


def _parent_split(
    taxonomy: Taxonomy, leaf: np.ndarray, validation_fraction: float, parent_fraction: float, seed: int
) -> tuple[np.ndarray, str]:
    """A split of our own by whole parents of leaves, and how it was made.

    Of a grandparent's parents, ceil(fraction) are tested but never all, and of the others likewise for validation;
    where that gives no parent to validate on, `validation_fraction` of all those left to train are taken.
    """
    parents = sorted({taxonomy.paths[index][:-1] for index in np.unique(leaf)})
    order = np.random.default_rng([seed, 10]).permutation(len(parents))
    families: dict[tuple[str, ...], list[int]] = {}
    for index in order.tolist():
        families.setdefault(parents[index][:-1], []).append(index)
    side = np.full(len(parents), TRAIN, dtype="<U10")
    for members in families.values():
        tests = min(ceil(parent_fraction * len(members) - 1e-9), len(members) - 1)
        held = max(0, min(ceil(validation_fraction * (len(members) - tests) - 1e-9), len(members) - tests - 1))
        side[members[:tests]] = TEST
        side[members[tests : tests + held]] = VALIDATION
    if not (side == VALIDATION).any():
        training = [index for index in order.tolist() if side[index] == TRAIN]
        side[training[: int(validation_fraction * len(training))]] = VALIDATION
    place = {parent: index for index, parent in enumerate(parents)}
    rows = side[[place[taxonomy.paths[index][:-1]] for index in leaf]]
    return rows, f"by whole parents of leaves: {parent_fraction:.0%} of each grandparent's to test (seed {seed})"


def _stored_split(
    taxonomy: Taxonomy,
    leaf: np.ndarray,
    split: np.ndarray,
    ids: Sequence[str],
    by_level: bool,
    validation_fraction: float,
    seed: int,
) -> tuple[np.ndarray, str]:
    """The split as it is, with validation, and how that was made. `by_level`: rows ask one level each."""
    if (split == VALIDATION).any():
        return split, "as stored, validation included"
    if by_level:
        parts, family = _carve_leaves(taxonomy, split, leaf, validation_fraction, seed)
        whose = f"{family} training leaves, whole,"
    else:
        parts = carve_validation(split, leaf, validation_fraction, seed, ids)
        whose = "each leaf's training rows"
    return parts, f"as stored, with {validation_fraction:.0%} of {whose} set aside for validation (seed {seed})"


def _carve_leaves(
    taxonomy: Taxonomy, split: np.ndarray, leaf: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, str]:
    """`split` with some leaves, all their training rows, moved to validation; and whose leaves those are.

    A leaf's rows ask one level each and are of different classes: carved row by row, a level could go without. Every
    parent of two training leaves or more gives one or more; where no parent has two, they come from all leaves alike.
    """
    training = np.unique(leaf[split == TRAIN])
    paths = [taxonomy.paths[index] for index in training]
    place = {parent: index for index, parent in enumerate(dict.fromkeys(path[:-1] for path in paths))}
    parent = np.array([place[path[:-1]] for path in paths])
    shared = len(place) < len(training)
    side = carve_validation(
        np.full(len(training), TRAIN),
        parent if shared else np.zeros_like(parent),
        fraction,
        seed,
        ["/".join(path) for path in paths],
    )
    carved = np.where((split == TRAIN) & np.isin(leaf, training[side == VALIDATION]), VALIDATION, split)
    return carved, "each parent's" if shared else "all"


def _unscored(codes: np.ndarray, split: np.ndarray, nodes: int) -> str | None:
    """Why a level cannot be scored, if so."""
    if nodes < 2:
        return "it has one node"
    present = codes >= 0
    trained = np.unique(codes[present & (split == TRAIN)])
    for part in (TRAIN, VALIDATION, TEST):
        if not (present & (split == part)).any():
            return f"no {part} row has it"
    if len(trained) < 2:
        return "its training rows are all of one node"
    for part in (VALIDATION, TEST):
        if not np.isin(codes[present & (split == part)], trained).any():
            return f"no {part} row is of a node that was trained on"
    return None
