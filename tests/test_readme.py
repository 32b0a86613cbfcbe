"""Every command that README.md and docs/ show is one that exists, and works.

They are typed as they stand, in a folder where `models/`, `photographs/`, `data/` and the hub's model ids are tiny
stand-ins built here. Nothing is skipped: a command this file does not know how to run fails it.
"""

import csv
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from tests.dual_encoders import clip

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WORKSHOP = {"setup", "test", "test-fast", "lint", "format", "bench", "clean"}
"""Targets that only the project's own checkout can run; the rest run here."""
MAKE = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MODEL", "DATASET", "TAXONOMY", "LEVELS", "STORE", "ARGS"}
"""What a `make test` around these tests would hand down to the `make` inside them."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def targets(command: str) -> list[str]:
    return [word for word in shlex.split(command)[1:] if "=" not in word]


@pytest.fixture(scope="module")
def desk(tmp_path_factory, checkpoints, causal_lm, world):
    """A folder in which the documents' commands find everything they name, and `make` an environment that is ready."""
    desk = tmp_path_factory.mktemp("desk")
    for name in ("Makefile", "constraints.txt", "pyproject.toml", "configs", "examples"):
        (desk / name).symlink_to(ROOT / name)
    (desk / ".venv/bin").mkdir(parents=True)
    python = desk / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (desk / ".venv/installed").touch()
    for model in sorted(set(re.findall(r"Qwen/[\w.-]+", "".join(page.read_text("utf-8") for page in PAGES)))):
        shutil.copytree(checkpoints["qwen2_5_vl"], desk / model)
    for model in sorted(set(re.findall(r"openai/[\w.-]+", "".join(page.read_text("utf-8") for page in PAGES)))):
        (desk / model).mkdir(parents=True)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            clip(desk / model).save_pretrained(desk / model)
    (desk / "models").mkdir()
    (desk / "models/llama").symlink_to(causal_lm)
    vit = ViTConfig(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, image_size=48)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ViTForImageClassification(vit).save_pretrained(desk / "models/vit")
    ViTImageProcessorPil(size={"height": 48, "width": 48}).save_pretrained(desk / "models/vit")
    _photographs(desk / "photographs", world)
    _cub200(desk / "data/cub200", world)
    _official(desk, world)
    return desk


def _rows(world: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in world.read_text(encoding="utf-8").splitlines()]


def _photographs(folder: Path, world: Path) -> None:
    """A table with one column a level, as somebody would bring it."""
    folder.mkdir()
    shutil.copytree(world.parent / "images", folder / "images")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["image", "label", "split", "order", "family", "genus", "species"])
        writer.writeheader()
        for row in _rows(world):
            writer.writerow(row | {"order": f"{row['family'][0]} order"})


def _cub200(folder: Path, world: Path) -> None:
    """The rendered world laid out as CUB-200-2011 is published."""
    folder.mkdir(parents=True)
    shutil.copytree(world.parent / "images", folder / "images")
    shutil.copy(world.parent / "taxonomy.json", folder)
    rows = _rows(world)
    classes = {name: number for number, name in enumerate(sorted({row["label"] for row in rows}), 1)}
    tables = {
        "classes": [f"{number} {number:03}.{name}" for name, number in classes.items()],
        "images": [f"{k} {row['image'].removeprefix('images/')}" for k, row in enumerate(rows, 1)],
        "image_class_labels": [f"{k} {classes[row['label']]}" for k, row in enumerate(rows, 1)],
        "train_test_split": [f"{k} {int(row['split'] == 'train')}" for k, row in enumerate(rows, 1)],
    }
    for name, lines in tables.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _official(desk: Path, world: Path) -> None:
    """A question file as the study publishes it, and its taxonomy, about the leaves of the photographs."""
    taxonomy = {
        row["species"]: [f"{row['family'][0]} order", row["family"], row["genus"], row["species"]]
        for row in _rows(world)
    }
    (desk / "data/hierarchy_CUB200.json").write_text(json.dumps(taxonomy), encoding="utf-8")
    images = "--images photographs/labels.csv --levels order,family,genus,species --distractors sibling --lower true"
    done = run(
        f".venv/bin/python -m taxonomy questions {images} --output data/CUB200_with_similar_choice.jsonl.gz", desk
    )
    assert done.returncode == 0, done.stderr


def run(command: str, desk: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in MAKE}
    environment = inherited | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(["bash", "-c", command], cwd=desk, env=environment, capture_output=True, text=True)


def dry(command: str, desk: Path) -> subprocess.CompletedProcess[str]:
    """What `make` would do, a store being there."""
    store = _store(desk, "some")
    done = run(command.replace("make ", "make --dry-run ", 1), desk)
    shutil.rmtree(store)
    return done


def calls(command: str, desk: Path) -> list[str]:
    """The Python commands that a command of `make` comes to; any other is itself."""
    if not command.startswith("make "):
        return [command]
    plan = run(command.replace("make ", "make --dry-run ", 1), desk)
    assert plan.returncode == 0, f"{command}: {plan.stderr}"
    return plan.stdout.replace("\\\n", " ").splitlines()


def run_here(call: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status of `.venv/bin/python -m MODULE ...` or `.venv/bin/python FILE ...`, run in this process."""
    python, first, *words = shlex.split(call)
    assert python == ".venv/bin/python"
    with monkeypatch.context() as patch:
        try:
            if first == "-m":
                patch.setattr(sys, "argv", words)
                runpy.run_module(words[0], run_name="__main__", alter_sys=True)
            else:
                patch.setattr(sys, "argv", [first, *words])
                patch.syspath_prepend(str(Path(first).parent.resolve()))
                runpy.run_path(first, run_name="__main__")
        except SystemExit as end:
            return 0 if end.code is None else int(end.code)
    return 0


def _store(desk: Path, name: str, **attributes: str) -> Path:
    """What `make` looks at to find the store written last."""
    store = desk / f"runs/{name}.zarr"
    (store / "sample/status").mkdir(parents=True)
    (store / "sample/status/c.0").touch()
    (store / "zarr.json").write_text(json.dumps({"attributes": attributes}, indent=2))
    return store


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_accepted_by_its_parser(desk, page):
    """`make` knows the targets, and what they and the documents call knows the flags (unknown ones are errors)."""
    assert page.name != "README.md" or commands(page)
    for command in commands(page):
        calls = [command]
        if command.startswith("make "):
            plan = dry(command, desk)
            assert plan.returncode == 0, f"{command}: {plan.stderr}"
            calls = [] if set(targets(command)) & WORKSHOP else plan.stdout.replace("\\\n", " ").splitlines()
        for call in calls:
            assert call.startswith(".venv/bin/python "), f"{page.name}: no test knows how to check {call!r}"
            done = run(call if call.endswith(("--help", "--print_config")) else f"{call} --print_config", desk)
            assert done.returncode == 0, f"{call}: {done.stderr}"
            assert done.stdout


@pytest.mark.slow
def test_every_command_runs_in_its_order(desk, monkeypatch, capfd):
    """The README first, then what the other pages do with what it made; tiny models answer to the hub's names.

    Nothing may fail, and what is promised to be written is there. The demo runs as a user's would; of the other
    commands what `make` would call is run in this process, which saves each the seconds of its imports.
    """
    monkeypatch.chdir(desk)
    for page in PAGES:
        for command in commands(page):
            if command.startswith("make ") and set(targets(command)) & WORKSHOP:
                continue
            if command == "make demo":
                done = run(command, desk, ARGS="--n=5 --organisms=healthy")
                assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
                continue
            if "train_llava.py" in command:
                command += " --name_steps 5 --short_steps 2 --steps 2"  # of 12 minutes, a few seconds
            if command == "make orthogonality":
                command += " ARGS='--draws 50'"
            for call in calls(command, desk):
                status = run_here(call, monkeypatch)
                said = capfd.readouterr()
                assert status == 0, f"{command}: {said.out}\n{said.err}"
        for block in blocks(page, "python"):
            exec(compile(block, page.name, "exec"), {"__name__": "__main__"})
    assert (desk / "runs/demo/healthy/store.zarr/zarr.json").is_file()
    assert sorted(path.name for path in (desk / "runs").glob("*.zarr")) == [
        "Qwen2.5-VL-7B-Instruct-cub200.zarr",
        "llava-photographs.zarr",
        "untrained.zarr",
    ]
    book = json.loads((ROOT / "examples/a_store_by_hand.ipynb").read_text(encoding="utf-8"))
    space: dict[str, object] = {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "notebook", "exec"), space)
    assert len(space["store"].attrs["sites"]) == 11


def test_probe_takes_the_image_store_written_last(tmp_path):
    """Not the one created last, and no text store, whatever they are called."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    (tmp_path / ".venv").mkdir()
    for name in ("pyproject.toml", ".venv/installed"):
        (tmp_path / name).touch()
    assert "no store under runs/ yet" in run("make -n probe", tmp_path).stderr
    for age, (name, kind) in enumerate([("b-text-model", "images"), ("a", "images"), ("words", "text")]):
        store = _store(tmp_path, name, kind=kind)
        for file in store.rglob("*"):
            os.utime(file, (1e9 + age, 1e9 + age))
    assert "runs/a.zarr" in run("make -n probe", tmp_path).stdout
    os.utime(tmp_path / "runs/b-text-model.zarr/sample/status/c.0")
    assert "runs/b-text-model.zarr" in run("make -n probe", tmp_path).stdout


def test_a_wrong_command_would_be_noticed(desk):
    """The checks above do fail: on an unknown flag, an unknown target and an unknown module."""
    assert run(".venv/bin/python -m extract --modle x --dataset y --print_config", desk).returncode != 0
    assert run(".venv/bin/python -m extrakt --print_config", desk).returncode != 0
    assert dry("make extrakt MODEL=a DATASET=b", desk).returncode != 0
    assert dry("make extract MODEL=a", desk).returncode != 0
