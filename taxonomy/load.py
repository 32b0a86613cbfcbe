"""From a dataset's name to its images: find the source, match its labels, split it."""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from commandline import InputError
from taxonomy import splits, tables
from taxonomy.columns import Columns
from taxonomy.files import FileReader, missing_files
from taxonomy.folders import list_folder
from taxonomy.images import ImageSet
from taxonomy.listing import Label, Listing
from taxonomy.manifests import list_manifest
from taxonomy.names import counted, listed
from taxonomy.presets import PRESETS
from taxonomy.tree import Taxonomy

SplitRule = Literal["auto", "publisher", "stratified", "leaf-disjoint"]

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""How a dataset of the Hugging Face Hub is named: owner/name."""


def load_taxonomy(
    source: Taxonomy | str | os.PathLike[str], levels: Sequence[str] | None = None, drop_root: bool = False
) -> Taxonomy:
    """A taxonomy from a JSON file, a tree of image folders, or a Taxonomy.

    `levels` names its levels, coarse to fine, the root included; `drop_root` then leaves the root out. Raises
    InputError.
    """
    if isinstance(source, Taxonomy):
        named = replace(source, levels=tuple(levels)) if levels else source
        return named.without_root() if drop_root else named
    read = Taxonomy.from_folder if Path(source).is_dir() else Taxonomy.from_json
    return read(source, levels, drop_root)


def load_images(
    dataset: str | os.PathLike[str],
    taxonomy: Taxonomy | str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    *,
    levels: Sequence[str] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    id_column: str | None = None,
    split: SplitRule = "auto",
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    unmatched: Literal["error", "drop"] = "error",
    missing: Literal["error", "keep", "ignore"] = "error",
    aliases: Mapping[str, str] | None = None,
    drop_root: bool = False,
    subset: str | None = None,
) -> ImageSet:
    """Load a labelled image set; everything that is wrong with it is said here, before any long work.

    dataset: a preset (`taxonomy.presets.PRESETS`), an image folder, a manifest (JSON, JSONL, CSV, TSV, Parquet), a
        directory of Hugging Face `datasets`, or a dataset of the Hub as `owner/name`.
    taxonomy: a taxonomy file, a folder tree or a `Taxonomy`. Without one: the preset's own; the level columns, where
        `levels` names them; `taxonomy.json` beside the data; the nested folders, or level columns known by their names.
    root: where image paths start and where they must stay; the manifest's folder, the image folder, or for a preset
        `$TAXOPROBE_DATA/<preset>`, else `data/<preset>`.
    levels: names for the levels, coarse to fine, the root included. In a table without a taxonomy they are its level
        columns.
    image_column, label_column, split_column, id_column: see `taxonomy.columns.Columns`.
    split: `publisher`, `stratified` or `leaf-disjoint` (`taxonomy.splits`); `auto` is the publisher's where it has
        training and held-out images, else stratified.
    fractions: train, validation, test of a stratified split; for leaf-disjoint the last is the share of a parent's
        leaves that are tested, and the second the share held out for validation of all.
    unmatched: labels that match no leaf are an error, or with `drop` their images are left out and counted in
        `ImageSet.unmatched`.
    missing: image files that are not there are an error, or with `keep` they stay, unreadable, in `ImageSet.missing`;
        `ignore` does not look, for what needs the list alone.
    aliases: `{label in the data: label in the taxonomy}` for spellings the normaliser cannot bridge (a nested folder's
        label is its path, `bird/owl`).
    drop_root: leave the taxonomy's root out.
    subset: the configuration of a Hub dataset that has several.

    Raises InputError.
    """
    source = taxonomy if taxonomy is not None else _beside(dataset) if not levels else None
    given = load_taxonomy(source) if source is not None else None
    level_columns = tuple(levels) if levels and given is None else None
    columns = Columns(image_column, label_column, split_column, id_column, level_columns)
    listing = find_listing(str(dataset), given, Path(root) if root is not None else None, columns, subset)
    tree = load_taxonomy(given or listing.taxonomy or _tree_of(listing), levels, drop_root)
    leaf, outside = _match(listing.labels, tree, _called(source), aliases or {}, unmatched)
    rows = np.array(sorted(np.flatnonzero(leaf >= 0), key=lambda row: listing.ids[row]), dtype=np.int64)
    ids = tuple(listing.ids[row] for row in rows)
    _check_ids(listing, ids, "image" if columns.id is None else "id", dataset)
    absent = _missing(listing, rows, ids, missing)
    names, source = _split(listing, tree, rows, ids, leaf[rows], split, fractions, seed)
    return ImageSet(
        name=listing.name,
        taxonomy=tree,
        ids=ids,
        leaf=leaf[rows],
        split=names,
        split_source=source,
        rows=rows,
        reader=listing.reader,
        unmatched={**outside, **listing.outside},
        missing=absent,
    )


def find_listing(
    dataset: str, taxonomy: Taxonomy | None, root: Path | None, columns: Columns, subset: str | None
) -> Listing:
    """The images of `dataset`, whatever kind of source it is (see `load_images`). Raises InputError."""
    path = Path(dataset).expanduser()
    if dataset in PRESETS:
        _refuse_columns(columns, f"the preset {dataset}")
        return PRESETS[dataset].list(root, taxonomy)
    if path.is_file():
        if tables.kind(path) is None:
            raise InputError(f"{path} is not a manifest; it should be one of {', '.join(tables.SUFFIXES)}")
        return list_manifest(path, root, columns, taxonomy is not None)
    if path.is_dir() and dataset.strip():
        return _list_directory(path, taxonomy, root, columns)
    if HUB_ID.fullmatch(dataset) and not path.parent.is_dir() and tables.kind(path) is None:
        from taxonomy.hub import list_hub

        return list_hub(dataset, subset, columns, taxonomy is not None)
    near = difflib.get_close_matches(dataset, PRESETS)
    raise InputError(
        f"the dataset {dataset!r} does not exist: it is no file, no folder and no preset ({', '.join(PRESETS)})"
        + (f"; did you mean {near[0]}?" if near else "; a dataset of the Hugging Face Hub is written owner/name")
    )


def _list_directory(path: Path, taxonomy: Taxonomy | None, root: Path | None, columns: Columns) -> Listing:
    from taxonomy import hub

    if hub.is_saved(path):
        return hub.list_saved(path, root, columns, taxonomy is not None)
    metadata = next((file for suffix in tables.SUFFIXES if (file := path / f"metadata{suffix}").is_file()), None)
    if metadata:  # the convention of `datasets` for image folders with captions or labels
        return list_manifest(metadata, root, columns, taxonomy is not None)
    _refuse_columns(columns, f"the image folder {path}")
    return list_folder(path, root)


def _refuse_columns(columns: Columns, what: str) -> None:
    given = ", ".join(
        f"--{name}_column" for name, value in vars(columns).items() if value is not None and name != "levels"
    )
    if given:
        raise InputError(f"{what} has no columns to name ({given}); name columns for a table")


def _beside(dataset: str | os.PathLike[str]) -> Path | None:
    """`taxonomy.json` in the folder of the data, if there is one."""
    path = Path(dataset).expanduser()
    if str(dataset) in PRESETS:
        return None
    file = (path if path.is_dir() else path.parent) / "taxonomy.json"
    return file if path.exists() and path != file and file.is_file() else None


def _called(source: Taxonomy | str | os.PathLike[str] | None) -> str:
    return "the taxonomy" if source is None or isinstance(source, Taxonomy) else f"the taxonomy {source}"


def _tree_of(listing: Listing) -> Taxonomy:
    return Taxonomy.from_paths(sorted({label for label in listing.labels if isinstance(label, tuple)}), listing.levels)


def _match(
    labels: Sequence[Label], tree: Taxonomy, called: str, aliases: Mapping[str, str], unmatched: str
) -> tuple[np.ndarray, dict[str, int]]:
    """int32 (image,) leaf, -1 where none matches; and the labels that match none, most images first."""
    counts = Counter(labels)
    nodes = {path: index for index, path in enumerate(tree.paths)}
    leaves: dict[Label, int] = {}
    outside: dict[str, int] = {}
    for label, count in counts.most_common():
        name = label if isinstance(label, str) else "/".join(label)
        if name in aliases:
            found = tree.labels.find(aliases[name])
        elif isinstance(label, str):
            found = tree.labels.find(label)
        else:
            found = nodes[label] if label in nodes else tree.labels.find_path(label)
        leaves[label] = -1 if found is None else found
        if found is None:
            outside[name] = count
    images = sum(outside.values())
    if images == len(labels):
        raise InputError(
            f"none of {counted(len(outside), 'label')} matches a leaf of {called}: {_with_nearest(outside, tree)}; "
            "give the one they belong to with --taxonomy"
        )
    if outside and unmatched == "error":
        raise InputError(
            f"{counted(len(outside), 'label')} ({counted(images, 'image')}) without a leaf in {called}: "
            f"{_with_nearest(outside, tree)}; correct them, give another --taxonomy, or leave their images out with "
            "--unmatched=drop"
        )
    return np.array([leaves[label] for label in labels], dtype=np.int32), outside


def _with_nearest(outside: Mapping[str, int], tree: Taxonomy, most: int = 5) -> str:
    told: list[str] = []
    for label, count in list(outside.items())[:most]:
        near = tree.labels.nearest(label, 2)
        told.append(f"{label!r} ({counted(count, 'image')}" + (f"; nearest: {listed(near)})" if near else ")"))
    return ", ".join(told) + (f" and {len(outside) - most} more" if len(outside) > most else "")


def _check_ids(listing: Listing, ids: Sequence[str], what: str, dataset: str | os.PathLike[str]) -> None:
    """`ids` are sorted, so equal ones are neighbours."""
    twice = next((a for a, b in itertools.pairwise(ids) if a == b), None)
    if twice is not None:
        rows = [row for row, name in enumerate(listing.ids, start=1) if name == twice]
        raise InputError(
            f"the {what} {twice!r} is listed {len(rows)} times in {dataset} (rows {', '.join(map(str, rows[:5]))})"
        )


def _missing(listing: Listing, rows: np.ndarray, ids: Sequence[str], missing: str) -> tuple[str, ...]:
    if not isinstance(listing.reader, FileReader) or missing == "ignore":
        return ()
    reader = listing.reader
    absent = tuple(ids[index] for index in missing_files(reader.root, [reader.files[row] for row in rows]))
    if len(absent) == len(ids) or (absent and missing == "error"):
        raise InputError(
            f"{len(absent)} of {len(ids)} images are not under {reader.root}: {listed(absent)}; set --root to where "
            "they are, or go on without them with --missing=keep"
        )
    return absent


def _split(
    listing: Listing,
    tree: Taxonomy,
    rows: np.ndarray,
    ids: Sequence[str],
    leaf: np.ndarray,
    rule: str,
    fractions: Sequence[float],
    seed: int,
) -> tuple[np.ndarray, str]:
    """The split of each image and how it was made."""
    shares = " / ".join(f"{part:g}" for part in fractions)
    why = ""
    if rule in ("auto", "publisher"):
        published = None if listing.splits is None else splits.publisher([listing.splits[row] for row in rows])
        if published is not None and {splits.TRAIN, splits.TEST} <= set(published):
            return published, listing.split_note
        why = f" (the publisher gives only {published[0]})" if published is not None else " (the publisher gives none)"
        if rule == "publisher":
            raise InputError(
                f"there is no publisher's split to use{why}; choose --split=stratified or --split=leaf-disjoint"
            )
    if rule == "leaf-disjoint":
        _, validation, test = splits.check_fractions(fractions)
        made = splits.leaf_disjoint(tree, leaf, test, seed, validation / (1 - test))
        return made, f"leaf-disjoint by parent, {shares} of the leaves for train / validation / test, seed {seed}"
    made = splits.stratified(ids, leaf, fractions, seed)
    return made, f"stratified by leaf, {shares} for train / validation / test, seed {seed}{why}"
