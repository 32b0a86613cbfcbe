"""Caltech-UCSD Birds-200-2011: 11,788 photographs of 200 species (Wah et al. 2011)."""

from __future__ import annotations

from pathlib import Path

from commandline import InputError
from taxonomy.files import FileReader, relative_paths
from taxonomy.listing import Listing
from taxonomy.presets.preset import Preset, read_rows
from taxonomy.tree import Taxonomy

SPELLINGS = {"141.Artic_Tern": "Arctic Tern", "146.Forsters_Tern": "Forster's Tern"}
"""The two of its class names that no normaliser brings to the birds' names."""


def read(top: Path, taxonomy: Taxonomy | None) -> Listing:
    """images.txt, image_class_labels.txt, train_test_split.txt and classes.txt, which share the images' numbers."""
    names = dict(read_rows(top / "images.txt", 2))
    classes = dict(read_rows(top / "classes.txt", 2))
    labels = dict(read_rows(top / "image_class_labels.txt", 2))
    training = dict(read_rows(top / "train_test_split.txt", 2))
    for number, name in names.items():
        if number not in training or labels.get(number) not in classes:
            raise InputError(f"{top}: the image {number} ({name}) has no class or no side of the split")
    files = relative_paths(top, [f"images/{name}" for name in names.values()])
    given = [classes[labels[number]] for number in names]
    return Listing(
        name="cub200",
        ids=files,
        labels=tuple(SPELLINGS.get(name, name) for name in given),
        splits=tuple("train" if training[number] == "1" else "test" for number in names),
        reader=FileReader(top, files),
        taxonomy=taxonomy,
        split_note="the publisher's train_test_split.txt",
    )


CUB200 = Preset(
    name="cub200",
    title="CUB-200-2011",
    page="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    archives=("CUB_200_2011.tgz",),
    marker=("images.txt",),
    read=read,
    tops=("CUB_200_2011",),
    taxonomy_file="hierarchy_CUB200.json",
)
