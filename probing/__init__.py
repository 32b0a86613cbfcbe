"""Probes over a store: what can be read off each site, level by level.

    from probing import LinearProbe, fit_grid

`python -m probing STORE` probes every site of a store and writes tables.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probing.grid import Grid, fit_grid
    from probing.lda import LDAProbe
    from probing.mean_difference import MeanDifferenceProbe
    from probing.mlp import MLPProbe
    from probing.probe import LinearProbe
    from probing.ridge import RidgeProbe

__all__ = ["Grid", "LDAProbe", "LinearProbe", "MLPProbe", "MeanDifferenceProbe", "RidgeProbe", "fit_grid"]

_HOMES = {
    "Grid": "probing.grid",
    "LDAProbe": "probing.lda",
    "LinearProbe": "probing.probe",
    "MLPProbe": "probing.mlp",
    "MeanDifferenceProbe": "probing.mean_difference",
    "RidgeProbe": "probing.ridge",
    "fit_grid": "probing.grid",
}


def __getattr__(name: str) -> Any:
    """Import torch and scikit-learn only when they are needed: `python -m probing --help` answers at once."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
