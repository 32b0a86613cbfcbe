"""The examples around a trained LLaVA: its training, the study's questions for one's own photographs, names seen."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from examples.official_questions import OfficialQuestions, write
from taxonomy import Taxonomy
from taxonomy.questions import Bank

ROOT = Path(__file__).parent.parent.parent
SIMILAR = "questions/CUB200_with_similar_choice.jsonl.gz"


def run(*words: object) -> str:
    done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def photographs(shared: Path | None) -> Path:
    if shared is None:
        pytest.skip("the bird photographs are not here")
    return shared / "data/cub100_227px"


@pytest.fixture(scope="module")
def few(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two training photographs and a test photograph of eight leaves."""
    path = tmp_path_factory.mktemp("few") / "labels.csv"
    with (photographs / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept, seen = [], {}
    for row in rows:
        key = row["class"], row["split"]
        seen[key] = seen.get(key, 0) + 1
        if len({name for name, _ in seen}) <= 8 and seen[key] <= (2 if row["split"] == "train" else 1):
            kept.append(row)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)
    return path


LEVELS = ("--levels", "order,family,genus,species")


@pytest.fixture(scope="module")
def llava(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The assembled model, and beside it a bank of the few training photographs."""
    folder = tmp_path_factory.mktemp("llava")
    parts = {"--vision": "vit_tiny_patch16_224_in1k", "--language": "stories260k_llama"}
    words = [word for flag, name in parts.items() for word in (flag, photographs.parent / name)]
    run("examples/assemble_llava.py", *words, "--out", folder / "llava")
    return folder / "llava"


@pytest.fixture(scope="module")
def bank(photographs: Path, few: Path, llava: Path) -> Path:
    path = llava.with_name("train.parquet")
    images = "--images", few, "--root", photographs, *LEVELS, "--splits", "train"
    run("-m", "taxonomy", "questions", *images, "--distractors", "random", "--output", path)
    return path


def train(llava: Path, bank: Path, photographs: Path, out: Path) -> Path:
    """A few seconds of every stage; the first is long enough to learn names."""
    model = "--model", llava, "--questions", bank, "--images", photographs, "--out", out
    run("examples/train_llava.py", *model, "--name_steps", 200, "--short_steps", 2, "--steps", 2)
    return out


def alike(checkpoint: Path, photographs: Path, bank: Path) -> float:
    """How often the photograph nearest to one, by the projector's mean token, is the other one of its leaf."""
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(checkpoint)
    asked = [image[0] for image in Bank.open(bank).images()]
    pictures = [Image.open(photographs / str(question.path)).convert("RGB") for question in asked]
    pixels = processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        found = model.get_image_features(pixel_values=pixels)
    means = torch.stack([tokens.mean(0) for tokens in getattr(found, "pooler_output", found)])
    near = torch.nn.functional.normalize(means, dim=-1) @ torch.nn.functional.normalize(means, dim=-1).T
    nearest = near.fill_diagonal_(-2).argmax(1).tolist()
    return sum(asked[place].leaf == question.leaf for place, question in zip(nearest, asked, strict=True)) / len(asked)


@pytest.mark.slow
def test_training_learns_names_leaves_the_encoder_and_is_the_same_twice(
    photographs: Path, llava: Path, bank: Path, tmp_path: Path
) -> None:
    folders = llava, *(train(llava, bank, photographs, tmp_path / out) for out in ("one", "two"))
    before, one, two = (load_file(folder / "model.safetensors") for folder in folders)
    assert before.keys() == one.keys() == two.keys()
    for name, value in before.items():
        assert torch.equal(one[name], two[name])
        assert torch.equal(one[name], value) == ("vision_tower" in name), name
    assert alike(llava, photographs, bank) < alike(tmp_path / "one", photographs, bank) == 1
    out = tmp_path / "run"
    images = "--questions", bank, "--images", photographs, "--prompts", "cub-0"
    run("-m", "evaluation", "--model", tmp_path / "one", *images, "--out", out)
    table = run("examples/names_in_training.py", "--run", out, "--trained", bank).splitlines()[2:]
    assert [line.split()[:3] for line in table] == [[level, "4", "16"] for level in LEVELS[1].split(",")]
    assert [float(line.split()[-1]) for line in table] == [25.0] * 4


def test_every_photograph_is_asked_what_the_study_asked_about_its_leaf(
    photographs: Path, few: Path, tmp_path: Path
) -> None:
    official = photographs.parent / SIMILAR
    write(OfficialQuestions(official=official, images=few, out=tmp_path / "bank.jsonl"))
    tree = Taxonomy.from_json(photographs.parent / "taxonomies/hierarchy_CUB200.json")
    asked = {image[0].leaf: image for image in Bank.open(tmp_path / "bank.jsonl", tree).images()}
    theirs: dict[str, set[tuple]] = {}
    for image in Bank.open(official, tree).images():
        theirs.setdefault(image[0].leaf, set()).add(tuple((q.level, q.options, q.answer) for q in image))
    assert len(asked) == 8
    for leaf, image in asked.items():
        assert tuple((q.level, q.options, q.answer) for q in image) in theirs[leaf]
        assert (photographs / str(image[0].path)).is_file()
