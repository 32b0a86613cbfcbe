"""Orthogonality of hierarchical directions, against nulls that it can fail.

    from analysis.geometry import orthogonality
    r = orthogonality(features, leaf, taxonomy)      # features (n, d), leaf (n,) indices into taxonomy.leaves
    r.verdicts                                       # {(parent level, child level): "orthogonal" | ...}
    print(r.rule)                                    # and why: r.reasons

The numbers are records (lists of dicts, long format): `r.table`, `r.levels`, `r.edges`, `r.siblings`, `r.overlap`,
`r.explained`, `r.tree_correlation`, `r.nodes`. `versus` sets two results beside each other (a model and its random
initialisation), `goes_with` the alignment per layer beside accuracies on unseen leaves. `park_directions`,
`park_criterion` and `unified_space` are Park et al.'s, as published.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.geometry.comparing import versus
    from analysis.geometry.generalisation import RankCorrelation, goes_with
    from analysis.geometry.judging import Orthogonality, orthogonality
    from analysis.geometry.park import ParkCriterion, park_criterion, park_directions, unified_space
    from analysis.geometry.ruling import Rule

__all__ = [
    "Orthogonality",
    "ParkCriterion",
    "RankCorrelation",
    "Rule",
    "goes_with",
    "orthogonality",
    "park_criterion",
    "park_directions",
    "unified_space",
    "versus",
]

_HOME = {
    "Orthogonality": "judging",
    "ParkCriterion": "park",
    "RankCorrelation": "generalisation",
    "Rule": "ruling",
    "goes_with": "generalisation",
    "orthogonality": "judging",
    "park_criterion": "park",
    "park_directions": "park",
    "unified_space": "park",
    "versus": "comparing",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a command's help must not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
