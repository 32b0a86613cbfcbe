"""Run images and texts through a model's sites into a zarr store: plan, run, resume, verify."""

from extract.store import Samples, SiteInfo, Store

__all__ = ["Samples", "SiteInfo", "Store"]
