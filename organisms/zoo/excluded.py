"""Model types that transformers files under image-text-to-text and that no family stands for, each with the reason."""

from __future__ import annotations

EXCLUDED: dict[str, str] = {}
