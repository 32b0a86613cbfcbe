"""The settings of `python -m taxonomy`."""

from __future__ import annotations

from typing import Literal

from commandline import Config, Names


class TreeConfig(Config):
    """Show a taxonomy: its levels, how many nodes each has, and names that stand for more than one node."""

    taxonomy: str
    """A taxonomy file ({leaf: [coarse, ..., leaf]}, or nested objects) or a tree of image folders."""
    levels: Names = None
    """Names for the levels, coarse to fine."""
    drop_root: bool = False
    """Leave the root out."""


class ImagesConfig(Config):
    """Check an image set before any long work: images per split and level, labels that match nothing, missing files."""

    dataset: str
    """A preset (cub200, ...), an image folder, a manifest (JSON, JSONL, CSV, Parquet), a `datasets` directory or id."""
    taxonomy: str | None = None
    """A taxonomy file or folder tree; by default the dataset's own."""
    root: str | None = None
    """The folder image paths start from and stay in; by default the manifest's."""
    levels: Names = None
    """Names for the levels, coarse to fine, the root included; in a table without a taxonomy, its level columns."""
    image_column: str | None = None
    """The column with the image, where it is not called `image`, `file`, `file_name`, `path`, ..."""
    label_column: str | None = None
    """The column with the label, where it is not called `label` or `class`."""
    split_column: str | None = None
    """The column with the split, where it is not called `split`."""
    id_column: str | None = None
    """The column with the sample's id; by default the image's path."""
    split: Literal["auto", "publisher", "stratified", "leaf-disjoint"] = "auto"
    """How samples are divided into train, validation and test; auto is the publisher's where there is one."""
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    """Train, validation and test of a split made here."""
    seed: int = 0
    """Of a split made here."""
    drop_root: bool = False
    """Leave the taxonomy's root out."""
    subset: str | None = None
    """The configuration of a Hub dataset that has several."""
