"""Image sets from folders, manifests and `datasets`: what is loaded, and one clear sentence for what cannot be."""

from __future__ import annotations

import csv
import gzip
import json
import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commandline import InputError
from taxonomy import ImageSet, Taxonomy, load_images

ROWS: list[dict[str, Any]] = [
    {"image": f"photos/{leaf}_{k}.jpg", "label": leaf, "split": split, "family": family}
    for family, leaf in (("Laridae", "Arctic tern"), ("Laridae", "Herring gull"), ("Strigidae", "Barn owl"))
    for k, split in enumerate(("train", "train", "val", "test"))
]
TREE = Taxonomy.from_paths([("Laridae", "Arctic Tern"), ("Laridae", "Herring Gull"), ("Strigidae", "Barn Owl")])


@pytest.fixture
def folder(tmp_path: Path, write_images: Any) -> Path:
    """The images of ROWS."""
    write_images(tmp_path, *(row["image"] for row in ROWS))
    return tmp_path


def write_csv(file: Path, rows: list[dict[str, Any]]) -> Path:
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def write_manifest(file: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    match "".join(file.suffixes):
        case ".csv":
            write_csv(file, rows)
        case ".json":
            file.write_text(json.dumps(rows))
        case ".jsonl":
            file.write_text(text)
        case ".jsonl.gz":
            file.write_bytes(gzip.compress(text.encode()))
        case ".tsv":
            file.write_text(write_csv(file, rows).read_text().replace(",", "\t"))
        case ".parquet":
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


def leaves(images: ImageSet) -> list[str]:
    return [images.taxonomy.leaves[leaf] for leaf in images.leaf]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".jsonl.gz", ".parquet"])
def test_every_kind_of_manifest_says_the_same(folder: Path, suffix: str) -> None:
    images = load_images(write_manifest(folder / f"birds{suffix}", ROWS), TREE)
    assert images.name == "birds"
    assert images.ids == tuple(sorted(row["image"] for row in ROWS))
    by_id = {row["image"]: row for row in ROWS}
    for index, name in enumerate(images.ids):
        assert leaves(images)[index].lower() == by_id[name]["label"].lower()
        assert images.split[index] == {"val": "validation"}.get(by_id[name]["split"], by_id[name]["split"])
        assert images.read(index) == (folder / name).read_bytes()
    assert images.leaf.dtype == np.int32
    assert images.codes.tolist() == TREE.codes[images.leaf].tolist()


def test_the_fingerprint_is_of_the_content_not_of_the_order(folder: Path) -> None:
    one = load_images(write_csv(folder / "one.csv", ROWS), TREE)
    other = load_images(write_csv(folder / "other.csv", ROWS[::-1]), TREE)
    assert one.ids == other.ids
    assert one.fingerprint == other.fingerprint == one.select(np.arange(len(one))[::-1]).fingerprint
    changed = [{**row, "split": "train"} if row is ROWS[2] else row for row in ROWS]
    assert load_images(write_csv(folder / "changed.csv", changed), TREE).fingerprint != one.fingerprint
    assert one.select(one.split == "train").fingerprint != one.fingerprint


def test_select_and_pickle(folder: Path) -> None:
    images = load_images(write_csv(folder / "birds.csv", ROWS), TREE)
    part = images.select([5, 0])
    assert part.ids == (images.ids[5], images.ids[0])
    assert part.read(0) == images.read(5)
    assert len(images.select(images.split == "test")) == 3
    copy = pickle.loads(pickle.dumps(part))  # to a loader's worker processes
    assert (copy.ids, copy.read(1)) == (part.ids, images.read(0))
    with pytest.raises(ValueError, match="read-only"):
        images.leaf[0] = 1


def test_levels_named_by_the_user_make_the_taxonomy(folder: Path) -> None:
    images = load_images(write_csv(folder / "birds.csv", ROWS), levels=("family", "label"))
    assert images.taxonomy.levels == ("family", "label")
    assert images.taxonomy.paths == (("Laridae", "Arctic tern"), ("Laridae", "Herring gull"), ("Strigidae", "Barn owl"))


def test_levels_name_those_of_a_given_taxonomy(folder: Path) -> None:
    manifest = write_csv(folder / "birds.csv", ROWS)
    assert load_images(manifest, TREE, levels=("Familie", "Art")).taxonomy.levels == ("Familie", "Art")
    with pytest.raises(InputError, match="no column 'Familie'"):
        load_images(manifest, levels=("Familie", "Art"))


def test_rank_columns_are_recognised(folder: Path) -> None:
    rows = [{**row, "order": "Aves", "class": row["label"], "genus": row["label"].split()[0]} for row in ROWS]
    images = load_images(write_csv(folder / "ranks.csv", rows))
    assert images.taxonomy.levels == ("order", "family", "genus", "label")
    for row in rows:
        row["species"] = row.pop("label")
    images = load_images(write_csv(folder / "species.csv", rows))
    assert images.taxonomy.levels == ("order", "family", "genus", "species")
    ranked = [{**row, "kingdom": "Animalia", "class": "Aves"} for row in rows]
    images = load_images(write_csv(folder / "class.csv", ranked))
    assert images.taxonomy.levels == ("kingdom", "class", "order", "family", "genus", "species")
    assert leaves(load_images(folder / "class.csv", TREE)) == leaves(load_images(folder / "species.csv", TREE))


def test_numbered_levels_are_recognised_and_may_end_early(folder: Path) -> None:
    rows = [{**row, "level1": row["family"].lower(), "level2": row["label"].lower()} for row in ROWS]
    images = load_images(write_csv(folder / "levels.csv", rows))
    assert images.taxonomy.levels == ("level1", "level2")
    for row in rows:
        row.pop("label")
        if row["family"] == "Strigidae":
            row["level2"] = ""
    images = load_images(write_csv(folder / "ragged.csv", rows))
    assert ("strigidae",) in images.taxonomy.paths
    rows[3]["level1"] = ""
    with pytest.raises(InputError, match="row 4: the level 'level1' is empty though a finer one is not"):
        load_images(write_csv(folder / "gap.csv", rows))


def test_a_taxonomy_beside_the_manifest_is_its_taxonomy(folder: Path) -> None:
    TREE.to_json(folder / "taxonomy.json")
    assert load_images(write_csv(folder / "birds.csv", ROWS)).taxonomy == TREE


def test_without_any_taxonomy_the_columns_are_listed(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no taxonomy: .*levels=a,b,c.* out of image, label, split, family"):
        load_images(write_csv(folder / "birds.csv", ROWS))


def test_labels_of_another_taxonomy_name_its_file(folder: Path) -> None:
    Taxonomy.from_paths([("fish", "Cod"), ("bird", "Barn Owl")]).to_json(folder / "taxonomy.json")
    for options in ({}, {"taxonomy": folder / "taxonomy.json"}):
        with pytest.raises(InputError, match=r"without a leaf in the taxonomy .*taxonomy\.json: 'Arctic tern' "):
            load_images(write_csv(folder / "birds.csv", ROWS), **options)


def test_a_leaf_that_is_missing_names_its_row(folder: Path) -> None:
    """Not a path that ends early: other images of its family have a species."""
    rows = [{**row, "order": "birds"} for row in ROWS]
    rows[4] = {**rows[4], "label": ""}
    with pytest.raises(
        InputError, match=r"manifest .*birds\.csv: row 5: the level 'label' is empty, though .* below birds / \w+$"
    ):
        load_images(write_csv(folder / "birds.csv", rows), levels=("order", "family", "label"))


@pytest.mark.parametrize("name", ["photos/list.csv", "me/list.jsonl", "me/list.parquet", "{folder}/birds"])
def test_a_mistyped_file_is_not_looked_up_on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(folder.parent)
    with pytest.raises(InputError, match="it is no file, no folder and no preset"):
        load_images(name.format(folder=folder.name))


def test_nested_folders_are_the_taxonomy_and_splits(tmp_path: Path, write_images: Any) -> None:
    names = [
        f"{split}/bird/{leaf}/{k}.{suffix}"
        for split in ("train", "val")
        for leaf in ("owl", "wren")
        for k, suffix in enumerate(("jpg", "PNG", "webp"))
    ]
    write_images(tmp_path / "birds", *names, "train/bird/owl/.hidden.jpg")
    (tmp_path / "birds" / "train" / "notes.txt").write_text("no image")
    images = load_images(tmp_path / "birds", levels=("class", "species"))
    assert (images.name, images.ids) == ("birds", tuple(sorted(names)))
    assert images.taxonomy.levels == ("class", "species")
    assert images.taxonomy.paths == (("bird", "owl"), ("bird", "wren"))
    assert Counter(images.split.tolist()) == {"train": 6, "test": 6}
    inner = load_images(tmp_path / "birds" / "train", root=tmp_path)
    assert inner.ids[0] == "birds/train/bird/owl/0.jpg"


def test_flat_folders_match_a_given_taxonomy(tmp_path: Path, write_images: Any) -> None:
    folders = ("001.Arctic_Tern", "herring-gull", "test")
    write_images(tmp_path, *(f"{name}/{k}.jpg" for name in folders for k in range(5)))
    with pytest.raises(InputError, match=r"1 label \(5 images\) without a leaf in the taxonomy: 'test' \(5 images\); "):
        load_images(tmp_path, TREE)
    images = load_images(tmp_path, TREE, unmatched="drop")
    assert images.unmatched == {"test": 5}
    assert Counter(leaves(images)) == {"Arctic Tern": 5, "Herring Gull": 5}
    assert Counter(images.split.tolist()) == {"train": 6, "validation": 2, "test": 2}
    assert len(load_images(tmp_path, TREE, aliases={"test": "Barn Owl"})) == 15


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        ({"split": "publisher"}, {"train": 6, "validation": 3, "test": 3}),
        ({"split": "stratified", "fractions": (0.5, 0.25, 0.25)}, {"train": 6, "validation": 3, "test": 3}),
        ({"split": "leaf-disjoint", "fractions": (0.5, 0.0, 0.5)}, {"train": 8, "test": 4}),
    ],
)
def test_splits(folder: Path, options: dict[str, Any], sides: dict[str, int]) -> None:
    images = load_images(write_csv(folder / "birds.csv", ROWS), TREE, **options)
    assert Counter(images.split.tolist()) == sides
    assert options["split"].replace("-", "") in images.split_source.replace("-", "")


def test_leaf_disjoint_fractions_are_shares_of_the_leaves(tmp_path: Path, write_images: Any) -> None:
    write_images(tmp_path, *(f"family/species {number}/{k}.jpg" for number in range(8) for k in range(2)))
    images = load_images(tmp_path, split="leaf-disjoint", fractions=(0.5, 0.25, 0.25))
    assert Counter(images.split.tolist()) == {"train": 8, "validation": 4, "test": 4}
    assert all(len(set(images.split[images.leaf == leaf])) == 1 for leaf in range(8))


def test_ids_from_a_column(folder: Path) -> None:
    rows = [{**row, "number": 1000 + index} for index, row in enumerate(ROWS)]
    images = load_images(write_csv(folder / "birds.csv", rows), TREE, id_column="number")
    assert images.ids == tuple(str(1000 + index) for index in range(12))
    assert images.read(4) == (folder / ROWS[4]["image"]).read_bytes()


def changed(row: int, **cells: Any) -> list[dict[str, Any]]:
    return [{**each, **cells} if index == row else each for index, each in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            changed(4, label="Herring gul"),
            {},
            r"'Herring gul' \(1 image; nearest: 'Herring Gull'\).*--taxonomy.*--unmatched=drop",
        ),
        (
            [{**row, "label": "x"} for row in ROWS],
            {},
            "none of 1 label matches a leaf of the taxonomy: .*with --taxonomy",
        ),
        (
            changed(1, image="photos/absent.jpg"),
            {},
            r"1 of 12 images are not under .*'photos/absent\.jpg'; set --root .*--missing=keep",
        ),
        (changed(1, image=f"{'x' * 5000}.jpg"), {}, r"1 of 12 images are not under .*x{200}\.\.\.'; "),
        (changed(1, image="photos"), {}, "1 of 12 images are not under"),
        (changed(1, image="../x.jpg"), {}, r"row 2: the image path '\.\./x\.jpg' leaves the root"),
        (changed(1, image="photos/../../x.jpg"), {}, "row 2: .* leaves the root"),
        (changed(2, image="/etc/passwd"), {}, "row 3: the image '/etc/passwd' lies outside the root"),
        (changed(2, image="https://x.org/a.jpg"), {}, "row 3: .* is an address"),
        (changed(2, image=""), {}, r"row 3: the column 'image' \(the image\) is empty"),
        (changed(2, label=""), {}, r"row 3: the column 'label' \(the label\) is empty"),
        (changed(2, split=""), {}, r"row 3: the column 'split' \(the split\) is empty"),
        (changed(2, split="fold1"), {}, "unknown split names 'fold1'"),
        (changed(2, image=ROWS[7]["image"]), {}, r"'photos/Herring gull_3\.jpg' is listed 2 times in .*\(rows 3, 8\)"),
        (changed(2, image="./" + ROWS[7]["image"]), {}, "is listed 2 times"),
        (
            ROWS,
            {"label_column": "species"},
            r"no column 'species' \(asked for as the label\); the columns are image, label",
        ),
        (ROWS, {"image_column": "photo"}, "no column 'photo'"),
        (ROWS, {"split_column": "fold"}, "no column 'fold'"),
        (ROWS, {"id_column": "key"}, "no column 'key'"),
        (ROWS, {"id_column": "family"}, r"the id 'Laridae' is listed 8 times in .*birds\.csv \(rows"),
        (ROWS, {"levels": ("family",)}, r"1 level name \(family\) for paths of up to 2 levels"),
        ([{"picture": row["image"], "label": row["label"]} for row in ROWS], {}, "no image column"),
        ([{"image": row["image"], "what": row["label"]} for row in ROWS], {}, "no label column"),
        ([{**row, "split": "train"} for row in ROWS], {"split": "publisher"}, "publisher gives only train"),
        (ROWS, {"fractions": (0.5, 0.1, 0.1), "split": "stratified"}, "should add up to 1"),
    ],
)
def test_bad_manifests_are_one_clear_error(
    folder: Path, rows: list[dict[str, Any]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load_images(write_csv(folder / "birds.csv", rows), TREE, **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "lists no images"),
        ("a.csv", b"image,label\n", "lists no images"),
        ("a.csv", b"image,label\nx.jpg\n", "row 1: 1 cells for 2 columns"),
        ("a.csv", b"image,image\nx,y\n", "two columns of one name"),
        ("a.csv", b'image,label\n"x,y\n', "is not a table"),
        ("a.csv", b"image,label\n\xff\xfe,y\n", "cannot read the manifest"),
        ("a.json", b"[]", "lists no images"),
        ("a.json", b'{"owl": ["bird", "owl"]}', "looks like a taxonomy"),
        ("a.json", b'{"images": 3}', "should be a JSON array"),
        ("a.json", b'[{"image": "x.jpg"}', "not valid JSON"),
        ("a.json", b'["x.jpg"]', "row 1: expected an object"),
        ("a.json", b'[{"image": ["x.jpg"], "label": "y"}]', "row 1: the column 'image' .* should hold a name"),
        ("a.jsonl", b'{"image": "x.jpg", "label": "y"}\n{"image"', "line 2: not valid JSON"),
        ("a.jsonl.gz", b"not gzip", "cannot read the manifest"),
        ("a.parquet", b"not parquet", "is not a Parquet file"),
        ("a.txt", b"x", "is not a manifest"),
    ],
)
def test_bad_files_are_one_clear_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_images(tmp_path / name, TREE)


def test_missing_images_may_be_kept(folder: Path) -> None:
    images = load_images(write_csv(folder / "birds.csv", changed(1, image="photos/absent.jpg")), TREE, missing="keep")
    assert images.missing == ("photos/absent.jpg",)
    with pytest.raises(OSError, match="absent"):
        images.read(images.ids.index("photos/absent.jpg"))


def test_a_link_out_of_the_root_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.jpg"
    outside.write_bytes(b"secret")
    (folder / "photos" / "link.jpg").symlink_to(outside)
    (folder / "photos" / "inside.jpg").symlink_to(folder / ROWS[0]["image"])
    (folder / "elsewhere").symlink_to(outside.parent)
    for path in ("photos/link.jpg", "elsewhere/secret.jpg"):
        with pytest.raises(InputError, match="is a link that leads out of the root"):
            load_images(write_csv(folder / "birds.csv", changed(1, image=path)), TREE)
    assert len(load_images(write_csv(folder / "birds.csv", changed(1, image="photos/inside.jpg")), TREE)) == 12
    top = os.path.commonpath([folder, outside])
    rows = [
        {**row, "image": str((folder / row["image"]).relative_to(top))} for row in changed(1, image="photos/link.jpg")
    ]
    images = load_images(write_csv(folder / "birds.csv", rows), TREE, root=top)
    assert b"secret" in [images.read(row) for row in range(12)]


def test_absolute_paths_inside_the_root_are_relative_ids(folder: Path) -> None:
    rows = [{**row, "image": str(folder / row["image"])} for row in ROWS]
    assert load_images(write_csv(folder / "birds.csv", rows), TREE).ids[0] == "photos/Arctic tern_0.jpg"
    (folder.parent / "other name").symlink_to(folder)
    assert load_images(folder.parent / "other name" / "birds.csv", TREE).ids[0] == "photos/Arctic tern_0.jpg"


def test_bad_folders_are_one_clear_error(tmp_path: Path, write_images: Any) -> None:
    with pytest.raises(InputError, match="holds no images"):
        load_images(tmp_path)
    write_images(tmp_path, "owl/1.jpg", "loose.jpg")
    with pytest.raises(InputError, match=r"the image loose\.jpg of .* lies in no class folder"):
        load_images(tmp_path)
    (tmp_path / "loose.jpg").unlink()
    (tmp_path / "linked").symlink_to(tmp_path / "owl")
    with pytest.raises(InputError, match="linked is a link to a folder"):
        load_images(tmp_path)
    (tmp_path / "linked").unlink()
    (tmp_path / "owl" / "broken.jpg").symlink_to(tmp_path / "absent.jpg")
    with pytest.raises(InputError, match=r"1 of 2 images are not under .*owl/broken\.jpg"):
        load_images(tmp_path)
    with pytest.raises(InputError, match=r"has no columns to name \(--label_column\)"):
        load_images(tmp_path, label_column="x")


def test_a_folder_with_metadata_is_a_manifest(folder: Path) -> None:
    rows = [{"file_name": row["image"], "label": row["label"]} for row in ROWS]
    write_csv(folder / "metadata.csv", rows)
    images = load_images(folder, TREE)
    assert (len(images), images.name) == (12, folder.name)


def test_what_does_not_exist_is_said_with_what_might_be_meant() -> None:
    with pytest.raises(InputError, match=r"'cub20' does not exist.*did you mean cub200"):
        load_images("cub20")
    for name in ("nothing like it", "", "no/such/file.csv"):
        with pytest.raises(InputError, match=r"does not exist.* written owner/name"):
            load_images(name)
    with pytest.raises(InputError, match="the Hugging Face dataset 'nobody/nothing' cannot be loaded: "):
        load_images("nobody/nothing", TREE)


def test_real_photographs(shared: Path | None) -> None:
    if shared is None:
        pytest.skip("no real data here")
    birds = load_images(shared / "data" / "cub100_227px" / "labels.csv")
    assert (birds.name, len(birds), len(birds.taxonomy)) == ("cub100_227px", 1500, 100)
    assert [len(birds.taxonomy.nodes(level)) for level in ("order", "family", "genus", "species")] == [13, 30, 78, 100]
    assert Counter(birds.split.tolist()) == {"train": 1000, "test": 500}
    assert birds.read(0).startswith(b"\xff\xd8")
    matched = load_images(
        shared / "data" / "cub100_227px" / "labels.csv", shared / "data" / "taxonomies" / "hierarchy_CUB200.json"
    )
    assert leaves(matched) == leaves(birds)  # `class` (Chuck_will_Widow) finds the leaf that `species` spells out
    fashion = load_images(
        shared / "data" / "fashion_60x80" / "labels.csv", levels=("masterCategory", "subCategory", "articleType")
    )
    assert (len(fashion), len(fashion.taxonomy)) == (2822, 57)
    assert set(fashion.split[fashion.leaf == 0]) == {"train", "validation", "test"}


def test_the_rendered_world(world: Path) -> None:
    images = load_images(world)
    assert (len(images), len(images.taxonomy), len(images.taxonomy.levels)) == (216, 36, 3)
