"""`python -m taxonomy`: what is in a taxonomy, and whether an image set is whole."""

from __future__ import annotations

from typing import Any

from commandline import Command, main
from taxonomy.config import ImagesConfig, TreeConfig


def show_tree(config: TreeConfig) -> None:
    """Print a taxonomy's levels and its names that need care."""
    from taxonomy.load import load_taxonomy
    from taxonomy.report import tree_report

    print(tree_report(load_taxonomy(config.taxonomy, _tuple(config.levels), config.drop_root)))


def show_images(config: ImagesConfig) -> int:
    """Print what an image set holds; the status is 1 when an extraction would refuse it as it is."""
    from taxonomy.load import load_images
    from taxonomy.presets import PRESETS
    from taxonomy.report import images_report

    settings: dict[str, Any] = config.model_dump() | {"levels": _tuple(config.levels)}
    images = load_images(**settings, unmatched="drop", missing="keep")
    print(images_report(images))
    return int(bool(images.missing or (images.unmatched and config.dataset not in PRESETS)))


def _tuple(names: str | list[str] | None) -> tuple[str, ...] | None:
    return tuple([names] if isinstance(names, str) else names) if names else None


COMMANDS = {
    "tree": Command(TreeConfig, show_tree, positional="taxonomy"),
    "images": Command(ImagesConfig, show_images, positional="dataset"),
}

if __name__ == "__main__":
    raise SystemExit(main("python -m taxonomy", COMMANDS))
