"""The shipped weights, through public code alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hooks import load
from organisms import bars
from organisms.check import SHIPPED, measured_page
from organisms.measuring import ask_about, read, run
from organisms.training.recipes import ORGANISMS, RECIPES, SIZE
from organisms.world import render_world
from taxonomy.questions import Bank, prompts, render, system_turn

SEED = 11
"""Of a world that neither the recipes nor the table beside the weights has seen."""
FOLDERS = [str(path.parent.relative_to(SHIPPED)) for path in sorted(SHIPPED.rglob("organism.json"))]
MEASURED = [*ORGANISMS, "internvl/llm"]
"""Those that are measured anew: all of Qwen2.5-VL, and one of the second family."""
QUICK = ("--controls", "0", "--shuffles", "1", "--bootstrap", "1000", "--penalties", "[0.003]", "--tol", "1e-3")
"""The bars rest on accuracies and their intervals: no re-hung taxonomies, one null, one penalty instead of seven."""
SITES = "encoder.[1-3],projector,llm.[1-4],llm.final"
"""All that differ: `llm.0` is what the projector wrote, and the encoders have no norm after the last block."""


def name_of(folder):
    return Path(folder).name


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """900 images, and 540 questions about the 180 of them that are for testing."""
    out = tmp_path_factory.mktemp("asked")
    manifest = render_world(out / "world", 25, SEED, SIZE)
    return manifest, ask_about(manifest, out, out / "log.txt")


@pytest.fixture(scope="module")
def run_of(asked, tmp_path_factory):
    """The folder of an organism's stores, answers and probes, by the public commands; each made once."""
    made = {}
    manifest, bank = asked

    def measure(folder):
        if folder in made:
            return made[folder]
        out = made[folder] = tmp_path_factory.mktemp("run")
        log, store, model = out / "log.txt", out / "store.zarr", ("--model", SHIPPED / folder, "--device", "cpu")
        run("extract", *model, "--dataset", manifest, "--store", store, log=log)
        ask = (*model, "--questions", bank)
        run("evaluation", *ask, "--images", manifest.parent, "--out", out / "images.ask", log=log)
        run("evaluation", *ask, "--text_only", "true", "--out", out / "names.ask", log=log)
        run("probing", store, "--sites", SITES, *QUICK, "--device", "cpu", log=log)
        # No bar is held to species that no probe was fitted on: one site, for the verdict.
        run("probing", store, "--split", "leaf", "--sites", "llm.final", *QUICK, "--device", "cpu", log=log)
        run("analysis", "verdict", store, log=log)
        return out

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield measure
    torch.set_num_threads(threads)


def test_all_are_there_and_small_and_say_how_they_were_made():
    assert {path.name for path in SHIPPED.iterdir() if path.is_dir()} == {*ORGANISMS, "internvl"}
    assert set(MEASURED) <= set(FOLDERS)
    for folder in FOLDERS:
        about = json.loads((SHIPPED / folder / "organism.json").read_text(encoding="utf-8"))
        family = " --architecture internvl" if "internvl" in folder else ""
        assert about["command"] == f"python -m organisms train {name_of(folder)} --seed {about['seed']}{family}"
        assert about["pace"]["steps"] == 350
        assert (SHIPPED / folder / "model.safetensors").stat().st_size < 1_500_000


@pytest.mark.parametrize("folder", [SHIPPED, SHIPPED / "internvl"], ids=lambda folder: folder.name)
def test_the_table_beside_the_weights_holds(folder):
    page, hold = measured_page(folder)
    assert hold
    assert page == (folder / "measured.md").read_text(encoding="utf-8")
    assert all(f"| {path.parent.name} | llm.final |" in page for path in folder.glob("*/organism.json"))


@pytest.mark.slow
@pytest.mark.parametrize("folder", MEASURED)
def test_the_shipped_weights_show_what_they_were_made_to_show(folder, run_of):
    """Measured anew, on another world than the table's."""
    missed = [cell for cell in bars.cells(name_of(folder), read(run_of(folder))) if not cell.holds]
    assert not missed


def letters_by_generate(folder, bank, root, count):
    """Stock transformers: the chat template, the processor, `generate`. One question after the other."""
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils.import_utils import is_torchvision_available

    # Without torchvision transformers builds no processor that could take video as well.
    whole = is_torchvision_available()
    processor = AutoProcessor.from_pretrained(folder) if whole else load(str(folder), device="cpu").processor
    model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
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


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["healthy", "internvl/llm"])
def test_generate_says_what_our_evaluation_says_letter_for_letter(folder, asked, run_of):
    import pyarrow.parquet as pq

    manifest, bank = asked
    parts = sorted((run_of(folder) / "images.ask").glob("answers/*.parquet"))
    ours = {(row["image"], row["level"]): row["text"] for part in parts for row in pq.read_table(part).to_pylist()}
    said = letters_by_generate(SHIPPED / folder, Bank.open(bank), manifest.parent, 500)
    assert len(said) == 500
    assert {key: ours[key] for key in said} == said
    assert set(said.values()) <= set("ABCD")  # a letter, and then it ends


def test_every_recipe_has_bars():
    assert set(bars._CHECKS) == set(RECIPES)
