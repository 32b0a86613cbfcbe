"""The report: one HTML file about a probe run and what was measured beside it.

material.py      reads what there is
page.py          puts the page together; run.py writes it
headline.py      says it in two sentences, overview.py in one picture
curves, grid, paths, tree, orthogonality, means, confusions, examples: a section each; tables.py the others
provenance.py    where it comes from, the commands that do it again, and what is missing
downloads.py     tables as CSV
"""

from analysis.report.run import render, run

__all__ = ["render", "run"]
