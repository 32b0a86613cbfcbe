"""Copies across the split, planted and found."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from transformers import AutoImageProcessor, ViTModel

from extract import SiteInfo
from probing.duplicates import THRESHOLD, compared_site, find_duplicates
from probing.plan import capped


def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 unlike rows, of which test row 50 is the file of row 3, and test row 51 nearly the picture of row 7."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(60, 32)) + 50).astype(np.float32)  # a common part that makes all cosines nearly 1
    split = np.array(["train"] * 40 + ["validation"] * 10 + ["test"] * 10)
    sha = np.array([f"{row:064d}" for row in range(60)], object)
    X[50], sha[50] = X[3], sha[3]
    X[51] = X[7] + 0.02 * rng.normal(size=32)
    return X, split, sha


def test_equal_files_and_nearly_equal_pictures_are_found_and_nothing_else() -> None:
    X, split, sha = planted()
    found = find_duplicates(split, sha, X)
    assert np.flatnonzero(found.exact).tolist() == [50]
    assert np.flatnonzero(found.near).tolist() == [50, 51]
    assert found.nearest[[50, 51]].tolist() == [3, 7]
    report = found.report([f"s{row}" for row in range(60)], split, np.arange(60))
    assert (report["test"], report["exact"], report["near"], report["other_leaf"]) == (10, 1, 2, 2)
    assert report["pairs"] == [{"test": "s50", "fitted": "s3"}, {"test": "s51", "fitted": "s7"}]
    assert report["similarity"]["0.5"] < 0.9


def test_similarity_is_the_largest_cosine_less_the_mean_in_blocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probing.duplicates.BLOCK_ROWS", 3)
    X, split, sha = planted()
    found = find_duplicates(split, sha, X)
    assert found.similarity is not None
    centred = X - X[:50].mean(0)
    for row in range(50, 60):
        cosines = [c @ centred[row] / np.linalg.norm(c) / np.linalg.norm(centred[row]) for c in centred[:50]]
        assert found.similarity[row] == pytest.approx(max(cosines), abs=1e-4)
    assert np.isnan(found.similarity[:50]).all()


def test_without_features_only_files_are_compared_and_unknown_hashes_are_not() -> None:
    _, split, sha = planted()
    sha[4] = sha[52] = ""
    assert np.flatnonzero(find_duplicates(split, sha).near).tolist() == [50]


def test_a_cap_leaves_test_alone_and_goes_by_id() -> None:
    rng = np.random.default_rng(0)
    leaf, split = np.repeat(np.arange(5), 12), np.tile(["train"] * 7 + ["validation"] * 2 + ["test"] * 3, 5)
    ids = [f"s{row}" for row in range(60)]
    keep = capped(split, leaf, ids, 4, seed=0)
    assert (np.bincount(leaf[keep & (split != "test")]) == 4).all()
    assert keep[split == "test"].all()
    order = rng.permutation(60)
    again = capped(split[order], leaf[order], [ids[row] for row in order], 4, seed=0)
    assert {ids[row] for row in np.flatnonzero(keep)} == {ids[order[row]] for row in np.flatnonzero(again)}
    assert {ids[r] for r in np.flatnonzero(keep)} != {ids[r] for r in np.flatnonzero(capped(split, leaf, ids, 4, 1))}


def test_pictures_are_compared_where_the_encoder_ends() -> None:
    def sites(*names: str) -> list[SiteInfo]:
        return [SiteInfo(name, name.split(".")[0], None, "m", "output", 4, "float32", "", None) for name in names]

    assert compared_site(sites("encoder.1", "encoder.12", "encoder.final", "projector", "llm.0")) == "encoder.final"
    assert compared_site(sites("llm.0", "llm.1")) == "llm.0"


def changed(picture: Image.Image) -> dict[str, Image.Image]:
    """What a photograph becomes on its way from one collection to another."""
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=50)
    return {
        "JPEG": Image.open(packed).convert("RGB"),
        "resized": picture.resize((round(0.9 * picture.width), round(0.9 * picture.height))),
        "mirrored": ImageOps.mirror(picture),
        "brighter": ImageEnhance.Brightness(picture).enhance(1.2),
    }


@pytest.mark.slow
def test_the_threshold_tells_copies_from_other_photographs_of_the_species(shared: Path | None) -> None:
    """Real photographs of 5 species through a real ViT: five of each fitted on, test holds others and copies."""
    if shared is None:
        pytest.skip("no real data here")
    folder = shared / "data/vit_tiny_patch16_224_in1k"
    model, processor = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval(), AutoImageProcessor
    prepare = processor.from_pretrained(folder, backend="pil")
    species: dict[str, list[Path]] = {}
    for path in sorted((shared / "data/cub100_227px/images").iterdir()):
        species.setdefault(path.stem.split("__")[0], []).append(path)
    pictures, split, copies = [], [], []
    for paths in list(species.values())[::20]:
        opened = [Image.open(path).convert("RGB") for path in paths[:8]]
        versions = [changed(picture) for picture in opened[:2]]
        pictures += [*opened, *(made for version in versions for made in version.values())]
        split += ["train"] * 5 + ["test"] * 11
        copies += [False] * 8 + [True] * 8
    rows = []
    with torch.no_grad():
        for start in range(0, len(pictures), 16):
            pixels = prepare(pictures[start : start + 16], return_tensors="pt")["pixel_values"]
            rows.append(model(pixels, output_hidden_states=True).hidden_states[-1][:, 1:].mean(1).numpy())
    unknown = np.full(len(split), "", object)
    found = find_duplicates(np.array(split), unknown, np.concatenate(rows))
    assert found.similarity is not None
    copy, other = np.array(copies), ~np.array(copies) & (np.array(split) == "test")
    assert found.threshold == THRESHOLD
    assert found.near[copy].mean() >= 0.85
    assert not found.near[other].any()
