"""`python -m taxonomy`: what is in a taxonomy, whether an image set is whole, and what a model is asked about it."""

from __future__ import annotations

from typing import Any

from commandline import Command, main
from taxonomy.config import BankConfig, ImagesConfig, QuestionsConfig, TreeConfig


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


def make_questions(config: QuestionsConfig) -> None:
    """Make a question bank."""
    from taxonomy.questions import command

    command.make_questions(config)


def show_bank(config: BankConfig) -> None:
    """Check a question bank and print what is in it."""
    from taxonomy.questions import command

    command.show_bank(config)


def _tuple(names: str | list[str] | None) -> tuple[str, ...] | None:
    return tuple([names] if isinstance(names, str) else names) if names else None


COMMANDS = {
    "tree": Command(TreeConfig, show_tree, positional="taxonomy"),
    "images": Command(ImagesConfig, show_images, positional="dataset"),
    "questions": Command(QuestionsConfig, make_questions, after_interrupt="no bank was written"),
    "bank": Command(BankConfig, show_bank, positional="bank"),
}

if __name__ == "__main__":
    raise SystemExit(main("python -m taxonomy", COMMANDS))
