"""Who is trained on and who is read once: the publisher's splits, stratified ones, and splits by whole leaves.

Every split is a function of the images' ids and a seed, never of their order: a leaf's images are ranked by
sha256(seed, id); test is taken from the front of the ranking and validation from its end. Adding an image to a leaf
leaves all other leaves as they were, and moves at most one other image into or out of test and one into or out of
validation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from commandline import InputError
from taxonomy.tree import Taxonomy

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

ALIASES = {
    "train": TRAIN,
    "training": TRAIN,
    "trainval": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""What publishers call their splits (compared in lower case), and what we call them."""

_DTYPE = "<U10"


def parse_split(name: str) -> str | None:
    """`train`, `validation` or `test` for any of the names in `ALIASES`; None for another name."""
    return ALIASES.get(name.strip().casefold())


def publisher(names: Sequence[str]) -> np.ndarray:
    """The publisher's split of each image, in our words: (n,) of `train`, `validation`, `test`.

    A publisher's validation set is the test set where there is no other (ImageNet, iNat21): it is what results are
    read on. Raises InputError naming the split names that mean nothing.
    """
    unknown = sorted({name for name in set(names) if parse_split(name) is None})
    if unknown:
        raise InputError(
            f"unknown split names {', '.join(map(repr, unknown[:5]))}; known are {', '.join(ALIASES)} "
            "(choose the splitting yourself with --split=stratified to ignore them)"
        )
    split = np.array([parse_split(name) for name in names], dtype=_DTYPE)
    if not (split == TEST).any():
        split[split == VALIDATION] = TEST
    return split


def stratified(
    ids: Sequence[str], leaf: np.ndarray, fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> np.ndarray:
    """Split each leaf's images into train, validation and test by the given fractions: (n,) of split names.

    Every leaf with two images or more has one in train and one in test, with three or more one in validation too (where
    the fraction is not 0); a lone image is trained on. `leaf` is (n,) int. Raises InputError for impossible fractions.
    """
    parts = check_fractions(fractions)
    split = np.full(len(leaf), TRAIN, dtype=_DTYPE)
    for rows in _ranked_by_leaf(ids, leaf, seed):
        tests = _share(parts[2], len(rows), spare=2 if parts[1] and len(rows) > 2 else 1)
        validations = _share(parts[1], len(rows), spare=1 + tests)
        split[rows[:tests]] = TEST
        split[rows[len(rows) - validations :]] = VALIDATION
    return split


def carve_validation(
    split: np.ndarray, leaf: np.ndarray, fraction: float = 0.2, seed: int = 0, ids: Sequence[str] | None = None
) -> np.ndarray:
    """A copy of `split` in which a fraction of each leaf's `train` images became `validation`; test is untouched.

    A leaf with two training images or more gives at least one and keeps at least one. `ids` makes the choice a
    function of the images (see the module); without them their row numbers stand in. Raises InputError unless 0 <
    fraction < 1.
    """
    _check_fraction(fraction)
    names = np.asarray(ids if ids is not None else np.arange(len(split)), dtype=str)
    carved = np.array(split, dtype=_DTYPE)
    train = np.flatnonzero(carved == TRAIN)
    for rows in _ranked_by_leaf(names[train], np.asarray(leaf)[train], seed):
        carved[train[rows[: _share(fraction, len(rows), spare=1)]]] = VALIDATION
    return carved


def leaf_disjoint(
    taxonomy: Taxonomy, leaf: np.ndarray, fraction: float = 0.5, seed: int = 0, validation: float = 0.0
) -> np.ndarray:
    """Whole leaves to one side: does the direction of a family hold for a species it never saw? (n,) of split names.

    Of a parent's leaves that have images, ceil(fraction * leaves) go to test but never all, so every parent with two
    such leaves or more has leaves on both sides; a lone leaf is trained on. With 0.5 the counts are those of the
    study's species splits (arXiv 2505.24840). `validation` then takes, in the same way, that fraction of what each
    parent left to train. Raises InputError unless 0 < fraction < 1 and 0 <= validation < 1.
    """
    _check_fraction(fraction)
    if validation:
        _check_fraction(validation)
    present = np.unique(leaf)
    families: dict[tuple[str, ...], list[int]] = {}
    for index in present:
        families.setdefault(taxonomy.paths[index][:-1], []).append(int(index))
    side = np.full(len(taxonomy.leaves), TRAIN, dtype=_DTYPE)
    for leaves in families.values():
        ranked = sorted(leaves, key=lambda index: _rank(seed, "/".join(taxonomy.paths[index])))
        tests = _ceil_share(fraction, len(ranked))
        validations = _ceil_share(validation, len(ranked) - tests)
        side[ranked[:tests]] = TEST
        side[ranked[tests : tests + validations]] = VALIDATION
    return side[np.asarray(leaf)]


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """The fractions of train, validation and test. Raises InputError unless they add up to 1, with train above 0."""
    parts = tuple(float(part) for part in fractions)
    if len(parts) != 3 or min(parts) < 0 or not math.isclose(sum(parts), 1, abs_tol=1e-6) or parts[0] == 0:
        raise InputError(f"the fractions of train, validation and test should add up to 1, with train above 0: {parts}")
    return parts


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()


def _ranked_by_leaf(ids: Sequence[str] | np.ndarray, leaf: np.ndarray, seed: int) -> list[np.ndarray]:
    """The rows of each leaf, in the order of the hashes of their ids."""
    ranks = np.array([_rank(seed, str(name))[:16] for name in ids], dtype="S16")
    order = np.lexsort((ranks, leaf))
    return np.split(order, np.flatnonzero(np.diff(np.asarray(leaf)[order])) + 1) if len(order) else []


def _share(fraction: float, count: int, spare: int) -> int:
    """`fraction` of `count`, rounded, at least 1 when that leaves `spare` for the others, 0 when it does not."""
    if fraction == 0 or count <= spare:
        return 0
    return min(max(1, round(fraction * count)), count - spare)


def _ceil_share(fraction: float, count: int) -> int:
    return min(math.ceil(fraction * count - 1e-9), count - 1) if count else 0


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise InputError(f"the fraction should lie between 0 and 1, not {fraction}")
