"""Hugging Face `datasets`: a saved directory, a Parquet file with images inside, or a dataset of the Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commandline import InputError
from taxonomy.columns import IMAGE_ALIASES, SPLIT_ALIASES, Columns, find_column, read_labels
from taxonomy.listing import Listing
from taxonomy.tables import Table, text_column


@dataclass(frozen=True)
class TableReader:
    """Reads images kept undecoded in `datasets` tables: `reader(row)` gives the stored bytes (OSError if there are
    none)."""

    tables: tuple[Any, ...]
    starts: tuple[int, ...]
    column: str

    def __call__(self, row: int) -> bytes:
        part = max(index for index, start in enumerate(self.starts) if start <= row)
        cell = self.tables[part][row - self.starts[part]][self.column]
        content = cell.get("bytes") if isinstance(cell, Mapping) else cell
        if isinstance(content, bytes):
            return content
        path = cell.get("path") if isinstance(cell, Mapping) else None
        raise OSError(f"the row holds no image, only {path!r}" if path else "the row holds no image")


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def list_saved(folder: Path, columns: Columns, has_taxonomy: bool) -> Listing:
    """The images of a directory written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`. Raises InputError."""
    import datasets

    try:
        data = datasets.load_from_disk(str(folder))
    except Exception as error:  # the library raises many kinds; all mean that the directory is not whole
        raise InputError(f"{folder} is not a whole `datasets` directory: {_first_line(error)}") from error
    return _list(folder.name, _parts(data), columns, has_taxonomy)


def list_parquet(path: Path, columns: Columns, has_taxonomy: bool) -> Listing:
    """The images inside a Parquet file. Raises InputError."""
    import datasets

    data = datasets.Dataset.from_parquet(str(path))
    return _list(path.stem, {"": data}, columns, has_taxonomy)


def list_hub(name: str, subset: str | None, columns: Columns, has_taxonomy: bool) -> Listing:
    """The images of a dataset on the Hub, downloaded by `datasets` on first use. Raises InputError."""
    import datasets

    try:
        data = datasets.load_dataset(name, subset)
    except Exception as error:  # offline, unknown, gated, script-based, a missing subset: the library says which
        raise InputError(f"the Hugging Face dataset {name!r} cannot be loaded: {_first_line(error)}") from error
    return _list(name, _parts(data), columns, has_taxonomy)


def _parts(data: Any) -> dict[str, Any]:
    """Tables by split name; one without a split is called ''. `datasets` calls a lone split `train` for want of a
    name."""
    if not isinstance(data, Mapping):
        return {"": data}
    return {"": next(iter(data.values()))} if len(data) == 1 else dict(data)


def _list(name: str, parts: dict[str, Any], columns: Columns, has_taxonomy: bool) -> Listing:
    import datasets

    names = next(iter(parts.values())).column_names
    if any(part.column_names != names for part in parts.values()):
        raise InputError(f"the splits of the dataset {name} have different columns")
    try:
        image = columns.image or _image_column(next(iter(parts.values())))
        image = find_column(names, image, IMAGE_ALIASES, "image")
        if image is None:
            raise InputError(f"no image column among {', '.join(names)}; name it with image_column=")
        tables: list[Any] = []
        for part in parts.values():
            undecoded = isinstance(part.features[image], datasets.Image)
            tables.append(part.cast_column(image, datasets.Image(decode=False)) if undecoded else part)
        table = _text_table(parts.values(), image, columns)
        total = sum(len(part) for part in parts.values())
        if not total:
            raise InputError("it has no rows")
        labels, levels = read_labels(table, columns, has_taxonomy)
        split = find_column(list(table), columns.split, SPLIT_ALIASES, "split")
        if split is not None and (columns.split or "" in parts):
            splits = text_column(table, split, "split")
        else:
            splits = None if "" in parts else tuple(part for part, rows in parts.items() for _ in range(len(rows)))
        width = len(str(total))
        rows = tuple(f"{part or 'row'}/{row:0{width}}" for part, data in parts.items() for row in range(len(data)))
        starts = [sum(len(t) for t in tables[:index]) for index in range(len(tables))]
        return Listing(
            name=name.replace("/", "--"),
            ids=text_column(table, columns.id, "id") if columns.id else rows,
            labels=labels,
            splits=splits,
            reader=TableReader(tuple(tables), tuple(starts), image),
            levels=levels,
        )
    except InputError as error:
        raise InputError(f"the dataset {name}: {error}") from None


def _image_column(part: Any) -> str | None:
    import datasets

    return next((name for name, kind in part.features.items() if isinstance(kind, datasets.Image)), None)


def _text_table(parts: Sequence[Any] | Any, image: str, columns: Columns) -> Table:
    """Every column of names or numbers, all splits in a row; class labels are given their names."""
    import datasets

    table: Table = {}
    for part in parts:
        for name, kind in part.features.items():
            if name == image or not isinstance(kind, datasets.Value | datasets.ClassLabel):
                continue
            values = part.with_format("arrow")[name]
            values = values[:] if not hasattr(values, "to_pylist") else values
            cells = values.to_pylist()
            if isinstance(kind, datasets.ClassLabel):
                cells = [None if cell is None or cell < 0 else kind.int2str(cell) for cell in cells]
            table.setdefault(name, []).extend(cells)
    return table


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
