"""Features of pictures, by hand; and through a store of real files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commandline import InputError
from extract import Store
from extract.config import ExtractConfig
from extract.settings import read_images, settings_of
from probing.baselines import baselines, histogram, name_baselines, thumbnail
from tests.probing.planted import PlantedSite


def test_a_thumbnail_is_a_mean_over_squares_and_a_histogram_counts_pixels() -> None:
    values = np.zeros((32, 64, 3), np.uint8)
    values[:, :32] = (255, 31, 0)
    picture = Image.fromarray(values)
    small = thumbnail(picture).reshape(16, 16, 3)
    np.testing.assert_allclose(small[:, :8], np.broadcast_to([1, 31 / 255, 0], (16, 8, 3)), atol=1e-6)
    assert (small[:, 8:] == 0).all()
    counts = histogram(picture).reshape(3, 8)
    np.testing.assert_allclose(counts[0], [0.5, 0, 0, 0, 0, 0, 0, 0.5])
    np.testing.assert_allclose(counts[1:, 0], 1)


def test_images_are_found_by_id(world: Path, tmp_path: Path) -> None:
    config = ExtractConfig(model="none", dataset=str(world), limit=12)
    images = read_images(config)
    store = Store.create(
        tmp_path / "s.zarr",
        sites=[PlantedSite("encoder.1", "encoder", 1, "m", 2)],
        ids=list(images.ids),
        leaf=images.leaf,
        split=images.split,
        taxonomy=images.taxonomy,
        attrs={"dataset": json.loads(json.dumps(settings_of(config, images)["dataset"]))},
    )
    order = [images.ids[5], images.ids[2]]
    found = baselines(store, order)
    assert {name: X.shape for name, X in found.items()} == {"baseline.pixels": (2, 768), "baseline.colours": (2, 24)}
    np.testing.assert_allclose(found["baseline.colours"].reshape(2, 3, 8).sum(2), 1, rtol=1e-6)
    root = world.parent
    path = next(file for file in root.rglob("*.png") if file.as_posix().endswith(images.ids[5]))
    np.testing.assert_array_equal(found["baseline.pixels"][0], thumbnail(Image.open(path).convert("RGB")))
    with pytest.raises(InputError, match=r"has no image 'nowhere.png' any more"):
        baselines(store, ["nowhere.png"])


def test_names_are_counted_by_word_and_by_three_characters() -> None:
    found = name_baselines(["Larus argentatus", "Larus canus", "Corvus corax", "Larus canus"])
    words, characters = found["baseline.words"], found["baseline.characters"]
    np.testing.assert_array_equal(words, [[1], [1], [0], [1]])  # larus; the others are in one name each
    assert characters.shape[1] > 2
    assert (characters[1] == characters[3]).all()
    assert name_baselines(["a b", "c d"])["baseline.words"].shape == (2, 4)
