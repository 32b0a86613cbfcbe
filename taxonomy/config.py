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


class QuestionsConfig(Config):
    """Make a question bank: for every image and every level of its leaf, the right name among three others.

    The same settings give the same questions on every machine, whatever else is in the image set.
    """

    taxonomy: str | None = None
    """A taxonomy file or folder tree; by default the image set's own."""
    images: str | None = None
    """A preset (cub200, ...), an image folder, a manifest (an official question file too), a `datasets` id."""
    distractors: Literal["random", "similar", "sibling"] = "random"
    """Wrong options: any of the level, the most similar by an encoder, or the nearest in the tree."""
    per: Literal["image", "leaf"] = "image"
    """Ask about every image, or by text alone about every leaf, once."""
    seed: int = 0
    """Of the draws."""
    name: str | None = None
    """What the data set is called, which the draws depend on; by default the image set's name."""
    output: str | None = None
    """A .parquet file, or .jsonl(.gz) in the study's form; by default runs/<name>-<distractors>.parquet."""
    overwrite: bool = False
    """Replace the output where it exists."""
    lower: bool = False
    """Show names in lower case, as the study does."""
    encoder: str = "google/siglip-so400m-patch14-384"
    """For similar: a dual encoder or, with similar_to=name, any sentence encoder; a directory or a hub id."""
    similar_to: Literal["image", "name"] = "image"
    """For similar: names most like the image (as in the study), or most like the right name."""
    template: str | None = None
    """For similar: what is said of a name, with {} for it; by default `a photo of a {}.`, or the name alone."""
    device: str = "auto"
    """For similar: auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    splits: Names = None
    """Ask only about the images of these splits: train, validation, test."""
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
    """How images are divided into train, validation and test; auto is the publisher's where there is one."""
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    """Train, validation and test of a split made here."""
    split_seed: int = 0
    """Of a split made here."""
    unmatched: Literal["error", "drop"] = "error"
    """What to do with images whose label is no leaf of the taxonomy."""
    drop_root: bool = False
    """Leave the taxonomy's root out."""
    subset: str | None = None
    """The configuration of a Hub dataset that has several."""


class BankConfig(Config):
    """Check a question bank and show what is in it; write it in another form."""

    bank: str
    """A .parquet file of `questions`, or an official file (.jsonl, .jsonl.gz)."""
    taxonomy: str | None = None
    """The taxonomy an official file was made from; a Parquet file has its own."""
    levels: Names = None
    """Names for the taxonomy's levels, coarse to fine, the root included."""
    drop_root: bool = False
    """Leave the taxonomy's root out."""
    output: str | None = None
    """Write it there: .parquet, or .jsonl(.gz) in the study's form."""
    overwrite: bool = False
    """Replace the output where it exists."""
