"""The study's own question files: read, written back byte for byte, and refused where they are wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commandline import InputError
from taxonomy import Taxonomy, load_taxonomy
from taxonomy.questions import Bank

TREE = Taxonomy.from_dict(
    {
        "Boston terrier": ["animal", "dog", "Boston terrier"],
        "beagle": ["animal", "dog", "beagle"],
        "tabby": ["animal", "cat", "tabby"],
        "eel": ["animal", "eel"],
    }
)
TERRIER = {
    "image": "a/1.jpg",
    "label": "Boston terrier",
    "split": "test",
    "level1": "animal",
    "choices_level1": ["animal"],
    "level2": "dog",
    "choices_level2": ["cat", "dog", "eel"],
    "level3": "boston terrier",
    "choices_level3": ["boston terrier", "tabby"],
}
EEL = {
    "image": "a/2.jpg",
    "label": "eel",
    "split": "test",
    "level1": "animal",
    "choices_level1": ["animal"],
    "level2": "eel",
    "choices_level2": ["dog", "eel"],
}


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["random", "similar"])
def test_the_published_files_go_through_unchanged(published: Path, tmp_path: Path, kind: str) -> None:
    tree = load_taxonomy(published / "hierarchy_CUB200.json", ("order", "family", "genus", "species"))
    file = published.parent / "questions" / f"CUB200_with_{kind}_choice.jsonl.gz"
    text = gzip.decompress(file.read_bytes())
    bank = Bank.open(file, tree)
    assert len(bank) == 23_176
    bank.write(tmp_path / "bank.parquet")
    stored = Bank.open(tmp_path / "bank.parquet")
    assert list(stored.questions(0, 4000)) == list(bank.questions(0, 4000))
    stored.write(tmp_path / "bank.jsonl")
    assert (tmp_path / "bank.jsonl").read_bytes() == text
    stored.write(tmp_path / "bank.jsonl.gz")
    assert gzip.decompress((tmp_path / "bank.jsonl.gz").read_bytes()) == text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "expected"), [("random", (0.54, 0.12, 0.03)), ("similar", (0.67, 0.45, 0.42))], ids=["random", "similar"]
)
def test_parents_offered_in_the_published_files(published: Path, kind: str, expected: tuple[float, ...]) -> None:
    """The rates at family, genus and species, counted apart from this code."""
    tree = load_taxonomy(published / "hierarchy_CUB200.json")
    bank = Bank.open(published.parent / "questions" / f"CUB200_with_{kind}_choice.jsonl.gz", tree)
    offered = np.array([asked.parent_offered for asked in bank.questions()]).reshape(-1, 4, 4)
    right = np.array([asked.answer for asked in bank.questions()]).reshape(-1, 4)
    wrong = np.arange(4) != right[..., None]
    assert offered[~wrong].all()
    assert [offered[:, k][wrong[:, k]].mean() for k in (1, 2, 3)] == pytest.approx(expected, abs=0.005)


def test_what_a_row_becomes(tmp_path: Path) -> None:
    bank = Bank.open(lines(tmp_path / "q.jsonl", TERRIER, EEL), TREE, dataset="pets")
    assert [len(group) for group in bank.images()] == [3, 2]
    assert [asked.image for group in bank.images(1, 2) for asked in group] == ["a/2.jpg", "a/2.jpg"]
    root, middle, leaf = next(bank.images())
    assert (root.scored, middle.scored, leaf.scored) == (False, True, True)
    assert (middle.finest, leaf.finest) == (False, True)
    assert (leaf.name, leaf.leaf, leaf.dataset) == ("Boston terrier", "animal / dog / Boston terrier", "pets")
    assert middle.options == ("cat", "dog", "eel") and middle.answer == 1
    assert [TREE.nodes("level2")[code][-1] for code in middle.nodes] == ["cat", "dog", "eel"]
    assert middle.distractor_depth == (1, 2, 1)
    assert leaf.distractor_depth == (3, 1)
    assert leaf.parent_offered == (True, True)
    eel = list(bank.images())[1]
    assert eel[1].finest


def test_what_else_a_file_says_is_kept(tmp_path: Path) -> None:
    row = {key: value for key, value in TERRIER.items() if key != "split"} | {"note": {"a": [1, None]}, "level4": None}
    text = lines(tmp_path / "q.jsonl", row).read_text()
    Bank.open(tmp_path / "q.jsonl", TREE).write(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_text() == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": ""}, "line 2: there is no `image`"),
        ({"image": "a/2.jpg"}, "'a/2.jpg' is listed twice"),
        ({"level3": "boston terier"}, "no leaf animal / dog / boston terier; nearest: 'Boston terrier'"),
        ({"choices_level3": ["boston terrier", "poodle"]}, "offers 'poodle', which is no node of .* 'level3'"),
        ({"choices_level3": ["boston terrier", "Boston_Terrier"]}, "offers 'Boston_Terrier' twice"),
        ({"choices_level3": ["tabby", "beagle"]}, "does not offer the truth, 'boston terrier'"),
        ({"choices_level3": []}, "should be a list of names"),
        ({"level9": "dog", "choices_level9": ["dog"]}, "asks at 'level9', and the taxonomy's levels are level1"),
        ({"choices_level2": None, "level2": None}, "its levels are level1, level3, and should be level1, level2"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    row = TERRIER | change
    with pytest.raises(InputError, match=message):
        Bank.open(lines(tmp_path / "q.jsonl", EEL, row), TREE)


def test_files_that_are_no_banks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give one"):
        Bank.open(lines(tmp_path / "q.jsonl", TERRIER))
    with pytest.raises(InputError, match="there is no question bank"):
        Bank.open(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a readable question bank"):
        Bank.open(tmp_path / "bad.parquet")
    (tmp_path / "cut.jsonl").write_text(json.dumps(TERRIER) + '\n{"image": ')
    with pytest.raises(InputError, match=r"cut\.jsonl, line 2: not JSON"):
        Bank.open(tmp_path / "cut.jsonl", TREE)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(TERRIER).encode())[:-9])
    with pytest.raises(InputError, match="not a readable question file"):
        Bank.open(tmp_path / "cut.jsonl.gz", TREE)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no questions"):
        Bank.open(tmp_path / "empty.jsonl", TREE)
    bank = Bank.open(lines(tmp_path / "q.jsonl", TERRIER), TREE)
    bank.write(tmp_path / "q.parquet")
    with pytest.raises(InputError, match="made from another taxonomy"):
        Bank.open(tmp_path / "q.parquet", TREE.without_root())
