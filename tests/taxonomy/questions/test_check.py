"""Every invariant of a bank is looked at: one thing is spoilt at a time, and the check must say which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from commandline import InputError
from taxonomy.questions import Bank, build
from taxonomy.questions.check import bank_report, check
from taxonomy.questions.distractors import at_random
from taxonomy.questions.table import SCHEMA, About, Subjects
from tests.taxonomy.questions.trees import AWKWARD

Row = dict[str, Any]


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    """Two images of every leaf."""
    leaf = np.repeat(np.arange(len(AWKWARD), dtype=np.int32), 2)
    ids = [f"{row}.jpg" for row in range(len(leaf))]
    labels = [AWKWARD.leaves[index] for index in leaf]
    subjects = Subjects(ids, ids, labels, ["test"] * len(ids), leaf, [None] * len(ids))
    build.write(build.ask(About("d", AWKWARD, {}), subjects, at_random(AWKWARD), 0), tmp_path / "b.parquet")
    return Bank.open(tmp_path / "b.parquet")


def spoilt(bank: Bank, row: int, **change: object) -> Bank:
    rows = list(bank.rows())
    rows[row] = rows[row] | {name: new(rows[row][name]) if callable(new) else new for name, new in change.items()}
    return replace(bank, table=pa.Table.from_pylist(rows, SCHEMA))


def test_a_whole_bank(bank: Bank) -> None:
    found = check(bank)
    np.testing.assert_array_equal(np.where(AWKWARD.codes[found.leaf] >= 0, found.options > 0, True), True)
    np.testing.assert_array_equal(found.truth[:, 1:], AWKWARD.codes[found.leaf][:, 1:])
    assert (found.truth[:, 0] == -1).all()  # one node: not scored
    questions = list(bank.questions())
    assert found.wrong.sum() == sum(len(asked.options) - 1 for asked in questions)
    assert f"d: {len(questions)} questions about 16 images of 8 leaves, {sum(q.scored for q in questions)} scored" in (
        bank_report(bank, found)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": lambda nodes: nodes[::-1]}, "names that are not their nodes'|does not offer its leaf's node"),
        ({"options": lambda names: [*names[:-1], names[0]]}, "offers one name twice"),
        ({"options": lambda names: [*names[:-1], "griffin"]}, "names that are not their nodes'"),
        ({"truth": lambda place: 1 - min(place, 1)}, "does not offer its leaf's node as the right one"),
        ({"scored": False}, "scored without a choice, or has one and is not"),
        ({"distractor_depth": lambda depth: [d + 1 for d in depth]}, "wrong depth of common ancestors"),
        ({"parent_offered": lambda there: [not t for t in there]}, "wrong about which parents"),
        ({"level": "genus"}, "which are no levels"),
        ({"id": "other.jpg"}, "is missing, or is one too many|there twice"),
    ],
)
def test_what_is_spoilt_is_found(bank: Bank, change: dict[str, object], message: str) -> None:
    for row in (1, 3):  # order and species of the first image
        with pytest.raises(InputError, match=message):
            check(spoilt(bank, row, **change))


def test_rows_that_are_missing_or_twice(bank: Bank) -> None:
    with pytest.raises(InputError, match="is missing, or is one too many"):
        check(replace(bank, table=bank.table.slice(1)))
    with pytest.raises(InputError, match="there twice, or not side by side"):
        check(replace(bank, table=pa.concat_tables([bank.table, bank.table.slice(0, 4)])))
    with pytest.raises(InputError, match="holds no questions"):
        check(replace(bank, table=bank.table.slice(0, 0)))


def test_a_question_with_an_option_too_few(bank: Bank) -> None:
    rows = list(bank.rows())
    keep = [place for place in range(4) if place != (rows[3]["truth"] + 1) % 4]
    short = {
        name: [rows[3][name][k] for k in keep] for name in ("options", "nodes", "distractor_depth", "parent_offered")
    }
    with pytest.raises(InputError, match="fewer options than it could"):
        check(spoilt(bank, 3, **short, truth=keep.index(rows[3]["truth"])))
