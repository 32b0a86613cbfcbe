"""The settings of every command of this package."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from commandline import Config, Names
from tracking import Tracking

DEFAULT_PROMPT = "Describe this image."


class ExtractConfig(Config):
    """Run a dataset's images through a vision-language model and store what stands at its sites.

    The same command continues an interrupted extraction where it stopped.
    """

    model: str
    """A directory written by save_pretrained, or a hub id such as Qwen/Qwen2.5-VL-7B-Instruct."""
    dataset: str
    """A preset (cub200, ...), an image folder, a manifest (JSONL, CSV, Parquet), or a `datasets` directory or id."""
    taxonomy: str | None = None
    """A taxonomy file or folder tree; by default the dataset's own."""
    root: str | None = None
    """The folder image paths start from and stay in; by default the manifest's."""
    levels: Names = None
    """The dataset's level columns, coarse to fine, or names for the taxonomy's levels."""
    image_column: str | None = None
    """The column with the image, where it is not called `image`."""
    label_column: str | None = None
    """The column with the label, where it is not called `label`."""
    split_column: str | None = None
    """The column with the split, where it is not called `split`."""
    id_column: str | None = None
    """The column with the sample's id; by default the image's path."""
    split: Literal["auto", "publisher", "stratified", "leaf-disjoint"] = "auto"
    """How samples are divided into train, validation and test; auto is the publisher's where there is one."""
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    """Train, validation and test of a split made here."""
    unmatched: Literal["error", "drop"] = "error"
    """What to do with images whose label is no leaf of the taxonomy."""
    missing: Literal["error", "keep"] = "error"
    """What to do with image files that are not there; kept ones are quarantined."""
    drop_root: bool = False
    """Leave the taxonomy's root out."""
    subset: str | None = None
    """The configuration of a hub dataset that has several."""
    limit: PositiveInt | None = None
    """Only this many images, drawn evenly at random with `seed`."""
    store: str | None = None
    """Where the activations go; by default runs/<model>-<dataset>.zarr, with -<pool> where it is not the mean."""
    sites: Names = None
    """Sites or patterns (`encoder.*,llm.final`); all by default."""
    pool: Literal["mean", "last", "max", "cls"] = "mean"
    """How a site's tokens become one row."""
    prompt: str = DEFAULT_PROMPT
    """What the user says after the image."""
    system: str | None = None
    """The system turn; by default whatever the model's chat template has."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    dtype: str = "auto"
    """The model's numbers: auto (the checkpoint's own on a GPU, float32 on a CPU), float32, bfloat16, float16."""
    store_dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """The stored numbers; auto is the model's."""
    certify: bool = True
    """Check the sites on a few images first, and write the certificate into the store: probes refuse sites without."""
    batch_size: PositiveInt = 8
    """Images of equal shape in one forward; halved when memory runs out."""
    chunk_rows: PositiveInt | None = None
    """Images per flush unit, the most an interruption can lose; by default a 20th of the dataset, from 64 to 1024."""
    workers: PositiveInt = 4
    """Threads that decode and encode images."""
    max_pixels: PositiveInt | None = None
    """The most pixels an image is resized to, for image processors with such a budget."""
    min_pixels: PositiveInt | None = None
    """The fewest."""
    image_backend: Literal["pil", "torchvision"] = "pil"
    """What resizes images; the two differ slightly in their pixels."""
    revision: str | None = None
    """The model's hub commit, branch or tag."""
    random_init: bool = False
    """The same architecture with untrained weights: a control."""
    seed: int = 0
    """Of the split, of `limit` and of untrained weights."""
    trust_remote_code: bool = False
    """Run model code from the hub: read it first."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""


class InfoConfig(Config):
    """Say what a store holds."""

    store: str
    """The store."""


class VerifyConfig(Config):
    """Check a store: every unit present and readable, NaN exactly where there is no activation. Exits with 1 if not."""

    store: str
    """The store."""
    images: bool = False
    """Also read the dataset again and compare every image's hash."""


class TextConfig(Config):
    """Run the names of a taxonomy's leaves through a language model (a VLM's own or any causal one).

    Every template goes to a store of its own, <store>-<template>.zarr: prompts that contain the label and prompts that
    do not answer different questions.
    """

    model: str
    """A directory written by save_pretrained, or a hub id; the language model inside a VLM is used."""
    taxonomy: str
    """A taxonomy file or folder tree."""
    levels: Names = None
    """Names for the taxonomy's levels, coarse to fine; they stand in the prompts (`order`, `family`)."""
    drop_root: bool = False
    """Leave the taxonomy's root out."""
    templates: Names = Field(default=["question", "answered"])
    """Which prompts: question (without the label), answered and statement (with it)."""
    store: str | None = None
    """The stem of the stores; by default runs/<model>-<taxonomy>-text."""
    pool: Literal["mean", "name", "last"] = "mean"
    """Over the prompt's own tokens, over the tokens of the leaf's name, or the last token."""
    sites: Names = None
    """Sites or patterns (`text.*`); all by default."""
    chat: bool = False
    """Put each prompt into the model's chat template."""
    system: str | None = None
    """The system turn of a chat."""
    limit: PositiveInt | None = None
    """Only this many leaves, drawn at random with `seed`."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    dtype: str = "auto"
    """The model's numbers: auto (the checkpoint's own on a GPU, float32 on a CPU), float32, bfloat16, float16."""
    store_dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """The stored numbers; auto is the model's."""
    certify: bool = True
    """Check the sites on two sentences first, and write the certificate into the store: probes refuse sites without."""
    batch_size: PositiveInt = 32
    """Prompts in one forward."""
    chunk_rows: PositiveInt | None = None
    """Prompts per flush unit; by default a 20th of them, from 64 to 1024."""
    revision: str | None = None
    """The model's hub commit, branch or tag."""
    random_init: bool = False
    """The same architecture with untrained weights: a control."""
    seed: int = 0
    """Of the split, of `limit` and of untrained weights."""
    trust_remote_code: bool = False
    """Run model code from the hub: read it first."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""
