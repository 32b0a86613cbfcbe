"""Orthogonality of hierarchical directions, against nulls that it can fail.

from analysis.geometry import orthogonality
r = orthogonality(features, leaf, taxonomy)      # features (n, d), leaf (n,) indices into taxonomy.leaves
r.verdicts                                       # {(parent level, child level): "orthogonal" | ...}
print(r.rule)
"""

from analysis.geometry.orthogonality import Orthogonality, orthogonality
from analysis.geometry.ruling import Rule

__all__ = ["Orthogonality", "Rule", "orthogonality"]
