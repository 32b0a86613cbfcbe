"""Hugging Face `datasets` directories and Parquet files that hold the images themselves."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from commandline import InputError
from taxonomy import Taxonomy, load_images
from taxonomy.columns import Columns
from taxonomy.hub import list_hub

datasets = pytest.importorskip("datasets")

NAMES = ("arctic_tern", "herring_gull", "barn_owl")
FAMILIES = ("Laridae", "Laridae", "Strigidae")
TREE = Taxonomy.from_paths([("Laridae", "Arctic Tern"), ("Laridae", "Herring Gull"), ("Strigidae", "Barn Owl")])


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), shade).save(buffer, "PNG")
    return buffer.getvalue()


def table(first: int, count: int) -> Any:
    shades = range(first, first + count)
    return datasets.Dataset.from_dict(
        {
            "caption": [f"number {shade}" for shade in shades],
            "picture": [{"bytes": png(shade), "path": None} for shade in shades],
            "label": [shade % 3 for shade in shades],
            "family": [FAMILIES[shade % 3] for shade in shades],
            "key": [f"k{1000 - shade}" for shade in shades],
        },
        features=datasets.Features(
            caption=datasets.Value("string"),
            picture=datasets.Image(),
            label=datasets.ClassLabel(names=list(NAMES)),
            family=datasets.Value("string"),
            key=datasets.Value("string"),
        ),
    )


def test_a_saved_directory_with_splits(tmp_path: Path) -> None:
    saved = tmp_path / "birds"
    datasets.DatasetDict(train=table(0, 6), test=table(6, 3)).save_to_disk(str(saved))
    images = load_images(saved, TREE)
    assert images.ids == (*(f"test/{row:08d}" for row in range(3)), *(f"train/{row:08d}" for row in range(6)))
    assert images.split.tolist() == ["test"] * 3 + ["train"] * 6
    assert images.leaf.tolist() == [0, 1, 2] * 3
    assert [images.read(row) for row in range(9)] == [png(shade) for shade in (6, 7, 8, 0, 1, 2, 3, 4, 5)]
    levels = load_images(saved, levels=("family", "label"), id_column="key")
    assert levels.taxonomy.paths == (("Laridae", "arctic_tern"), ("Laridae", "herring_gull"), ("Strigidae", "barn_owl"))
    assert levels.ids[0] == "k1000"
    assert levels.read(0) == png(0)


def test_a_saved_table_is_split_here(tmp_path: Path) -> None:
    table(0, 30).save_to_disk(str(tmp_path / "birds"))
    images = load_images(tmp_path / "birds", TREE)
    assert Counter(images.split.tolist()) == {"train": 18, "validation": 6, "test": 6}
    assert images.ids[0] == "row/00000000"
    shuffled = table(0, 30).shuffle(seed=0)
    shuffled.save_to_disk(str(tmp_path / "shuffled"))
    moved = load_images(tmp_path / "shuffled", TREE, id_column="key")
    straight = load_images(tmp_path / "birds", TREE, id_column="key")
    assert moved.fingerprint == straight.fingerprint
    assert [moved.read(row) for row in range(30)] == [straight.read(row) for row in range(30)]


def test_parquet_with_the_images_inside(tmp_path: Path) -> None:
    table(0, 9).to_parquet(str(tmp_path / "birds.parquet"))
    images = load_images(tmp_path / "birds.parquet", TREE)
    assert (images.name, len(images)) == ("birds", 9)
    assert images.read(4) == png(4)


def test_parquet_with_the_images_inside_by_another_writer(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"image": png(shade), "label": NAMES[shade % 3]} for shade in range(9)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "plain.parquet")
    assert load_images(tmp_path / "plain.parquet", TREE).read(4) == png(4)
    nested = [{"photo": {"bytes": row["image"], "path": "x"}, "label": row["label"]} for row in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(nested), tmp_path / "nested.parquet")
    assert load_images(tmp_path / "nested.parquet", TREE).read(4) == png(4)


def test_images_by_path_are_read_only_from_inside(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for shade in range(3):
        (tmp_path / "photos" / f"{shade}.png").write_bytes(png(shade))
    paths = [str(tmp_path / "photos" / f"{shade}.png") for shade in range(3)]
    linked = datasets.Dataset.from_dict(
        {"image": [{"bytes": None, "path": path} for path in paths], "label": list(NAMES)}
    )
    saved = tmp_path / "saved" / "birds"
    linked.save_to_disk(str(saved))
    with pytest.raises(
        InputError, match=r"first image cannot be read: the row holds no image but the path .* set --root"
    ):
        load_images(saved, TREE)
    assert load_images(saved, TREE, root=tmp_path / "photos").read(2) == png(2)


def test_a_hub_repository_of_parquet_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_dataset` takes a local copy of a repository as it takes its name on the Hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    data = tmp_path / "repository" / "data"
    data.mkdir(parents=True)
    table(0, 6).to_parquet(str(data / "train-00000-of-00001.parquet"))
    table(6, 3).to_parquet(str(data / "validation-00000-of-00001.parquet"))
    listing = list_hub(str(tmp_path / "repository"), None, Columns(), True)
    assert listing.splits == ("train",) * 6 + ("validation",) * 3
    assert listing.labels == NAMES * 3
    assert [listing.reader(row) for row in range(9)] == [png(shade) for shade in range(9)]


def test_bad_directories_are_one_clear_error(tmp_path: Path) -> None:
    saved = tmp_path / "birds"
    table(0, 6).save_to_disk(str(saved))
    with pytest.raises(InputError, match=r"the dataset birds: no taxonomy: .* out of caption, label, family, key"):
        load_images(saved)
    with pytest.raises(InputError, match="no column 'species'"):
        load_images(saved, TREE, label_column="species")
    with pytest.raises(InputError, match="none of 3 labels matches a leaf"):
        load_images(saved, Taxonomy.from_paths([("a", "b")]))
    next(saved.glob("*.arrow")).unlink()
    with pytest.raises(InputError, match="is not a whole `datasets` directory"):
        load_images(saved, TREE)
    table(0, 0).save_to_disk(str(tmp_path / "none"))
    with pytest.raises(InputError, match="none is not a whole `datasets` directory: it has no rows"):
        load_images(tmp_path / "none", TREE)
    table(0, 3).remove_columns("picture").save_to_disk(str(tmp_path / "blind"))
    with pytest.raises(InputError, match="no image column among caption, label, family, key"):
        load_images(tmp_path / "blind", TREE)
