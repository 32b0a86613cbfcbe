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

from analysis.geometry.generalisation import RankCorrelation, goes_with
from analysis.geometry.orthogonality import Orthogonality, orthogonality
from analysis.geometry.park import ParkCriterion, park_criterion, park_directions, unified_space
from analysis.geometry.ruling import Rule
from analysis.geometry.versus import versus

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
