"""A model's insides: load it, find its sites, certify them, read or edit them in one traced forward."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hooks.certificate import Certificate
    from hooks.certifying import certify
    from hooks.discovery import find_sites
    from hooks.editing import Edited, Places, edit
    from hooks.loading import Loaded, load
    from hooks.sites import Site, SiteMap
    from hooks.text import TextPrompt, capture_text, text_sites
    from hooks.tracing import capture

__all__ = [
    "Certificate",
    "Edited",
    "Loaded",
    "Places",
    "Site",
    "SiteMap",
    "TextPrompt",
    "capture",
    "capture_text",
    "certify",
    "edit",
    "find_sites",
    "load",
    "text_sites",
]

_HOME = {
    "Certificate": "certificate",
    "Edited": "editing",
    "Loaded": "loading",
    "Places": "editing",
    "Site": "sites",
    "SiteMap": "sites",
    "TextPrompt": "text",
    "capture": "tracing",
    "capture_text": "text",
    "certify": "certifying",
    "edit": "editing",
    "find_sites": "discovery",
    "load": "loading",
    "text_sites": "text",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a command's help must not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'hooks' has no attribute {name!r}")
    return getattr(import_module(f"hooks.{_HOME[name]}"), name)
