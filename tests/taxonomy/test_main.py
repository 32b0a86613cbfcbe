"""`python -m taxonomy` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commandline import main
from taxonomy.__main__ import COMMANDS

TREE = {
    "sayornis": ["Tyrannidae", "sayornis", "sayornis"],
    "ball": ["implement", "equipment", "ball"],
    "racket": ["game", "equipment", "racket"],
    "stick": ["game", "stick"],
}


def run(*argv: object) -> int:
    return main("python -m taxonomy", COMMANDS, argv=[str(arg) for arg in argv])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    file = tmp_path / "tree.json"
    file.write_text(json.dumps(TREE))
    return file


def test_tree(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tree", tree, "--levels", "one,two,three") == 0
    out = capsys.readouterr().out
    assert "4 leaves, 3 levels, 10 nodes" in out
    rows = {line.split()[0]: line.split()[1:4] for line in out.splitlines() if line.startswith(("one", "two", "three"))}
    assert rows == {"one": ["3", "3", "0"], "two": ["4", "3", "1"], "three": ["3", "3", "3"]}
    assert "equipment: implement / equipment; game / equipment" in out
    assert "sayornis: Tyrannidae / sayornis; Tyrannidae / sayornis / sayornis" in out


def test_images(tree: Path, tmp_path: Path, write_images: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"photos/{leaf}/{k}.jpg" for leaf in ("ball", "Stick") for k in range(5)]
    write_images(tmp_path, *names)
    assert run("images", tmp_path / "photos", "--taxonomy", tree) == 0
    out = capsys.readouterr().out
    assert "photos: 10 images of 2 leaves, 5 a leaf" in out
    assert "split: 6 train, 2 validation, 2 test (stratified by leaf" in out
    assert "2 of 4 leaves without images:\n  sayornis\n  racket" in out
    rows = [f"{name},{name.split('/')[1]}" for name in names]
    manifest = tmp_path / "list.csv"
    manifest.write_text("\n".join(["image,label", *rows, "photos/ball/0.png,ball", "photos/x.jpg,bal"]))
    assert run("images", manifest, "--taxonomy", tree) == 1
    out = capsys.readouterr().out
    assert "1 label without a leaf; left out with 1 image:\n  bal (1 image)" in out
    assert "1 image missing:\n  photos/ball/0.png" in out


def test_bad_input_is_one_line(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tree", tree, "--drop_root", "true") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the taxonomy ")
    assert error.count("\n") == 1
    assert run("images", "cub20") == 2
    assert "did you mean cub200" in capsys.readouterr().err


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['taxonomy', 'images', '--help']\n"
        "try:\n    import runpy; runpy.run_module('taxonomy', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "heavy = ('torch', 'transformers', 'datasets', 'pyarrow', 'scipy', 'PIL')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--dataset" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
