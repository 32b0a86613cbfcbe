"""Food-101: 101,000 photographs of 101 dishes (Bossard et al. 2014)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from commandline import InputError
from taxonomy.files import FileReader, relative_paths
from taxonomy.listing import Listing
from taxonomy.presets.preset import Preset, read_rows
from taxonomy.tree import Taxonomy


def read(top: Path, taxonomy: Taxonomy | None) -> Listing:
    """meta/train.txt and meta/test.txt, lines of `class/number` without `.jpg`.

    Dishes that are no leaf of the taxonomy stay out, counted (the study's tree has 84 of the 101).
    """
    if taxonomy is None:
        raise InputError("Food-101 needs a taxonomy")
    stems = [(row[0], split) for split in ("train", "test") for row in read_rows(top / "meta" / f"{split}.txt", 1)]
    dishes = [stem.rpartition("/")[0] for stem, _ in stems]
    inside = {dish: taxonomy.labels.find(dish) is not None for dish in set(dishes)}
    kept = [row for row, dish in enumerate(dishes) if inside[dish]]
    files = relative_paths(top, [f"images/{stems[row][0]}.jpg" for row in kept])
    return Listing(
        name="food101",
        ids=files,
        labels=tuple(dishes[row] for row in kept),
        splits=tuple(stems[row][1] for row in kept),
        reader=FileReader(top, files),
        taxonomy=taxonomy,
        outside=dict(Counter(dish for dish in dishes if not inside[dish])),
        split_note="the publisher's meta/train.txt and meta/test.txt",
    )


FOOD101 = Preset(
    name="food101",
    title="Food-101",
    page="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    archives=("food-101.tar.gz",),
    marker=("meta/train.txt",),
    read=read,
    tops=("food-101",),
    taxonomy_file="hierarchy_Food.json",
)
