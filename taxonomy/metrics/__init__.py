"""Scores of predicted paths against true ones, with intervals, and of two runs against each other."""

from taxonomy.metrics.compare import Difference, compare_paths
from taxonomy.metrics.intervals import Interval, clustered_bootstrap, wilson
from taxonomy.metrics.paths import leaf_given, path_scores
from taxonomy.metrics.samples import sample_scores
from taxonomy.metrics.scores import PathScores

__all__ = [
    "Difference",
    "Interval",
    "PathScores",
    "clustered_bootstrap",
    "compare_paths",
    "leaf_given",
    "path_scores",
    "sample_scores",
    "wilson",
]
