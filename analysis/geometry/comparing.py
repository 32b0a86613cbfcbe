"""Two representations of the same leaves beside each other: a model and its random initialisation, two layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from commandline import InputError

if TYPE_CHECKING:
    from analysis.geometry.judging import Orthogonality


def versus(first: Orthogonality, second: Orthogonality) -> list[dict[str, Any]]:
    """Differences of every statistic that has bootstrap draws: first - second, with a paired 95 % interval.

    Paired: the same leaves are drawn on both sides, so the two need the same leaves, seed and number of draws. The
    effect is the difference over the standard deviation of its draws. Raises InputError.
    """
    if [node["node"] for node in first.nodes] != [node["node"] for node in second.nodes]:
        raise InputError("two results can be compared when they have the same leaves")
    for name in ("seed", "draws"):
        if first.settings[name] != second.settings[name]:
            raise InputError(
                f"the intervals of a difference need the same {name} on both sides, not {first.settings[name]} and "
                f"{second.settings[name]}"
            )
    values = [
        {(row["statistic"], row["parent"], row["child"]): row for row in result.table} for result in (first, second)
    ]
    found = []
    for key in first.bootstrap:
        if key not in values[0] or key not in values[1]:
            continue
        drawn = first.bootstrap[key] - second.bootstrap[key]
        drawn = drawn[np.isfinite(drawn)]
        a, b = (each[key] for each in values)
        difference, spread = a["value"] - b["value"], drawn.std() if len(drawn) else 0.0
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        found.append(
            {
                "statistic": key[0],
                "parent": key[1],
                "child": key[2],
                "first": a["value"],
                "second": b["value"],
                "difference": difference,
                "low": float(low),
                "high": float(high),
                "n": a["n"],
                "effect": float(difference / spread) if spread > 0 else float("nan"),
            }
        )
    return found
