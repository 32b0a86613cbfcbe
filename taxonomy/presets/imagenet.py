"""ImageNet-1K (ILSVRC2012): the classes a taxonomy of names covers, found through their synsets."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commandline import InputError
from taxonomy.files import IMAGE_SUFFIXES, FileReader, relative_paths
from taxonomy.listing import Listing
from taxonomy.names import normalise
from taxonomy.presets.imagenet_spellings import SPELLINGS
from taxonomy.presets.preset import Preset, read_rows
from taxonomy.tree import Taxonomy

WNID = re.compile(r"n\d{8}")
WORD_FILES = ("LOC_synset_mapping.txt", "synset_words.txt")
DEVKITS = ("", "ILSVRC2012_devkit_t12/data", "devkit/data", "data")
KAGGLE = "ILSVRC/Data/CLS-LOC"
FOLDERS = {
    "train": ("train", "ILSVRC2012_img_train", f"{KAGGLE}/train"),
    "val": ("val", "ILSVRC2012_img_val", f"{KAGGLE}/val"),
}


@dataclass(frozen=True)
class Subset:
    """Reads the images of a taxonomy's classes."""

    preset: str

    def __call__(self, top: Path, taxonomy: Taxonomy | None) -> Listing:
        """Validation images in synset folders or flat, training images in synset folders; the rest of the classes
        stay out.

        The published training set is train, the published validation set (50 images a class) is test.
        """
        if taxonomy is None:
            raise InputError("ImageNet needs a taxonomy")
        words = read_words(top)
        leaves = match_synsets(taxonomy, words)
        found: list[tuple[str, str, str]] = []  # file, synset, split
        for split, places in FOLDERS.items():
            folder = next((place for place in places if (top / place).is_dir()), None)
            if folder is not None:
                found += [(f"{folder}/{name}", wnid, split) for name, wnid in _images(top, top / folder, split)]
        kept = [entry for entry in found if entry[1] in leaves]
        outside = Counter(wnid for _, wnid, _ in found if wnid not in leaves)
        files = relative_paths(top, [name for name, _, _ in kept])
        return Listing(
            name=self.preset,
            ids=files,
            labels=tuple(taxonomy.leaves[leaves[wnid]] for _, wnid, _ in kept),
            splits=tuple(split for _, _, split in kept),
            reader=FileReader(top, files),
            taxonomy=taxonomy,
            outside={f"{wnid} {words.get(wnid, ('?',))[0]}": count for wnid, count in outside.items()},
            split_note="the publisher's: its validation set is test",
        )


def match_synsets(taxonomy: Taxonomy, words: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The leaf each synset stands for, by synset id.

    A leaf names a synset by its id, by one of its words in normal form (the earliest in the list and the same case win:
    `cardigan` is the garment), or by a name of `SPELLINGS`. A synset is given to one leaf only.
    """
    named: dict[str, list[tuple[int, str, str]]] = {}
    for wnid, lemmas in words.items():
        for rank, word in enumerate(lemmas):
            named.setdefault(normalise(word), []).append((rank, word, wnid))
    spellings = {normalise(name): wnid for name, wnid in SPELLINGS.items()}
    leaves: dict[str, int] = {}
    for index, path in enumerate(taxonomy.paths):
        name = normalise(path[-1])
        candidates = sorted(named.get(name, ()), key=lambda entry: (entry[0], entry[1] != path[-1], entry[2]))
        by_word = candidates[0][2] if candidates else spellings.get(name)
        wnid = name if WNID.fullmatch(name) else by_word
        if wnid is not None and leaves.setdefault(wnid, index) != index:
            both = f"{taxonomy.leaves[leaves[wnid]]!r} and {taxonomy.leaves[index]!r}"
            raise InputError(f"the leaves {both} name the same ImageNet class, {wnid}")
    return leaves


def read_words(top: Path) -> dict[str, tuple[str, ...]]:
    """The words of each of the thousand synsets: `n02963159 cardigan` a line, or the devkit's meta.mat. Raises
    InputError."""
    for place in DEVKITS:
        for name in WORD_FILES:
            if (file := top / place / name).is_file():
                rows = read_rows(file, 2)
                return {row[0]: tuple(word.strip() for word in row[1].lstrip(": ").split(",")) for row in rows}
    for place in DEVKITS:
        if (file := top / place / "meta.mat").is_file():
            return dict(_devkit_synsets(file).values())
    raise InputError(
        f"{top} does not say what the ImageNet classes are called: put LOC_synset_mapping.txt (from the Kaggle "
        "archive) or the folder ILSVRC2012_devkit_t12 (from ILSVRC2012_devkit_t12.tar.gz) there"
    )


def _images(top: Path, folder: Path, split: str) -> list[tuple[str, str]]:
    """(path below `folder`, synset) of each image."""
    synsets = sorted(entry.name for entry in folder.iterdir() if WNID.fullmatch(entry.name))
    if synsets:
        return [(f"{wnid}/{name}", wnid) for wnid in synsets for name in _names(folder / wnid)]
    if split == "train":
        raise InputError(f"{folder} has no synset folders (n01440764, ...): unpack the archive of each class into one")
    names = _names(folder)
    labels = _validation_labels(top, names)
    unknown = next((name for name in names if Path(name).stem not in labels), None)
    if unknown is not None:
        raise InputError(f"{folder}: the validation labels do not list {unknown}")
    return [(name, labels[Path(name).stem]) for name in names]


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)


def _validation_labels(top: Path, names: Iterable[str]) -> dict[str, str]:
    """The synset of each validation image, by file name without suffix."""
    for place in DEVKITS:
        if (file := top / place / "LOC_val_solution.csv").is_file():
            with file.open(encoding="utf-8", newline="") as lines:
                rows = list(csv.DictReader(lines))
            if not rows or not {"ImageId", "PredictionString"} <= set(rows[0]):
                raise InputError(f"{file} should have the columns ImageId and PredictionString")
            return {row["ImageId"]: row["PredictionString"].split(" ", 1)[0] for row in rows}
    for place in DEVKITS:
        truth, meta = top / place / "ILSVRC2012_validation_ground_truth.txt", top / place / "meta.mat"
        if truth.is_file() and meta.is_file():
            synsets = _devkit_synsets(meta)
            numbers = [row[0] for row in read_rows(truth, 1)]
            try:
                return {f"ILSVRC2012_val_{row:08d}": synsets[int(n)][0] for row, n in enumerate(numbers, start=1)}
            except (KeyError, ValueError) as error:
                raise InputError(f"{truth}: {error} is not the number of a class") from error
    raise InputError(
        f"the validation images of {top} lie flat and nothing says what they show: put LOC_val_solution.csv, or the "
        "folder ILSVRC2012_devkit_t12, there; or sort them into synset folders"
    )


def _devkit_synsets(file: Path) -> dict[int, tuple[str, tuple[str, ...]]]:
    """(synset, words) of each class by the devkit's own number, from its MATLAB file; inner synsets have children."""
    from scipy.io import loadmat

    try:
        table: Any = loadmat(str(file), squeeze_me=True)["synsets"]
        return {
            int(row["ILSVRC2012_ID"]): (str(row["WNID"]), tuple(word.strip() for word in str(row["words"]).split(",")))
            for row in table
            if int(row["num_children"]) == 0
        }
    except Exception as error:  # scipy raises many kinds for a file that is not what it should be
        raise InputError(f"{file} is not the devkit's meta.mat: {error}") from error


def _preset(name: str, title: str, taxonomy_file: str) -> Preset:
    return Preset(
        name=name,
        title=title,
        page="https://www.image-net.org/challenges/LSVRC/2012/2012-downloads.php",
        archives=(
            "ILSVRC2012_img_val.tar (into val/)",
            "ILSVRC2012_devkit_t12.tar.gz",
            "ILSVRC2012_img_train.tar (into train/<synset>/)",
        ),
        marker=(*FOLDERS["val"], *FOLDERS["train"]),
        read=Subset(name),
        family="imagenet",
        taxonomy_file=taxonomy_file,
    )


IMAGENET_ANIMAL = _preset("imagenet-animal", "ImageNet-1K (animals)", "hierarchy_imagenet_animal.json")
IMAGENET_ARTIFACT = _preset("imagenet-artifact", "ImageNet-1K (artifacts)", "hierarchy_imagenet_artifact.json")
