"""Asking: what is asked, that it resumes exactly, and that nothing is mixed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from commandline import InputError
from evaluation.asking import Plan
from evaluation.config import AskConfig
from evaluation.results import AnswerWriter, AskRun, only_writer
from evaluation.run import IMAGES_AT_ONCE, run
from tests.evaluation.planted import PROMPT, RuleBackend, asks_of, open_bank, settings, truths, write_bank

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bank(tmp_path)
    return tmp_path


def answer_all(config: AskConfig, **rule: Any) -> tuple[AskRun, RuleBackend]:
    made: list[RuleBackend] = []

    def opener(_config: AskConfig, asks: Plan) -> RuleBackend:
        made.append(RuleBackend(truths(asks.bank), **rule))
        return made[-1]

    run(config, opener)
    return AskRun.open(str(config.out)), (made or [RuleBackend({})])[-1]


def test_every_question_is_asked_once_in_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, backend = answer_all(settings(folder, flush=5))
    bank = open_bank(folder)
    table = found.answers().to_pylist()
    assert [row["question"] for row in table] == [question.id for question in bank.questions()]
    assert sorted(Counter(backend.asked).values()) == [1] * len(bank)
    for row, question in zip(table, bank.questions(), strict=True):
        assert row["options"] == list(question.options)
        assert row["nodes"] == list(question.nodes)
        assert row["answer"] == question.answer
        assert row["order"] == list(range(len(question.options)))
        chosen = row["text"][0]
        assert np.argmax(row["letter_logits"]) == "ABCD".index(chosen)
    out = capsys.readouterr().out
    assert "birds" in out
    assert "% right [95 % interval over leaves]" in out


def test_rotations_and_prompts_have_places_of_their_own(folder: Path) -> None:
    asks = asks_of(folder, rotations=4)
    listed = [asked for group in asks.groups() for asked in group]
    assert len(listed) == len(asks) == 12 * 4 * (2 + 4 + 4)
    assert len({asked.position for asked in listed}) == len(listed)
    assert all(asked.position < asks.size for asked in listed)
    for asked in listed:
        count = len(asked.question.options)
        assert asked.order == tuple((place + asked.rotation) % count for place in range(count))
        assert asked.ask.letters == tuple("ABCD"[:count])
        for letter, option in zip(asked.ask.letters, asked.order, strict=True):
            assert f"\n{letter}. {asked.question.options[option]}" in asked.ask.text


def test_draws_depend_on_the_seed_alone(folder: Path) -> None:
    some = asks_of(folder, limit=20)
    more = asks_of(folder, limit=30)
    assert len(some.images) == 20
    assert set(some.images) < set(more.images)
    assert list(some.images) == list(asks_of(folder, limit=20).images)
    assert list(some.images) != list(asks_of(folder, limit=20, seed=1).images)
    each = asks_of(folder, per_leaf=1)
    leaves = open_bank(folder).table["leaf"].to_numpy()[each.bank.starts[:-1][each.images]]
    assert sorted(leaves) == list(range(12))
    assert len(asks_of(folder, split="test").images) == 24
    with pytest.raises(InputError, match="no image of the split 'val'; it has test, train"):
        asks_of(folder, split="val")


def test_controls_show_other_images(folder: Path) -> None:
    plain, other = asks_of(folder), asks_of(folder, shown="shuffled")
    leaf = {file: str(file).split("/")[-1][:2] for file in plain.files}
    assert all(leaf[theirs] != leaf[own] for own, theirs in zip(plain.files, other.files, strict=True))
    assert other.files == asks_of(folder, shown="shuffled").files
    assert set(asks_of(folder, shown="none").files) == {None}
    assert set(asks_of(folder, shown="blank", blank=folder / "x.png").files) == {folder / "x.png"}


def test_by_text_alone_the_leaf_is_not_asked(folder: Path) -> None:
    asks = asks_of(folder, text_only=True)
    listed = [asked for group in asks.groups() for asked in group]
    assert len(listed) == len(asks) == 48 * 2
    assert {asked.question.level for asked in listed} == {"order", "family"}
    assert all(asked.ask.image is None and asked.question.name in asked.ask.text for asked in listed)


def test_images_that_are_not_there_are_told_before_asking(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not hold the bank's images: there is no .*00_0\.jpg"):
        asks_of(folder).bank and answer_all(settings(folder, images=str(folder / "photos")))
    with pytest.raises(InputError, match="name their folder with --images"):
        answer_all(settings(folder, images=None))
    assert not (folder / "run").exists()


def test_the_same_command_again_asks_nothing(folder: Path) -> None:
    first, _ = answer_all(settings(folder))
    before = first.answers()
    again, backend = answer_all(settings(folder))
    assert backend.asked == []
    assert again.answers().equals(before)


CHANGES = [
    ({"seed": 1, "limit": 40}, "limit = None, and this is 40"),
    ({"rotations": 4}, "rotations = 1, and this is 4"),
    ({"text_only": True}, "text_only = False, and this is True"),
    ({"prompts": "plain-1"}, r"prompts\."),
    ({"model": "another"}, "model.model = 'rule', and this is 'another'"),
    ({"shown": "shuffled"}, "shown = 'image', and this is 'shuffled'"),
    ({"dtype": "bfloat16"}, "model.dtype = 'auto', and this is 'bfloat16'"),
]


@pytest.mark.parametrize(("changes", "message"), CHANGES)
def test_other_settings_are_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    found, _ = answer_all(settings(folder, prompts="plain-0"))
    before = found.answers()
    with pytest.raises(InputError, match=message):
        answer_all(settings(folder, **({"prompts": "plain-0"} | changes)))
    assert found.answers().equals(before)


def test_another_bank_or_model_is_refused(folder: Path) -> None:
    found, _ = answer_all(settings(folder))
    before = found.answers()
    with pytest.raises(InputError, match=r"identity\.right = 0\.7, and this is 0\.9"):
        (found.path / "answers" / "part-000000.parquet").rename(folder / "kept")
        answer_all(settings(folder), right=0.9)
    (folder / "kept").rename(found.path / "answers" / "part-000000.parquet")
    write_bank(folder, seed=1)
    with pytest.raises(InputError, match=r"bank\.sha256"):
        answer_all(settings(folder))
    assert found.answers().equals(before)


def test_the_parser_may_change(folder: Path) -> None:
    answer_all(settings(folder))
    _, backend = answer_all(settings(folder, parser="released"))
    assert backend.asked == []
    assert {path.parent.name for path in (folder / "run").glob("*/summary.json")} == {"strict_v1", "released"}


def test_errors_are_kept_and_asked_again_only_when_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = frozenset({"photos/03_1.jpg"})
    answer_all(settings(folder), broken=bad)
    assert "errors: 3 asks about 1 image gave none" in capsys.readouterr().out
    _, backend = answer_all(settings(folder))
    assert backend.asked == []
    capsys.readouterr()
    found, backend = answer_all(settings(folder, retry_errors=True))
    assert len(backend.asked) == 3
    assert set(found.answers()["status"].to_pylist()) == {"ok"}
    assert found.answers().num_rows == 48 * 3
    assert "errors:" not in capsys.readouterr().out


class Stopping(RuleBackend):
    """Fails after some answers."""

    def answer(self, groups: Any) -> Any:
        for number, answer in enumerate(super().answer(groups)):
            if number == 20:
                raise KeyboardInterrupt
            yield answer


def test_an_interruption_keeps_every_answer(folder: Path) -> None:
    config = settings(folder)
    with pytest.raises(KeyboardInterrupt):
        run(config, lambda _, asks: Stopping(truths(asks.bank)))
    assert AskRun.open(str(config.out)).answers().num_rows == 20
    found, backend = answer_all(config)
    assert len(backend.asked) == 48 * 3 - 20
    (folder / "whole").mkdir()
    whole, _ = answer_all(settings(folder, out=str(folder / "whole" / "run")))
    assert found.answers().to_pylist() == whole.answers().to_pylist()


def test_a_backend_that_leaves_questions_out_is_a_defect(folder: Path) -> None:
    class Forgetful(RuleBackend):
        def answer(self, groups: Any) -> Any:
            yield from list(super().answer(groups))[1:]

    with pytest.raises(RuntimeError, match="left 1 asks unanswered"):
        run(settings(folder), lambda _, asks: Forgetful(truths(asks.bank)))
    assert AskRun.open(folder / "run").answers().num_rows == IMAGES_AT_ONCE * 3 - 1


def test_one_writer(folder: Path) -> None:
    with only_writer(folder / "run"), pytest.raises(InputError, match="another process is asking into"):
        answer_all(settings(folder))


def test_a_damaged_part_is_named_and_can_be_removed(folder: Path) -> None:
    found, _ = answer_all(settings(folder, flush=50))
    part = found.parts()[1]
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(InputError, match=r"part-000001\.parquet is damaged .* remove it"):
        answer_all(settings(folder, flush=50))
    part.unlink()
    again, backend = answer_all(settings(folder, flush=50))
    assert len(backend.asked) == 50
    assert again.answers().num_rows == 48 * 3


def test_a_folder_of_something_else_is_left_alone(folder: Path) -> None:
    with pytest.raises(InputError, match="exists and is no run; choose another --out"):
        answer_all(settings(folder, out=str(folder)))


def test_parts_are_plain_parquet_and_leftovers_go(folder: Path) -> None:
    found, _ = answer_all(settings(folder, flush=20))
    assert len(found.parts()) == 8
    assert pq.read_table(found.path / "answers").num_rows == 48 * 3
    left = found.path / "answers" / ".part-000009.parquet.tmp"
    left.write_bytes(b"half")
    AnswerWriter(found, 10)
    assert not left.exists()


def _process(folder: Path, log: Path, pause: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.evaluation.planted", str(folder), str(log), str(pause)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_killed_at_random_it_resumes_exactly(folder: Path) -> None:
    """kill -9 at random moments: what was written stays, is not asked again, and the end is the same."""
    log, rng = folder / "log", random.Random(0)
    kills, written = 0, 0
    for _ in range(3):
        process = _process(folder, log, 0.02)
        while not log.exists() and process.poll() is None:
            time.sleep(0.01)
        asked = len(log.read_text().splitlines())
        while len(log.read_text().splitlines()) < asked + 5 and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += process.returncode == -signal.SIGKILL
        before = AskRun.open(folder / "run").answers() if list((folder / "run/answers").glob("part*")) else None
        rows = 0 if before is None else before.num_rows
        assert rows >= written
        written = rows
    asked_before = Counter(log.read_text().splitlines())
    kept = set() if before is None else {f"{row['question']}|{row['prompt']}|0" for row in before.to_pylist()}
    assert kills >= 2
    assert 0 < written < 48 * 3
    assert _process(folder, log, 0.0).wait() == 0
    asked = Counter(log.read_text().splitlines())
    assert all(asked[key] == asked_before[key] for key in kept)
    assert sum(asked.values()) <= 48 * 3 + kills * 8
    whole, _ = answer_all(settings(folder, out=str(folder / "other")))
    assert AskRun.open(folder / "run").answers().to_pylist() == whole.answers().to_pylist()


def test_record_says_what_was_asked(folder: Path) -> None:
    answer_all(settings(folder))
    record = json.loads((folder / "run" / "run.json").read_text())
    assert record["settings"]["bank"]["sha256"] == open_bank(folder).sha256
    assert record["settings"]["identity"] == {"rule": "rule", "right": 0.7}
    assert record["about"]["asks"] == 48 * 3
    assert "parser" not in record["settings"]
    assert PROMPT.name not in record["settings"]["prompts"]
