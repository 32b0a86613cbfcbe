"""Does orthogonality at a layer go with probes that generalise to unseen leaves there? The join of the two tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from analysis.geometry.generalisation import goes_with
from analysis.geometry.parts import Record

LEAST = 4
"""Sites for which a rank correlation says anything."""
DRAWS = 2000


def generalising(verdicts: Sequence[Record], held_out: Sequence[Record]) -> list[Record]:
    """A row per kind of direction, inner product and pair of levels, over the sites that both tables have.

    verdicts: with `alignment`, the |cos| of child - parent with parent. held_out: `accuracy` of the probes of leaves
    they never saw, per site and level. Sites without a finite value on either side are left out, and those where the
    interval of |cos| reaches 1: it says nothing of the angle.
    """
    accuracy = {(row["site"], row["level"]): row["accuracy"] for row in held_out if row["accuracy"] is not None}
    groups: dict[tuple[str, str, str, str], list[tuple[float, float]]] = {}
    for row in verdicts:
        key = row["directions"], row["inner_product"], row["parent"], row["child"]
        pair = row["alignment"], accuracy.get((row["site"], row["parent"]), np.nan)
        if np.isfinite(pair).all() and row["high"] < 1:
            groups.setdefault(key, []).append(pair)
    found = []
    for (way, product, parent, child), pairs in groups.items():
        if len(pairs) >= LEAST:
            place = {"directions": way, "inner_product": product, "parent": parent, "child": child}
            found.append(place | asdict(goes_with(*np.array(pairs).T, draws=DRAWS)))
    return found
