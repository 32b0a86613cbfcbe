"""Model types that transformers files under image-text-to-text and that no family stands for, each with the reason."""

from __future__ import annotations

EXCLUDED: dict[str, str] = {
    "evolla": "It reads proteins (a sequence encoder), not images.",
    "mistral4": "It is the text decoder alone: its class takes no pixels.",
}
