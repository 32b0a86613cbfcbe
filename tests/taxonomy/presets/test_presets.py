"""Each preset on a tiny tree laid out as its publisher ships it, and what is said when it is not there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commandline import InputError
from taxonomy import Taxonomy, load_images
from taxonomy.presets import PRESETS
from taxonomy.presets.imagenet import match_synsets

BIRDS = {
    "Black-footed Albatross": ["Procellariiformes", "Diomedeidae", "Phoebastria", "Black-footed Albatross"],
    "Arctic Tern": ["Charadriiformes", "Laridae", "Sterna", "Arctic Tern"],
    "Forster's Tern": ["Charadriiformes", "Laridae", "Sterna", "Forster's Tern"],
    "Chuck-will's-widow": ["Caprimulgiformes", "Caprimulgidae", "Antrostomus", "Chuck-will's-widow"],
}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "datasets"
    folder.mkdir()
    monkeypatch.setenv("TAXOPROBE_DATA", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def lines(file: Path, *rows: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(rows) + "\n")


@pytest.fixture
def cub(data: Path, write_images: Any) -> Path:
    top = data / "cub200" / "CUB_200_2011"
    classes = ("001.Black_footed_Albatross", "022.Chuck_will_Widow", "141.Artic_Tern", "146.Forsters_Tern")
    numbers = (1, 22, 141, 146)
    names = [f"{name}/{name[4:]}_{image:04d}_{image}7.jpg" for name in classes for image in (1, 2, 3)]
    write_images(top / "images", *names)
    lines(top / "classes.txt", *(f"{number} {name}" for number, name in zip(numbers, classes, strict=True)))
    lines(top / "images.txt", *(f"{row} {name}" for row, name in enumerate(names, start=1)))
    lines(top / "image_class_labels.txt", *(f"{row + 1} {numbers[row // 3]}" for row in range(12)))
    lines(top / "train_test_split.txt", *(f"{row + 1} {int(row % 3 < 2)}" for row in range(12)))
    (top.parent / "hierarchy_CUB200.json").write_text(json.dumps(BIRDS))
    return top


def test_cub200(cub: Path) -> None:
    images = load_images("cub200")
    assert len(images) == 12
    first = images.ids.index("images/001.Black_footed_Albatross/Black_footed_Albatross_0001_17.jpg")
    assert images.read(first) == (cub / images.ids[first]).read_bytes()
    for index, name in enumerate(images.ids):
        leaf = images.taxonomy.leaves[images.leaf[index]]
        assert leaf == {"001": "Black-footed Albatross", "022": "Chuck-will's-widow", "141": "Arctic Tern"}.get(
            name[7:10], "Forster's Tern"
        )
        assert images.split[index] == ("test" if "_0003_" in name else "train")
    assert "train_test_split.txt" in images.split_source
    assert load_images("cub200", root=cub).fingerprint == images.fingerprint
    assert load_images("cub200", root=cub.parent).ids == images.ids
    ranks = ("order", "family", "genus", "species")
    assert load_images("cub200", levels=ranks).taxonomy.levels == ranks


def test_cub200_without_its_taxonomy(cub: Path) -> None:
    (cub.parent / "hierarchy_CUB200.json").rename(cub.parents[2] / "elsewhere.json")
    with pytest.raises(InputError, match=r"no taxonomy of its own: put hierarchy_CUB200\.json from https://.* into"):
        load_images("cub200")
    assert len(load_images("cub200", taxonomy=cub.parents[2] / "elsewhere.json")) == 12


def test_cub200_with_a_broken_file(cub: Path) -> None:
    lines(cub / "image_class_labels.txt", "1 1", "2")
    with pytest.raises(InputError, match=r"image_class_labels\.txt, line 2: expected 2 fields, found '2'"):
        load_images("cub200")
    lines(cub / "image_class_labels.txt", "1 1")
    with pytest.raises(InputError, match=r"the image 2 .* has no class"):
        load_images("cub200")


def category(number: int, *ranks: str) -> dict[str, Any]:
    names = dict(zip(("kingdom", "phylum", "class", "order", "family", "genus"), ranks, strict=False))
    name = f"{ranks[5]} {ranks[6]}"
    folder = f"{number:05d}_" + "_".join(ranks)
    return {
        "id": number,
        "name": name,
        "common_name": "-",
        "supercategory": "-",
        **names,
        "specific_epithet": ranks[6],
        "image_dir_name": folder,
    }


CATEGORIES = [
    category(0, "Animalia", "Annelida", "Clitellata", "Haplotaxida", "Lumbricidae", "Lumbricus", "terrestris"),
    category(1, "Animalia", "Chordata", "Aves", "Passeriformes", "Turdidae", "Turdus", "grayi"),
    category(2, "Animalia", "Chordata", "Aves", "Passeriformes", "Turdidae", "Turdus", "merula"),
    category(3, "Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "canina"),
    category(4, "Fungi", "Basidiomycota", "Agaricomycetes", "Agaricales", "Amanitaceae", "Amanita", "muscaria"),
]


@pytest.fixture
def inat(data: Path, write_images: Any) -> Path:
    top = data / "inat21"
    for split, count in (("train_mini", 3), ("val", 2)):
        names = [f"{split}/{c['image_dir_name']}/{c['id']}{k}.jpg" for c in CATEGORIES for k in range(count)]
        write_images(top, *names)
        images = [{"id": 100 + row, "width": 8, "height": 8, "file_name": name} for row, name in enumerate(names)]
        notes = [{"id": row, "image_id": 100 + row, "category_id": row // count} for row in range(len(names))]
        content = {"info": {}, "images": images[::-1], "annotations": notes, "categories": CATEGORIES, "licenses": []}
        (top / f"{split}.json").write_text(json.dumps(content))
    return top


def test_inat21(inat: Path) -> None:
    animals, plants = load_images("inat21-animal"), load_images("inat21-plant")
    assert animals.taxonomy.levels == ("kingdom", "phylum", "class", "order", "family", "genus", "species")
    assert [len(animals.taxonomy.nodes(level)) for level in animals.taxonomy.levels] == [1, 2, 2, 2, 2, 2, 3]
    assert set(animals.taxonomy.leaves) == {"Lumbricus terrestris", "Turdus grayi", "Turdus merula"}
    assert (len(animals), len(plants)) == (15, 5)
    for index, name in enumerate(animals.ids):
        split, folder, _ = name.split("/")
        assert animals.split[index] == {"train_mini": "train", "val": "test"}[split]
        assert (
            "_".join(animals.taxonomy.paths[animals.leaf[index]])
            .replace(" ", "_")
            .startswith(folder[6:].rsplit("_", 2)[0])
        )
        assert animals.taxonomy.leaves[animals.leaf[index]] == " ".join(folder.split("_")[-2:])
    dropped = load_images("inat21-plant", drop_root=True)
    assert dropped.taxonomy.levels[0] == "phylum"


def test_inat21_with_validation_images_alone_is_split_by_leaf(inat: Path) -> None:
    (inat / "train_mini.json").unlink()
    images = load_images("inat21-animal")
    assert Counter(images.split.tolist()) == {"train": 3, "test": 3}
    assert "the publisher gives only test" in images.split_source


def test_inat21_with_another_file(inat: Path) -> None:
    (inat / "val.json").write_text('{"images": []}')
    with pytest.raises(InputError, match=r"val\.json: this is no iNat21 annotation file: KeyError 'categories'"):
        load_images("inat21-animal")


SYNSETS = {
    "n01440764": "tench, Tinca tinca",
    "n01514668": "cock",
    "n02113186": "Cardigan, Cardigan Welsh corgi",
    "n02963159": "cardigan",
}
FISH = {
    "tench": ["animal", "fish", "tench"],
    "rooster": ["animal", "bird", "rooster"],
    "Cardigan Welsh Corgi": ["animal", "dog", "Cardigan Welsh Corgi"],
}
CLOTHES = {"cardigan": ["artifact", "garment", "cardigan"]}


@pytest.fixture
def imagenet(data: Path) -> Path:
    top = data / "imagenet"
    top.mkdir()
    (top / "hierarchy_imagenet_animal.json").write_text(json.dumps(FISH))
    (top / "hierarchy_imagenet_artifact.json").write_text(json.dumps(CLOTHES))
    return top


def check_imagenet(splits: dict[str, int]) -> None:
    animals, garments = load_images("imagenet-animal"), load_images("imagenet-artifact")
    leaves = Counter(animals.taxonomy.leaves[leaf] for leaf in animals.leaf)
    assert set(leaves) == set(FISH)
    assert Counter(animals.split.tolist()) == splits
    assert animals.unmatched == {"n02963159 cardigan": len(animals) // 3}
    assert garments.unmatched.keys() == {"n01440764 tench", "n01514668 cock", "n02113186 Cardigan"}
    assert len(garments) == len(animals) // 3


def test_imagenet_in_synset_folders(imagenet: Path, write_images: Any) -> None:
    for wnid in SYNSETS:
        write_images(imagenet / "train" / wnid, *(f"{wnid}_{k}.JPEG" for k in range(3)))
        write_images(imagenet / "val" / wnid, f"ILSVRC2012_val_{wnid[1:]}.JPEG")
    lines(imagenet / "LOC_synset_mapping.txt", *(f"{wnid} {words}" for wnid, words in SYNSETS.items()))
    check_imagenet({"train": 9, "test": 3})


def test_imagenet_flat_with_the_devkit(imagenet: Path, write_images: Any) -> None:
    from scipy.io import savemat

    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(number + 1, wnid, words, "-", 0) for number, (wnid, words) in enumerate(reversed(SYNSETS.items()))]
    devkit = imagenet / "ILSVRC2012_devkit_t12" / "data"
    devkit.mkdir(parents=True)
    savemat(devkit / "meta.mat", {"synsets": np.array([*rows, (1001, "n00001740", "tench", "-", 4)], dtype=fields)})
    write_images(imagenet / "val", *(f"ILSVRC2012_val_{row + 1:08d}.JPEG" for row in range(8)))
    lines(devkit / "ILSVRC2012_validation_ground_truth.txt", *(str(row // 2 + 1) for row in range(8)))
    check_imagenet({"train": 3, "test": 3})
    images = load_images("imagenet-animal")
    third = images.ids.index("val/ILSVRC2012_val_00000003.JPEG")
    assert images.taxonomy.leaves[images.leaf[third]] == "Cardigan Welsh Corgi"


def test_imagenet_as_kaggle_ships_it(imagenet: Path, write_images: Any) -> None:
    folder = imagenet / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    write_images(folder, *(f"ILSVRC2012_val_{row:08d}.JPEG" for row in range(8)))
    boxes = [f"ILSVRC2012_val_{row:08d},{list(SYNSETS)[row % 4]} 1 2 3 4 " for row in range(8)]
    lines(imagenet / "LOC_val_solution.csv", "ImageId,PredictionString", *boxes)
    lines(imagenet / "LOC_synset_mapping.txt", *(f"{wnid} {words}" for wnid, words in SYNSETS.items()))
    check_imagenet({"train": 3, "test": 3})


def test_imagenet_that_does_not_say_enough(imagenet: Path, write_images: Any) -> None:
    write_images(imagenet / "val", "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(InputError, match="does not say what the ImageNet classes are called"):
        load_images("imagenet-animal")
    lines(imagenet / "synset_words.txt", *(f"{wnid} {words}" for wnid, words in SYNSETS.items()))
    with pytest.raises(InputError, match="lie flat and nothing says what they show"):
        load_images("imagenet-animal")


def test_synsets_are_matched_by_id_word_case_and_published_name() -> None:
    words = {wnid: tuple(names.split(", ")) for wnid, names in SYNSETS.items()}
    tree = Taxonomy.from_paths(
        [("a", "rooster"), ("a", "Tinca tinca"), ("b", "cardigan"), ("b", "n02113186"), ("b", "no")]
    )
    assert match_synsets(tree, words) == {"n01514668": 0, "n01440764": 1, "n02963159": 2, "n02113186": 3}
    with pytest.raises(InputError, match="'tench' and 'Tinca tinca' name the same ImageNet class, n01440764"):
        match_synsets(Taxonomy.from_paths([("a", "tench"), ("a", "Tinca tinca")]), words)


def test_food101(data: Path, write_images: Any) -> None:
    top = data / "food101" / "food-101"
    dishes = ("apple_pie", "caesar_salad", "waffles")
    write_images(top / "images", *(f"{dish}/{number}.jpg" for dish in dishes for number in (11, 12, 13)))
    lines(top / "meta" / "classes.txt", *dishes)
    lines(top / "meta" / "train.txt", *(f"{dish}/{number}" for dish in dishes for number in (11, 12)))
    lines(top / "meta" / "test.txt", *(f"{dish}/13" for dish in dishes))
    tree = {"apple pie": ["food", "desserts", "apple pie"], "caesar salad": ["food", "appetizers", "caesar salad"]}
    (top.parent / "hierarchy_Food.json").write_text(json.dumps(tree))
    images = load_images("food101", drop_root=True)
    assert images.taxonomy.levels == ("level2", "level3")
    assert Counter(images.split.tolist()) == {"train": 4, "test": 2}
    assert images.unmatched == {"waffles": 3}
    assert images.ids[0] == "images/apple_pie/11.jpg"


def test_pets(data: Path, write_images: Any) -> None:
    top = data / "pets"
    animals = {"Abyssinian": "1 1 1", "Egyptian_Mau": "2 1 2", "american_bulldog": "3 2 1"}
    names = [(f"{breed}_{number}", codes) for breed, codes in animals.items() for number in (1, 2, 100)]
    write_images(top / "images", *(f"{name}.jpg" for name, _ in names))
    (top / "images" / "Abyssinian_101.mat").write_bytes(b"MATLAB")
    header = ("#Image CLASS-ID SPECIES BREED ID", "#SPECIES: 1:Cat 2:Dog")
    lines(top / "annotations" / "list.txt", *header, *(f"{name} {codes}" for name, codes in names))
    lines(top / "annotations" / "trainval.txt", *(f"{name} {codes}" for name, codes in names if name[-2:] != "00"))
    lines(top / "annotations" / "test.txt", *(f"{name} {codes}" for name, codes in names if name[-2:] == "00"))
    images = load_images("pets")
    assert images.taxonomy.levels == ("species", "breed")
    assert set(images.taxonomy.paths) == {("cat", "Abyssinian"), ("cat", "Egyptian Mau"), ("dog", "american bulldog")}
    assert Counter(images.split.tolist()) == {"train": 6, "test": 3}
    given = Taxonomy.from_paths(
        [("animal", "cat", "Abyssinian"), ("animal", "cat", "Egyptian Mau"), ("animal", "dog", "American Bulldog")]
    )
    assert load_images("pets", taxonomy=given).taxonomy == given


@pytest.mark.parametrize("name", PRESETS)
def test_an_absent_preset_says_what_to_download_and_where_to_put_it(data: Path, name: str) -> None:
    preset = PRESETS[name]
    with pytest.raises(InputError) as raised:
        load_images(name)
    message = str(raised.value)
    assert all(
        part in message for part in (preset.title, preset.page, *preset.archives, str(data / (preset.family or name)))
    )
    assert "\n" not in message


def test_an_absent_preset_belongs_in_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAXOPROBE_DATA")
    with pytest.raises(InputError, match=r"is not in data/cub200: download CUB_200_2011\.tgz"):
        load_images("cub200")
    with pytest.raises(InputError, match=r"the root of cub200 .*nowhere does not exist"):
        load_images("cub200", root="nowhere")
    with pytest.raises(InputError, match="the preset cub200 has no columns to name"):
        load_images("cub200", label_column="class")
