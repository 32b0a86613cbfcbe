"""Data sets laid out as their publishers ship them, by name."""

from __future__ import annotations

from taxonomy.presets.preset import Preset

PRESETS: dict[str, Preset] = {}

__all__ = ["PRESETS", "Preset"]
