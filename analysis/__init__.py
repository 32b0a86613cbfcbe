"""What the numbers mean: differences between sites with paired intervals, figures, the report, and the verdict.

`python -m analysis report RUN` writes one HTML file from what `python -m probing` found; `python -m analysis verdict
RUN` says at which stage each level is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.bottleneck.judging import verdict

__all__ = ["verdict"]


def __getattr__(name: str) -> Any:
    """Import on first use: a command's help must not wait for numpy."""
    if name != "verdict":
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    from analysis.bottleneck.judging import verdict

    return verdict
