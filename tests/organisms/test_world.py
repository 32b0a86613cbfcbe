import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from commandline import InputError
from organisms.world import LEVELS, PATHS, render, render_world
from taxonomy import load_images


def rows(manifest):
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_taxonomy_is_a_tree_of_4_families_12_genera_36_species():
    for level, nodes in zip(range(3), (4, 12, 36), strict=True):
        assert len({path[: level + 1] for path in PATHS}) == nodes
    assert len({name for path in PATHS for name in path}) == 4 + 12 + 36  # no name means two things


def test_manifest_names_every_image_with_its_path_and_split(world):
    entries = rows(world)
    assert len(entries) == 36 * 6
    assert len({entry["image"] for entry in entries}) == len(entries)
    for entry in entries:
        assert (world.parent / entry["image"]).is_file()
        assert entry["label"] == entry["species"]
        assert tuple(entry[level] for level in LEVELS) in PATHS
        assert entry["image"].split("/")[1:4] == [entry[level] for level in LEVELS]
    assert Counter(entry["split"] for entry in entries) == {"train": 36 * 4, "validation": 36, "test": 36}


def test_the_world_loads_as_any_dataset_does(world):
    images = load_images(world)
    assert images.taxonomy.levels == LEVELS
    assert [len(images.taxonomy.nodes(level)) for level in LEVELS] == [4, 12, 36]
    assert not images.unmatched
    for k in (0, 50, 215):
        path = images.taxonomy.path(images.taxonomy.leaves[images.leaf[k]])
        assert path in PATHS and path[-1] in images.ids[k]
        assert images.split[k] == rows(world)[k]["split"]


def test_every_species_has_images_in_every_split_from_five_images_on(tmp_path):
    seen = {(entry["species"], entry["split"]) for entry in rows(render_world(tmp_path, n_per_species=5, size=28))}
    assert len(seen) == 36 * 3


def test_same_seed_same_bytes_and_a_larger_world_extends_the_smaller(tmp_path):
    small, again, large, other = (
        render_world(tmp_path / name, n, seed, size=32).parent
        for name, n, seed in (("small", 1, 0), ("again", 1, 0), ("large", 2, 0), ("other", 1, 1))
    )
    assert digest(small) == digest(again)
    images = {name: value for name, value in digest(small).items() if name.startswith("images")}
    assert len(set(images.values())) == 36
    assert images.items() <= digest(large).items()
    assert not set(images.values()) & set(digest(other).values())
    assert digest(other)["taxonomy.json"] == digest(small)["taxonomy.json"]


def test_ragged_images_differ_in_shape(tmp_path):
    manifest = render_world(tmp_path, n_per_species=1, size=64, ragged=True)
    sizes = {Image.open(manifest.parent / entry["image"]).size for entry in rows(manifest)}
    assert len(sizes) > 20
    assert all(32 <= side <= 64 for size in sizes for side in size)


def test_an_image_averaged_over_channels_says_nothing_of_the_species():
    for species in range(0, 36, 3):
        grey = [render(species + k, np.random.default_rng(5)).mean(-1, dtype=float) for k in range(3)]
        assert np.abs(grey[0] - grey[1]).max() < 20 and np.abs(grey[0] - grey[2]).max() < 20  # clipped noise, at most
        assert np.abs(grey[0] - grey[1]).mean() < 0.5 and np.abs(grey[0] - grey[2]).mean() < 0.5


def shape_of(image):
    """Of the coloured pixels, whatever their colour: elongation, share of the circle around them, spread of radii."""
    y, x = np.nonzero(np.ptp(image.astype(int), axis=-1) > 40)
    points = np.stack([x - x.mean(), y - y.mean()])
    radii, moments = np.hypot(*points), np.linalg.eigvalsh(np.cov(points))
    outer = np.quantile(radii, 0.995)
    return np.log([moments[1] / moments[0], len(x) / outer**2, radii.std() / outer])


def test_the_species_is_in_the_colour_and_the_family_in_the_outline():
    draws = [(species, np.random.default_rng([species, k])) for species in range(36) for k in range(12)]
    images = [render(species, rng) for species, rng in draws]
    labels, train = np.array([species for species, _ in draws]), np.arange(36 * 12) % 12 < 8
    colour = np.stack([image.mean((0, 1)) - image.mean() for image in images])
    shape = np.stack([shape_of(image) for image in images])

    def accuracy(features, target):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
        return model.fit(features[train], target[train]).score(features[~train], target[~train])

    assert accuracy(colour, labels % 3) > 0.95
    assert accuracy(shape, labels // 9) > 0.95
    assert accuracy(colour, labels // 9) < 0.6
    assert accuracy(shape, labels % 3) < 0.5


@pytest.mark.parametrize(("settings", "message"), [({"n_per_species": 0}, "at least 1"), ({"size": 10}, "below 28")])
def test_impossible_worlds_are_refused(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        render_world(tmp_path / "w", **settings)
    assert not (tmp_path / "w").exists()
