"""The shipped weights, through public code alone."""

import json
import shutil

import pytest
import torch
from PIL import Image

from commandline import main
from evaluation.__main__ import COMMANDS as EVALUATION
from hooks import load
from organisms import bars
from organisms.check import SHIPPED, CheckConfig, check, measured_page
from organisms.training.recipes import RECIPES, SIZE
from organisms.world import render_world
from taxonomy.__main__ import COMMANDS as TAXONOMY
from taxonomy.questions import Bank, prompts, render, system_turn

SEED = 11
"""Of a world that neither the recipes nor the table beside the weights has seen."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A bank of 540 questions about 180 images, and their folder."""
    folder = tmp_path_factory.mktemp("asked")
    manifest = render_world(folder / "world", 5, SEED, SIZE)
    settings = [f"--images={manifest}", "--distractors=sibling", f"--output={folder / 'bank.parquet'}"]
    assert main("taxonomy", TAXONOMY, None, ["questions", *settings]) == 0
    return folder / "bank.parquet", manifest.parent


def test_all_are_there_and_small_and_say_how_they_were_made():
    assert {path.name for path in SHIPPED.iterdir() if path.is_dir()} == set(RECIPES)
    for name in RECIPES:
        about = json.loads((SHIPPED / name / "organism.json").read_text(encoding="utf-8"))
        assert about["command"] == f"python -m organisms train {name} --seed {about['seed']}"
        assert (SHIPPED / name / "model.safetensors").stat().st_size < 1_500_000


def test_the_table_beside_the_weights_holds():
    page, hold = measured_page(SHIPPED)
    assert hold
    assert page == (SHIPPED / "measured.md").read_text(encoding="utf-8")
    assert all(f"| {name} | llm.final |" in page for name in RECIPES)


def letters_by_generate(folder, bank, root, count):
    """Stock transformers: the chat template, the processor, `generate`. One question after the other."""
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils.import_utils import is_torchvision_available

    # Without torchvision transformers builds no processor that could take video as well.
    whole = is_torchvision_available()
    processor = AutoProcessor.from_pretrained(folder) if whole else load(str(folder), device="cpu").processor
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = prompts()["plain-0"]
    said = {}
    for question in bank.questions(0, count):
        words = {"type": "text", "text": render(question, prompt, range(len(question.options)), text_only=False)}
        turns = [{"role": "user", "content": [{"type": "image"}, words]}]
        if system := system_turn(prompt, text_only=False):
            turns.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        with Image.open(root / question.path) as picture:
            inputs = processor(text=[text], images=[picture.convert("RGB")], return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=10, do_sample=False)
        said[question.image, question.level] = processor.tokenizer.decode(
            ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
    return said


def letters_by_evaluation(folder, bank, root, out):
    import pyarrow.parquet as pq

    settings = [f"--model={folder}", f"--questions={bank}", f"--images={root}", f"--out={out}", "--device=cpu"]
    assert main("evaluation", EVALUATION, "ask", settings) == 0
    return [row for part in sorted(out.glob("answers/*.parquet")) for row in pq.read_table(part).to_pylist()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["healthy", "llm"])
def test_generate_says_what_our_evaluation_says_letter_for_letter(name, asked, tmp_path):
    bank, root = asked
    rows = letters_by_evaluation(SHIPPED / name, bank, root, tmp_path / "run")
    said = letters_by_generate(SHIPPED / name, Bank.open(bank), root, 500)
    ours = {(row["image"], row["level"]): row["text"] for row in rows}
    assert len(said) == 500
    assert {key: ours[key] for key in said} == said
    assert set(said.values()) <= set("ABCD")  # a letter, and then it ends


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RECIPES))
def test_the_shipped_weights_show_what_they_were_made_to_show(name, tmp_path):
    """Measured anew, on another world than the table's, by the public commands."""
    weights = tmp_path / "weights"
    weights.mkdir()
    shutil.copytree(SHIPPED / name, weights / name)
    assert check(CheckConfig(weights=weights, out=tmp_path / "out", n=25, seed=SEED, device="cpu")) == 0


def test_every_recipe_has_bars():
    assert set(bars._CHECKS) == set(RECIPES)
