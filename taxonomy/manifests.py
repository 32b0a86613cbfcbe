"""Manifests: a file that lists images with their labels, read into a listing."""

from __future__ import annotations

from pathlib import Path

from commandline import InputError
from taxonomy.columns import IMAGE_ALIASES, SPLIT_ALIASES, Columns, find_column, read_labels
from taxonomy.files import FileReader, existing_folder, relative_paths
from taxonomy.listing import Listing
from taxonomy.tables import embeds_images, kind, read_table, text_column

_ANY = frozenset({"annotations", "data", "images", "index", "labels", "manifest", "metadata"})


def dataset_name(path: Path) -> str:
    """What a data set in a file is called: the file's name, or its folder's where the file's name says nothing."""
    stem = path.name.split(".")[0]
    return path.resolve().parent.name if stem.lower() in _ANY else stem


def list_manifest(path: Path, root: Path | None, columns: Columns, has_taxonomy: bool) -> Listing:
    """The images of a JSON, JSONL, CSV, TSV or Parquet manifest (`taxonomy.tables`), its columns found by `Columns`.

    Image paths are relative to `root` (the manifest's folder unless given) and stay inside it. Raises InputError,
    naming the row, for anything that does not fit.
    """
    if kind(path) == ".parquet" and embeds_images(path, columns.image, IMAGE_ALIASES):
        from taxonomy.hub import list_parquet

        return list_parquet(path, dataset_name(path), root, columns, has_taxonomy)
    base = existing_folder(root or path.parent, "the root")
    table = read_table(path)
    if not table or not next(iter(table.values())):
        raise InputError(f"the manifest {path} lists no images")
    try:
        image = find_column(list(table), columns.image, IMAGE_ALIASES, "image")
        if image is None:
            raise InputError(
                f"no image column: none of {', '.join(IMAGE_ALIASES)} is among {', '.join(table)}; "
                "name it with --image_column"
            )
        split = find_column(list(table), columns.split, SPLIT_ALIASES, "split")
        files = relative_paths(base, text_column(table, image, "image"))
        labels, levels = read_labels(table, columns, has_taxonomy)
        return Listing(
            name=dataset_name(path),
            ids=text_column(table, columns.id, "id") if columns.id else files,
            labels=labels,
            splits=text_column(table, split, "split") if split else None,
            reader=FileReader(base, files),
            levels=levels,
        )
    except InputError as error:
        raise InputError(f"the manifest {path}: {error}") from None
