"""Hugging Face `datasets`: a saved directory, a Parquet file with images inside, or a dataset of the Hub."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from commandline import InputError, first_line
from taxonomy.columns import IMAGE_ALIASES, SPLIT_ALIASES, Columns, find_column, read_labels
from taxonomy.listing import Listing
from taxonomy.tables import Table, text_column

UNSPLIT = ""
"""The name of a table that is not a split of a larger one."""


@dataclass(frozen=True)
class TableReader:
    """Reads images kept undecoded in `datasets` tables: `reader(row)` gives the stored bytes.

    A cell may hold a path instead of bytes; only files inside one of `roots` are read. Raises OSError when there is
    nothing to read.
    """

    tables: tuple[Any, ...]
    starts: tuple[int, ...]
    column: str
    roots: tuple[Path, ...]

    def __call__(self, row: int) -> bytes:
        part = bisect.bisect_right(self.starts, row) - 1
        cell = self.tables[part][row - self.starts[part]][self.column]
        content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, Mapping) else (cell, None)
        if isinstance(content, bytes):
            return content
        if not path:
            raise OSError("the row holds no image")
        file = Path(path).resolve()
        if not any(file.is_relative_to(root) for root in self.roots):
            raise OSError(f"the row holds no image but the path {path}, which lies outside the dataset")
        return file.read_bytes()


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def list_saved(folder: Path, root: Path | None, columns: Columns, has_taxonomy: bool) -> Listing:
    """The images of a directory written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`. Raises InputError."""
    import datasets

    try:
        data = datasets.load_from_disk(str(folder))
    except Exception as error:  # the library raises many kinds; all mean that the directory is not whole
        reason = "it has no rows" if isinstance(error, IndexError) else first_line(error)
        raise InputError(f"{folder} is not a whole `datasets` directory: {reason}") from error
    return _list(folder.name, _parts(data), (folder, *([root] if root else [])), columns, has_taxonomy)


def list_parquet(path: Path, name: str, root: Path | None, columns: Columns, has_taxonomy: bool) -> Listing:
    """The images inside a Parquet file. Raises InputError."""
    import datasets

    data = datasets.Dataset.from_parquet(str(path))
    return _list(name, {UNSPLIT: data}, (root or path.parent,), columns, has_taxonomy)


def list_hub(name: str, subset: str | None, columns: Columns, has_taxonomy: bool) -> Listing:
    """The images of a dataset on the Hub, downloaded by `datasets` on first use. Raises InputError."""
    import datasets
    from datasets import config
    from huggingface_hub import constants

    try:
        data = datasets.load_dataset(name, subset)
    except Exception as error:  # offline, unknown, gated, script-based, a missing subset: the library says which
        raise InputError(f"the Hugging Face dataset {name!r} cannot be loaded: {first_line(error)}") from error
    caches = (constants.HF_HOME, constants.HF_HUB_CACHE, config.HF_DATASETS_CACHE)
    return _list(name.replace("/", "--"), _parts(data), tuple(map(Path, caches)), columns, has_taxonomy)


def _parts(data: Any) -> dict[str, Any]:
    """Tables by split name. A lone split is no split: `datasets` calls it `train` for want of a better name."""
    if not isinstance(data, Mapping):
        return {UNSPLIT: data}
    return {UNSPLIT: next(iter(data.values()))} if len(data) == 1 else dict(data)


def _list(name: str, parts: dict[str, Any], roots: tuple[Path, ...], columns: Columns, has_taxonomy: bool) -> Listing:
    first, *others = parts.values()
    sizes = [len(part) for part in parts.values()]
    try:
        if not sum(sizes):
            raise InputError("it has no rows")
        if any(other.column_names != first.column_names for other in others):
            raise InputError("its splits have different columns")
        image = find_column(first.column_names, columns.image or _image_column(first), IMAGE_ALIASES, "image")
        if image is None:
            raise InputError(f"no image column among {', '.join(first.column_names)}; name it with --image_column")
        reader = TableReader(
            tables=tuple(_undecoded(part, image) for part in parts.values()),
            starts=tuple(accumulate(sizes[:-1], initial=0)),
            column=image,
            roots=tuple(root.resolve() for root in roots),
        )
        try:
            reader(0)
        except OSError as error:
            raise InputError(
                f"its first image cannot be read: {error}; set --root to a folder that holds it"
            ) from error
        table = _text_table(parts.values(), image)
        labels, levels = read_labels(table, columns, has_taxonomy)
        split = find_column(list(table), columns.split, SPLIT_ALIASES, "split")
        if columns.split or UNSPLIT in parts:
            splits = text_column(table, split, "split") if split else None
        else:
            splits = tuple(part for part, size in zip(parts, sizes, strict=True) for _ in range(size))
        rows = (f"{part or 'row'}/{row:08d}" for part, size in zip(parts, sizes, strict=True) for row in range(size))
        return Listing(
            name=name,
            ids=text_column(table, columns.id, "id") if columns.id else tuple(rows),
            labels=labels,
            splits=splits,
            reader=reader,
            levels=levels,
        )
    except InputError as error:
        raise InputError(f"the dataset {name}: {error}") from error.__cause__


def _undecoded(part: Any, image: str) -> Any:
    """The image column alone, its images left as the bytes they were stored in."""
    import datasets

    alone = part.select_columns([image])
    stored = isinstance(part.features[image], datasets.Image)
    return alone.cast_column(image, datasets.Image(decode=False)) if stored else alone


def _image_column(part: Any) -> str | None:
    import datasets

    def holds_images(kind: Any) -> bool:
        return isinstance(kind, datasets.Image) or (isinstance(kind, Mapping) and "bytes" in kind)

    return next((name for name, kind in part.features.items() if holds_images(kind)), None)


def _text_table(parts: Iterable[Any], image: str) -> Table:
    """Every column of names or numbers, one split below the other; class labels are given their names."""
    import datasets

    table: Table = {}
    for part in parts:
        for name, kind in part.features.items():
            if name == image or not isinstance(kind, datasets.Value | datasets.ClassLabel):
                continue
            cells = part.select_columns([name]).with_format("arrow")[:].column(name).to_pylist()
            if isinstance(kind, datasets.ClassLabel):
                cells = [None if cell is None or cell < 0 else kind.int2str(cell) for cell in cells]
            table.setdefault(name, []).extend(cells)
    return table
