"""Whose rows are whose at the vision sites, measured: change one sample's pixels and see which rows move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from hooks.rows import Ownership
from hooks.sites import SiteMap


def measured(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap, owner: Ownership) -> Ownership:
    raise NotImplementedError
