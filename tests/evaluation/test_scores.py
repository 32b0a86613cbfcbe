"""Scores of a run against loops over its questions; nulls; text HCAs; what is left out."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.asking import Plan
from evaluation.config import AskConfig, ReparseConfig
from evaluation.reading import read
from evaluation.report import reparse
from evaluation.results import AskRun
from evaluation.run import run
from evaluation.scores import LOGITS, TEXT, records
from probing.questions import read_questions
from tests.evaluation.planted import RuleBackend, open_bank, settings, tree_of, truths, write_bank


def asked(folder: Path, out: str = "run", rule: dict[str, Any] | None = None, **changes: Any) -> AskRun:
    def opener(_: AskConfig, asks: Plan) -> RuleBackend:
        return RuleBackend(truths(asks.bank), **(rule or {}))

    run(settings(folder, out=str(folder / out), **changes), opener)
    return AskRun.open(folder / out)


def scores_of(found: AskRun, parser: str = "strict_v1") -> dict[tuple[str, str, str | None], dict[str, Any]]:
    rows = pq.read_table(found.path / parser / "scores.parquet").to_pylist()
    return {(row["reading"], row["score"], row["level"]): row for row in rows}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bank(tmp_path, per_leaf=6)
    return tmp_path


def test_every_score_by_hand(folder: Path) -> None:
    found = asked(folder)
    scores = scores_of(found)
    right: dict[str, list[bool]] = defaultdict(list)
    levels: dict[str, list[bool]] = defaultdict(list)
    for row in found.answers().to_pylist():
        hit = "ABCD".index(row["text"][0]) == row["answer"]
        right[row["image"]].append(hit)
        levels[row["level"]].append(hit)
    paths = list(right.values())
    assert scores[TEXT, "hca", None]["value"] == pytest.approx(np.mean([all(path) for path in paths]))
    assert scores[TEXT, "leaf_accuracy", None]["value"] == pytest.approx(np.mean([path[-1] for path in paths]))
    assert scores[TEXT, "por", None]["value"] == pytest.approx(np.mean([np.mean(path) for path in paths]))
    for level, hits in levels.items():
        record = scores[TEXT, "accuracy", level]
        assert (record["value"], record["n"]) == (pytest.approx(np.mean(hits)), len(hits))
        assert record["low"] < record["value"] < record["high"]
        assert scores["chance", "accuracy", level]["value"] == (0.5 if level == "order" else 0.25)
    assert scores["chance", "hca", None]["value"] == pytest.approx(0.5 * 0.25 * 0.25)
    assert scores[LOGITS, "hca", None]["value"] == scores[TEXT, "hca", None]["value"]
    assert (scores[TEXT, "hca", None]["n"], scores[TEXT, "hca", None]["leaves"]) == (72, 12)
    assert scores[TEXT, "parse_rate", None]["value"] == 1.0


def test_intervals_cover_leaves_that_fail_as_a_whole(folder: Path) -> None:
    """When a leaf's images all fail together the interval is that of twelve leaves, not of 72 images."""
    found = asked(folder)
    reading = read(found, found.answers(), *found.settings["prompts"], "strict_v1")
    reading.said[:] = np.where((reading.leaf[reading.sample] % 2 == 0)[:, None], reading.answer[:, None], -1)
    scores = {(r["reading"], r["score"]): r for r in records(reading, False)}
    wide = scores[TEXT, "hca"]["high"] - scores[TEXT, "hca"]["low"]
    assert scores[TEXT, "hca"]["value"] == 0.5
    assert 0.45 < wide < 0.65


def test_unparsable_replies_are_wrong_and_counted_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Mumbling(RuleBackend):
        def _one(self, ask: Any) -> Any:
            from dataclasses import replace

            return replace(super()._one(ask), text="I cannot tell.", letter_logits=None)

    run(settings(folder), lambda _, asks: Mumbling(truths(asks.bank)))
    scores = scores_of(AskRun.open(folder / "run"))
    assert scores[TEXT, "hca", None]["value"] == 0
    assert scores[TEXT, "parse_rate", None]["value"] == 0
    assert scores[TEXT, "replies_unparsable", None]["value"] == 1
    assert (LOGITS, "hca", None) not in scores
    assert "replies read: 0.0 %; counted wrong: 216 unparsable" in capsys.readouterr().out


def test_reading_anew_with_the_released_parser(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Chatty(RuleBackend):
        def _one(self, ask: Any) -> Any:
            from dataclasses import replace

            said = super()._one(ask)
            return replace(said, text=f"Answer: {said.text}")

    run(settings(folder), lambda _, asks: Chatty(truths(asks.bank), right=1.0))
    before = {path: path.read_bytes() for path in (folder / "run" / "answers").iterdir()}
    reparse(ReparseConfig(run=str(folder / "run"), parser="released", bootstrap=100))
    assert "read by released" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (folder / "run" / "answers").iterdir()} == before
    found = AskRun.open(folder / "run")
    strict, loose = scores_of(found), scores_of(found, "released")
    assert strict[TEXT, "hca", None]["value"] == 1
    rows = found.answers().to_pylist()
    at_a = np.mean([row["answer"] == 0 for row in rows if row["level"] == "family"])
    assert loose[TEXT, "accuracy", "family"]["value"] == pytest.approx(at_a)  # "Answer: C" is an A to it


def test_by_text_alone_both_hcas_have_names(folder: Path) -> None:
    """Leaves of different numbers of images: the study weighs them by images, the other does not."""
    lines = (folder / "birds.jsonl").read_text().splitlines()
    (folder / "birds.jsonl").write_text("\n".join(lines[:40] + lines[42:43] + lines[48:49] + lines[54:]) + "\n")
    found = asked(folder, text_only=True, rule={"right": 0.6})
    scores = scores_of(found)
    right: dict[str, list[bool]] = defaultdict(list)
    leaf = {}
    for row in found.answers().to_pylist():
        right[row["image"]].append("ABCD".index(row["text"][0]) == row["answer"])
        leaf[row["image"]] = row["leaf"]
    leaves: dict[str, list[bool]] = defaultdict(list)
    for image, hits in right.items():
        assert len(hits) == 2
        leaves[leaf[image]].append(all(hits))
    study = np.mean([hit for hits in leaves.values() for hit in hits])
    each = np.mean([np.mean(hits) for hits in leaves.values()])
    assert study != pytest.approx(each)
    assert scores[TEXT, "text_hca_study", None]["value"] == pytest.approx(study)
    assert scores[TEXT, "text_hca_per_leaf", None]["value"] == pytest.approx(each)
    assert (scores[TEXT, "text_hca_study", None]["n"], scores[TEXT, "text_hca_per_leaf", None]["n"]) == (
        len(right),
        len(leaves),
    )
    assert (TEXT, "leaf_accuracy", None) not in scores


def test_names_alone_find_out_a_leaking_bank(folder: Path) -> None:
    """Distractors that are never a truth: the other half of the images tells them from the names that are."""
    rows = [json.loads(line) for line in (folder / "birds.jsonl").read_text().splitlines()]
    kept = [row for row in rows if row["level3"] in ("species 0", "species 4", "species 8")]
    (folder / "birds.jsonl").write_text("\n".join(map(json.dumps, kept)) + "\n")
    scores = scores_of(asked(folder))
    offered = [len({"species 0", "species 4", "species 8"} & set(row["choices_level3"])) for row in kept]
    best = np.mean([1 / count for count in offered])
    assert scores["names", "accuracy", "species"]["value"] > 0.85 * best > 0.6
    assert scores["chance", "accuracy", "species"]["value"] == 0.25


def test_names_alone_do_not_know_their_own_question(tmp_path: Path) -> None:
    """Of species with one image each the other half says nothing; on its own every truth would stand out."""
    write_bank(tmp_path, per_leaf=1, counts=(2, 4, 60))
    scores = scores_of(asked(tmp_path))
    assert scores["names", "accuracy", "species"]["value"] < 0.4
    assert scores["majority", "accuracy", "species"]["value"] < 0.4


def test_images_in_progress_are_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(folder, flush=10)
    found.parts()[-2].unlink()
    kept = found.answers().to_pylist()
    counts: dict[str, int] = defaultdict(int)
    for row in kept:
        counts[row["image"]] += 1
    whole = [image for image, count in counts.items() if count == 3]
    assert len(counts) - len(whole) > 0
    capsys.readouterr()
    reparse(ReparseConfig(run=str(found.path), bootstrap=100))
    out = capsys.readouterr().out
    assert "NOT FINISHED: 206 of 216 asks are answered" in out
    assert scores_of(found)[TEXT, "hca", None]["n"] == len(whole)


def test_the_answers_are_a_bank_that_probes_read(folder: Path) -> None:
    found = asked(folder, rule={"broken": frozenset({"photos/03_1.jpg"})})
    (prompt,) = found.settings["prompts"]
    bank, taxonomy = open_bank(folder), tree_of(folder)
    ids = list(dict.fromkeys(question.image for question in bank.questions()))
    leaves = [int(name.split("/")[1][:2]) for name in ids]
    truth = taxonomy.codes[leaves]
    file = found.path / "strict_v1" / f"answers-{prompt}.parquet"
    questions = read_questions(file, ids, taxonomy, taxonomy.levels, truth)
    assert questions.answers is not None
    broken = ids.index("photos/03_1.jpg")
    assert (questions.answers[broken] == -2).all()
    expected = [
        [row["nodes"]["ABCD".index(row["text"][0])] for row in found.answers().to_pylist() if row["image"] == image]
        for image in ids
        if image != ids[broken]
    ]
    assert np.delete(questions.answers, broken, 0).tolist() == expected


def test_yes_and_no_prompts(folder: Path) -> None:
    """A statement per option; the first that is affirmed counts in the study, the largest margin in the logits."""
    from evaluation.asks import Answer, Ask

    class Judge(RuleBackend):
        def _one(self, ask: Ask) -> Answer:
            question = ask.key.split("|")[0]
            yes = self.truths[question] in ask.text.replace("?", ".").split("\n")[0]
            logits = np.array([1.0, 0.0] if yes else [0.0, 1.0], np.float32)
            return Answer(ask.key, "Yes" if yes else "No.", logits)

    run(settings(folder, prompts="plain-yes-no"), lambda _, asks: Judge(truths(asks.bank)))
    scores = scores_of(AskRun.open(folder / "run"))
    assert scores[TEXT, "parse_rate", None]["value"] == 1
    assert scores[LOGITS, "accuracy", "order"]["value"] == 1
    assert scores[LOGITS, "hca", None]["value"] > 0.7  # "species 1" is also the beginning of "species 11"
