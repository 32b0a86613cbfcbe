"""`python -m taxonomy questions` and `bank`, as a user types them."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from commandline import main
from probing.questions import read_questions
from taxonomy import Taxonomy
from taxonomy.__main__ import COMMANDS
from taxonomy.names import normalise
from taxonomy.questions import Bank
from taxonomy.questions.check import check
from tests.taxonomy.questions.trees import AWKWARD


def run(*argv: object) -> int:
    return main("python -m taxonomy", COMMANDS, argv=[str(arg) for arg in argv])


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A manifest of 30 images of an awkward taxonomy, with that beside it; no image is there."""
    AWKWARD.to_json(tmp_path / "taxonomy.json")
    rows = [{"image": f"{k}.jpg", "label": AWKWARD.leaves[k % len(AWKWARD)]} for k in range(30)]
    (tmp_path / "birds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "birds.jsonl"


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["id"], row["level"]): row for row in Bank.open(path).rows()}


@pytest.mark.parametrize("rule", ["random", "sibling"])
def test_a_bank(listed: Path, rule: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = listed.parent / "bank.parquet"
    assert run("questions", "--images", listed, "--distractors", rule, "--output", output) == 0
    out = capsys.readouterr().out
    assert "birds: " in out and f"distractors: {rule}" in out
    bank = Bank.open(output)
    assert bank.taxonomy == AWKWARD and bank.dataset == "birds" and bank.settings["distractors"] == rule
    assert len(bank) == sum(len(AWKWARD.paths[k % len(AWKWARD)]) for k in range(30))
    for asked in bank.questions():
        assert asked.scored == (asked.level != "root") == (len(asked.options) > 1)
        names = [AWKWARD.names(asked.level)[code] for code in asked.nodes]
        assert list(asked.options) == names
        assert len({normalise(name) for name in names}) == len(names)
        assert asked.leaf.startswith(" / ".join(AWKWARD.nodes(asked.level)[asked.nodes[asked.answer]]))
        assert asked.path == asked.image


def test_fewer_images_get_the_same_questions(listed: Path) -> None:
    every, some = listed.parent / "every.parquet", listed.parent / "some.parquet"
    assert run("questions", "--images", listed, "--output", every) == 0
    lines = listed.read_text().splitlines(keepends=True)
    listed.write_text("".join(np.random.default_rng(0).permutation(lines)[:12]))
    assert run("questions", "--images", listed, "--output", some) == 0
    whole, part = rows_of(every), rows_of(some)
    assert len({image for image, _ in part}) == 12
    drawn = ("options", "truth", "distractor_depth", "parent_offered")
    assert all([row[name] for name in drawn] == [whole[key][name] for name in drawn] for key, row in part.items())
    other = listed.parent / "other.parquet"
    assert run("questions", "--images", listed, "--output", other, "--seed", 1) == 0
    assert any(row["options"] != part[key]["options"] for key, row in rows_of(other).items())


def test_what_is_written_opens_without_our_code_and_in_probing(listed: Path) -> None:
    output = listed.parent / "bank.parquet"
    assert run("questions", "--images", listed, "--output", output) == 0
    table = pq.read_table(output)
    head = json.loads(table.schema.metadata[b"taxoprobe.questions"])
    assert Taxonomy.from_dict(head["taxonomy"]) == AWKWARD
    ids = [f"{k}.jpg" for k in range(30)]
    truth = AWKWARD.codes[np.arange(30) % len(AWKWARD)]
    found = read_questions(output, ids, AWKWARD, AWKWARD.levels, truth)
    assert found.answers is None
    np.testing.assert_array_equal(found.asked, truth >= 0)


def test_a_bank_of_leaves(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = listed.parent / "leaves.parquet"
    tree = listed.parent / "taxonomy.json"
    assert run("questions", "--taxonomy", tree, "--per", "leaf", "--distractors", "sibling", "--output", output) == 0
    bank = Bank.open(output)
    assert bank.text_only and len(bank) == int((AWKWARD.depths - 1).sum())
    asked = list(bank.questions())
    assert not any(question.finest or question.path for question in asked)
    assert {question.name for question in asked} == set(AWKWARD.leaves)
    assert run("bank", output) == 0
    assert "about 8 leaves" in capsys.readouterr().out
    assert run("questions", "--taxonomy", tree, "--per", "leaf", "--output", listed.parent / "leaves.jsonl") == 2
    assert "has no place for a bank of leaves" in capsys.readouterr().err


def test_the_studys_form_and_back(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = listed.parent
    assert run("questions", "--images", listed, "--output", folder / "a.parquet") == 0
    assert run("bank", folder / "a.parquet", "--output", folder / "b.jsonl.gz") == 0
    assert (
        run("bank", folder / "b.jsonl.gz", "--taxonomy", folder / "taxonomy.json", "--output", folder / "c.parquet")
        == 0
    )
    one, other = rows_of(folder / "a.parquet"), rows_of(folder / "c.parquet")
    assert [row | {"path": None} for row in one.values()] == [row | {"path": None} for row in other.values()]
    assert run("bank", folder / "a.parquet", "--output", folder / "c.parquet") == 2
    assert "is there already" in capsys.readouterr().err
    assert not list(folder.glob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["random", "sibling"])
def test_our_bank_of_the_studys_images_is_like_theirs(published: Path, tmp_path: Path, rule: str) -> None:
    """23,176 questions of four options; by chance as many siblings as in the published random file."""
    images = published.parent / "questions" / "CUB200_with_random_choice.jsonl.gz"
    output = tmp_path / "bank.parquet"
    tree = ["--taxonomy", published / "hierarchy_CUB200.json", "--levels", "order,family,genus,species"]
    assert run("questions", *tree, "--images", images, "--distractors", rule, "--output", output) == 0
    found = check(Bank.open(output))
    assert found.position.shape == (5794, 4) and (found.options == 4).all()
    near = [(found.depth[:, k] == k)[found.wrong[:, k]].mean() for k in (1, 2, 3)]
    if rule == "random":
        assert near == pytest.approx([0.38, 0.04, 0.01], abs=0.015)
    else:  # as many as there are
        tree_of = json.loads((published / "hierarchy_CUB200.json").read_text())
        paths = {leaf.lower(): path for leaf, path in tree_of.items()}
        labels = [json.loads(line)["label"].lower() for line in gzip.decompress(images.read_bytes()).splitlines()]
        under = [{tuple(path[: k + 1]) for path in paths.values()} for k in range(4)]
        for k, rate in zip((1, 2, 3), near, strict=True):
            sisters = Counter(node[:-1] for node in under[k])
            most = [min(3, sisters[tuple(paths[label][:k])] - 1) / 3 for label in labels]
            assert rate == pytest.approx(np.mean(most))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name the images to ask about (--images), or ask about every leaf by name (--per=leaf)"),
        (["--images", "LIST", "--splits", "tset"], "--splits takes train, validation, test, not tset"),
        (["--images", "LIST", "--output", "bank.csv"], "bank.csv should end in .parquet, .jsonl, .jsonl.gz"),
        (["--per", "leaf"], "name the taxonomy whose leaves are asked about (--taxonomy)"),
        (["--per", "leaf", "--distractors", "similar"], "take --similar_to=name"),
        (["--images", "LIST", "--distractors", "closest"], "one of random, similar, sibling"),
        (["--images", "LIST", "--distractors", "similar", "--encoder", "nowhere"], "images are not under"),
        (
            ["--images", "LIST", "--distractors", "similar", "--similar_to", "name", "--encoder", "./nowhere"],
            "the encoder ./nowhere cannot be loaded",
        ),
    ],
)
def test_bad_input_is_one_line(listed: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("questions", *[str(listed) if word == "LIST" else word for word in argv]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error


def test_a_label_that_is_no_leaf(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed.write_text(listed.read_text() + '{"image": "31.jpg", "label": "tabbi"}\n')
    assert run("questions", "--images", listed) == 2
    assert "'tabbi' (1 image; nearest: 'tabby')" in capsys.readouterr().err
