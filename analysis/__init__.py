"""What the numbers mean: differences between sites with paired intervals, figures, and the report.

`python -m analysis report RUN` writes one HTML file from what `python -m probing` found.
"""
