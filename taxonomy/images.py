"""Image sets: which images there are, the leaf each one shows, and who is trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from taxonomy.tree import Taxonomy


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images, read one by one when asked for. Made by `load_images`; arrays are read-only.

    Images are in the order of their ids, whatever the order of their source.
    """

    name: str
    taxonomy: Taxonomy
    ids: tuple[str, ...]
    """Stable and unique: the path relative to the root (posix), or the dataset's own id; the same on every machine."""
    leaf: np.ndarray
    """int32 (image,): index into `taxonomy.leaves`."""
    split: np.ndarray
    """str (image,): `train`, `validation` or `test`."""
    split_source: str
    """How the split was made, in one sentence."""
    rows: np.ndarray = field(repr=False)
    """int64 (image,): where `reader` finds each image."""
    reader: Callable[[int], bytes] = field(repr=False)
    unmatched: Mapping[str, int] = field(default_factory=dict)
    """Labels that match no leaf, with the number of images left out for each."""
    missing: tuple[str, ...] = ()
    """Ids of images whose file is not there (kept with `missing="keep"`, and unreadable)."""

    def __post_init__(self) -> None:
        for name in ("leaf", "split", "rows"):
            array = np.array(getattr(self, name))
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def codes(self) -> np.ndarray:
        """int32 (image, level): the node of each image at each level, -1 where its path has none."""
        return self.taxonomy.codes[self.leaf]

    def read(self, index: int) -> bytes:
        """The encoded image (the bytes of its file). Raises OSError when it cannot be read."""
        return self.reader(int(self.rows[index]))

    def select(self, indices: ArrayLike) -> ImageSet:
        """The images at `indices` (integers or a boolean mask), in that order."""
        chosen = np.arange(len(self))[np.asarray(indices)].reshape(-1)
        return replace(
            self,
            ids=tuple(self.ids[index] for index in chosen),
            leaf=self.leaf[chosen],
            split=self.split[chosen],
            rows=self.rows[chosen],
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of ids, labels, splits and taxonomy, whatever the order of the images."""
        digest = hashlib.sha256(json.dumps(self.taxonomy.to_dict()).encode())
        for index in sorted(range(len(self)), key=self.ids.__getitem__):
            line = json.dumps([self.ids[index], int(self.leaf[index]), str(self.split[index])])
            digest.update(line.encode())
        return digest.hexdigest()
