"""Dual encoders against transformers' own logits, and the full label set against sums by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from PIL import Image

from commandline import InputError
from evaluation.backends.dual_encoder import TEMPLATES, DualEncoder
from evaluation.config import ZeroShotConfig
from evaluation.results import AskRun
from evaluation.run import run
from evaluation.zero_shot import READINGS, Tree, predict
from evaluation.zero_shot import run as run_zero_shot
from hooks import load
from organisms.checkpoint import seed_weights
from taxonomy import Taxonomy
from tests.dual_encoders import EYE, LENGTH, SIZE, clip, siglip
from tests.evaluation.planted import open_bank, settings, tree, write_bank
from tests.hooks.conftest import picture

NAMES = ("grebe", "a very long name of a bird", "swift", "rail")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name, build in (("clip", clip), ("siglip", siglip)):
        folders[name] = tmp_path_factory.mktemp(name)
        model = build(folders[name])
        seed_weights(model, 0)
        if name == "siglip":
            model.logit_bias.data.fill_(-3.5)
        model.eval().save_pretrained(folders[name])
    return folders


@pytest.fixture(params=["clip", "siglip"])
def checkpoint(request: pytest.FixtureRequest, encoders: dict[str, Path]) -> Path:
    return encoders[request.param]


def test_logits_are_the_models_own(checkpoint: Path) -> None:
    """One template: `logits_per_image` of transformers' model on its own processor's inputs, SigLIP's padded whole."""
    loaded = load(checkpoint, "cpu")
    encoder = DualEncoder.of(loaded, ("a photo of a {}.",), batch_size=2)
    pictures = [picture(40, 30, seed) for seed in range(3)]
    ours = encoder.logits(encoder.images(pictures), NAMES)
    processor = transformers.AutoProcessor.from_pretrained(checkpoint)
    model = transformers.AutoModel.from_pretrained(checkpoint)
    texts = [f"a photo of a {name}." for name in NAMES]
    padding = {"padding": "max_length", "max_length": LENGTH} if "siglip" in str(checkpoint) else {"padding": True}
    inputs = processor(text=texts, images=pictures, return_tensors="pt", truncation=True, **padding)
    inputs["pixel_values"] = loaded.processor(images=pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        theirs = model(**inputs).logits_per_image
    assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-5)
    assert float(theirs.std()) > 1e-3


def test_an_ensemble_is_the_mean_of_units_made_a_unit(checkpoint: Path) -> None:
    loaded = load(checkpoint, "cpu")
    templates = TEMPLATES["ensemble"]
    found = DualEncoder.of(loaded, templates, batch_size=5).names(NAMES)
    alone = torch.stack([DualEncoder.of(loaded, (template,)).names(NAMES) for template in templates])
    mean = alone.double().mean(0)
    assert torch.allclose(found.double(), mean / mean.norm(dim=1, keepdim=True), atol=1e-6)
    assert torch.allclose(found.norm(dim=1), torch.ones(len(NAMES)))
    assert not torch.allclose(found, alone[0], atol=1e-3)


def test_models_without_text_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    transformers.ViTImageProcessorPil(size=SIZE).save_pretrained(tmp_path)
    transformers.ViTModel(transformers.ViTConfig(**EYE)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="encodes images and no text"):
        DualEncoder.of(load(tmp_path, "cpu"), ("{}",))


def test_questions_are_answered_by_the_nearest_option(checkpoint: Path, tmp_path: Path) -> None:
    write_bank(tmp_path, per_leaf=1)
    (tmp_path / "photos" / "03_0.jpg").write_bytes(b"no image")
    run(settings(tmp_path, model=str(checkpoint), device="cpu", templates="plain"))
    rows = AskRun.open(tmp_path / "run").answers().to_pylist()
    assert len(rows) == 36
    encoder = DualEncoder.of(load(checkpoint, "cpu"), ("{}",))
    for row in rows:
        if row["image"] == "photos/03_0.jpg":
            assert (row["status"], row["letter_logits"]) == ("error", None)
            continue
        with Image.open(tmp_path / row["image"]) as image:
            features = encoder.images([image.convert("RGB")])
        expected = encoder.logits(features, row["options"])[0].numpy()
        assert np.allclose(row["letter_logits"], expected, atol=1e-4)
        assert row["text"] == "ABCD"[int(expected.argmax())]


def test_it_cannot_be_asked_without_an_image(checkpoint: Path, tmp_path: Path) -> None:
    write_bank(tmp_path, per_leaf=1)
    with pytest.raises(InputError, match="cannot be asked without an image"):
        run(settings(tmp_path, model=str(checkpoint), device="cpu", text_only=True))


@pytest.mark.parametrize("paths", [tree().paths, (("a", "b", "c"), ("a", "b", "d"), ("a", "e"), ("f",))])
def test_sums_up_the_tree(paths: tuple[tuple[str, ...], ...]) -> None:
    """Each node has the probability of the leaves below it, in a ragged tree too."""
    taxonomy = Taxonomy.from_paths(paths)
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (5, len(taxonomy)))).float()
    found = Tree.of(taxonomy).probabilities(logits)
    chances = np.exp(logits.double().numpy())
    chances /= chances.sum(1, keepdims=True)
    at = 0
    for level in taxonomy.levels:
        for code in range(len(taxonomy.nodes(level))):
            below = taxonomy.codes[:, taxonomy.level_index(level)] == code
            assert np.allclose(found[:, at], chances[:, below].sum(1), atol=1e-6)
            at += 1
    assert at == found.shape[1]


def test_readings_of_the_full_label_set() -> None:
    """Two orders of one and three species: the most probable leaf is in one, most of the probability in the other."""
    taxonomy = Taxonomy.from_paths([("x", "x1"), ("y", "y1"), ("y", "y2"), ("y", "y3")], ["order", "species"])
    logits = torch.cat([torch.tensor([1.0, 0.0]), torch.log(torch.tensor([0.4, 0.25, 0.2, 0.15]))])
    found = {reading: codes.tolist() for reading, codes in predict(Tree.of(taxonomy), logits[None]).items()}
    assert found == {"nearest name": [[0, 0]], "summed up the tree": [[1, 0]], "path of the leaf": [[0, 0]]}


def test_readings_of_a_ragged_tree() -> None:
    """Leaves stand at every level; what stands beside them there is no leaf."""
    taxonomy = Taxonomy.from_paths([("a", "b", "c"), ("a", "b", "d"), ("a", "e"), ("f",)])
    value = {"a": 9.0, "b": -5.0, "c": np.log(0.2), "d": np.log(0.15), "e": np.log(0.25), "f": np.log(0.4)}
    names = [name for level in taxonomy.levels for name in taxonomy.names(level)]
    assert len(names) == 6
    found = predict(Tree.of(taxonomy), torch.tensor([[value[name] for name in names]]).float())
    said = {
        reading: [level[code] if code >= 0 else None for level, code in zip(["af", "be", "cd"], codes[0], strict=True)]
        for reading, codes in found.items()
    }
    assert said == {
        "nearest name": ["a", "e", "c"],
        "summed up the tree": ["a", "b", "c"],
        "path of the leaf": ["f", None, None],
    }


def test_a_bank_over_the_full_label_set(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bank(tmp_path, per_leaf=2)
    (tmp_path / "photos" / "03_0.jpg").write_bytes(b"no image")
    given = {
        "model": str(checkpoint),
        "questions": str(tmp_path / "birds.jsonl"),
        "taxonomy": str(tmp_path / "tree.json"),
        "images": str(tmp_path),
        "out": str(tmp_path / "full"),
        "device": "cpu",
        "batch_size": 5,
        "bootstrap": 100,
    }
    run_zero_shot(ZeroShotConfig.model_validate(given))
    out = capsys.readouterr().out
    assert "23 images; 1 image could not be read" in out
    rows = pq.read_table(tmp_path / "full" / "predictions").to_pylist()
    bank = open_bank(tmp_path)
    assert [row["id"] for row in rows] == [group[0].image for group in bank.images()]
    encoder = DualEncoder.of(load(checkpoint, "cpu"), TEMPLATES["photo"])
    for row in rows:
        if row["status"] != "ok":
            assert row["id"] == "photos/03_0.jpg"
            continue
        with Image.open(tmp_path / row["id"]) as image:
            features = encoder.images([image.convert("RGB")])
        for index, level in enumerate(bank.levels):
            logits = encoder.logits(features, bank.taxonomy.names(level))[0]
            assert row["nearest name"][index] == int(logits.argmax())
        leaf = int(encoder.logits(features, [path[-1] for path in bank.taxonomy.paths])[0].argmax())
        assert row["path of the leaf"] == bank.taxonomy.codes[leaf].tolist()
    summary = json.loads((tmp_path / "full" / "summary.json").read_text())
    assert {score["reading"] for score in summary["scores"]} == set(READINGS)
    (tmp_path / "full" / "predictions" / "part-000002.parquet").unlink()
    run_zero_shot(ZeroShotConfig.model_validate(given))
    assert pq.read_table(tmp_path / "full" / "predictions").to_pylist() == rows
    with pytest.raises(InputError, match="was made with limit = None, and this is 3"):
        run_zero_shot(ZeroShotConfig.model_validate(given | {"limit": 3}))
