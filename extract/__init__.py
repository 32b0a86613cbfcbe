"""Run images and texts through a model's sites into a zarr store: plan, run, resume, verify.

from extract import Store
store = Store.open("runs/model-dataset.zarr")
store.matrix("llm.2")  # float32 (sample, feature)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extract.layout import SiteInfo
    from extract.store import Samples, Store

__all__ = ["Samples", "SiteInfo", "Store"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'extract' has no attribute {name!r}")
    from extract import layout, store  # here, since zarr takes longer to import than `--help` may

    return getattr(layout if name == "SiteInfo" else store, name)
