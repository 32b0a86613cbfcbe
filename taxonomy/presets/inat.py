"""iNaturalist 2021: animals (5,388 species) and plants (4,271), their taxonomy from the annotation files themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commandline import InputError
from taxonomy.files import FileReader, relative_paths
from taxonomy.formats import read_json
from taxonomy.listing import Listing
from taxonomy.presets.preset import Preset
from taxonomy.tree import Taxonomy

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")
LEVELS = (*RANKS, "species")


@dataclass(frozen=True)
class Kingdom:
    """Reads the images of one kingdom."""

    preset: str
    kingdom: str

    def __call__(self, top: Path, taxonomy: Taxonomy | None) -> Listing:
        """val.json, and train_mini.json or else train.json, in COCO's form with ranks in `categories`.

        The small training set is preferred where both are there. The taxonomy is `kingdom` to `genus` and the
        category's `name` (the binomial), for every species of the kingdom.
        """
        train = next((name for name in ("train_mini", "train") if (top / f"{name}.json").is_file()), None)
        names: list[str] = []
        labels: list[tuple[str, ...]] = []
        splits: list[str] = []
        paths: dict[int, tuple[str, ...]] = {}
        for split in [name for name in (train, "val") if name and (top / f"{name}.json").is_file()]:
            file = top / f"{split}.json"
            try:
                paths, shown = _read_annotations(file, self.kingdom)
            except InputError as error:
                raise InputError(f"{file}: {error}") from error.__cause__
            names += [name for name, _ in shown]
            labels += [path for _, path in shown]
            splits += ["train" if split == train else "test"] * len(shown)
        files = relative_paths(top, names)
        return Listing(
            name=self.preset,
            ids=files,
            labels=tuple(labels),
            splits=tuple(splits),
            reader=FileReader(top, files),
            taxonomy=taxonomy or Taxonomy.from_paths(list(paths.values()), LEVELS),
            split_note=f"the publisher's: {train} is train, val is test",
        )


def _read_annotations(file: Path, kingdom: str) -> tuple[dict[int, tuple[str, ...]], list[tuple[str, tuple[str, ...]]]]:
    """The path of each category of the kingdom, and (file name, path) of each image that shows one."""
    data = read_json(file, unique=False)
    try:
        paths = {
            int(category["id"]): (*(_rank(category, rank) for rank in RANKS), _rank(category, "name"))
            for category in data["categories"]
            if category["kingdom"] == kingdom
        }
        shows = {int(note["image_id"]): int(note["category_id"]) for note in data["annotations"]}
        shown = [
            (str(image["file_name"]), paths[shows[image["id"]]])
            for image in data["images"]
            if shows[image["id"]] in paths
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"this is no iNat21 annotation file: {type(error).__name__} {error}") from error
    if not shown:
        raise InputError(f"it has no image of the kingdom {kingdom}")
    return paths, shown


def _rank(category: Mapping[str, Any], rank: str) -> str:
    name = category[rank]
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"the category {category['id']} has no {rank}")
    return name


def _preset(name: str, title: str, kingdom: str) -> Preset:
    return Preset(
        name=name,
        title=title,
        page="https://github.com/visipedia/inat_comp/tree/master/2021",
        archives=("val.json.tar.gz", "val.tar.gz", "train_mini.json.tar.gz", "train_mini.tar.gz"),
        marker=("val.json", "train_mini.json", "train.json"),
        read=Kingdom(name, kingdom),
        tops=("", "2021"),
        family="inat21",
    )


INAT21_ANIMAL = _preset("inat21-animal", "iNat21-Animal", "Animalia")
INAT21_PLANT = _preset("inat21-plant", "iNat21-Plant", "Plantae")
