"""Question banks in both forms, the study's own files among them, and probes read on their options."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commandline import InputError
from probing.choices import choice_records
from probing.plan import make_plan
from probing.protocol import Settings, probe_site
from probing.questions import Questions, read_questions
from probing.scores import Scorer
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree, clusters, rows_of

TREE = balanced_tree((2, 4, 8))
IDS = [f"images/{leaf}/a.jpg" for leaf in range(8)]
TRUTH = TREE.codes


def long_rows(answer: bool = False) -> list[dict]:
    rows = []
    for leaf, name in enumerate(IDS):
        for column, level in enumerate(TREE.levels):
            names = TREE.names(level)
            options = [names[TRUTH[leaf, column]], *(n for n in names if n != names[TRUTH[leaf, column]])][:4]
            rows.append({"id": name, "level": level, "options": options})
            if answer:
                rows[-1]["answer"] = options[leaf % 2]
    return rows


def wide_rows() -> list[dict]:
    rows: dict[str, dict] = {}
    for row in long_rows():
        number = TREE.levels.index(row["level"]) + 1
        rows.setdefault(row["id"], {"image": f"CUB/{row['id']}"})
        rows[row["id"]] |= {f"level{number}": row["options"][0].upper(), f"choices_level{number}": row["options"]}
    return list(rows.values())


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> Questions:
    return read_questions(path, IDS, TREE, TREE.levels, TRUTH)


def test_every_form_says_the_same(tmp_path: Path) -> None:
    found = [read(lines(tmp_path / "long.jsonl", long_rows())), read(lines(tmp_path / "wide.jsonl", wide_rows()))]
    pq.write_table(pa.Table.from_pylist(long_rows()), tmp_path / "long.parquet")
    (tmp_path / "wide.jsonl.gz").write_bytes(gzip.compress((tmp_path / "wide.jsonl").read_bytes()))
    found += [read(tmp_path / "long.parquet"), read(tmp_path / "wide.jsonl.gz")]
    for questions in found:
        np.testing.assert_array_equal(questions.options, found[0].options)
        assert questions.answers is None
    assert found[0].options.shape == (8, 3, 4)
    assert (found[0].options[:, :, 0] == TRUTH).all()
    assert found[0].options[0, 0].tolist() == [0, 1, -1, -1]


def test_answers_are_read(tmp_path: Path) -> None:
    rows = long_rows(answer=True)
    rows[0]["answer"] = "no such thing"
    del rows[1]["answer"]
    answers = read(lines(tmp_path / "q.jsonl", rows)).answers
    assert answers is not None
    assert answers[0].tolist() == [-2, -1, 0]
    assert (answers[2::2] == TRUTH[2::2]).all()
    assert (answers[1::2] != TRUTH[1::2]).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": IDS[0], "level": "order", "options": ["order 0", "plant"]}], "offers 'plant', which is no order"),
        ([{"id": IDS[0], "level": "order", "options": ["order 1"]}], "does not offer the right answer, 'order 0'"),
        ([{"id": IDS[0], "level": "tribe", "options": ["order 0"]}], "asks at a level 'tribe'"),
        ([{"id": IDS[0], "level": "order", "options": ["order 0"]}] * 2, "is there twice"),
        ([{"id": "x.jpg", "level": "order", "options": ["order 0"]}], "no question is about any of the 8"),
        ([{"image": IDS[0], "level1": "order 1", "choices_level1": ["order 1"]}], "is it another image set's"),
        ([{"image": IDS[0]}], "row 1: neither"),
        ([{"options": ["order 0"]}], "needs `id` and `level`"),
    ],
)
def test_bad_banks(tmp_path: Path, rows: list[dict], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(lines(tmp_path / "q.jsonl", rows))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl").write_text('{"id": ')
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"id": "x"}' * 99)[:20])
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    for name in ("cut.jsonl", "cut.jsonl.gz", "cut.parquet", "none.jsonl"):
        with pytest.raises(InputError, match="not a readable question bank"):
            read(tmp_path / name)


def test_the_study_s_files(shared: Path | None) -> None:
    if shared is None:
        pytest.skip("the real data is not here")
    file = shared / "data" / "questions" / "CUB200_with_similar_choice.jsonl.gz"
    with gzip.open(file, "rt") as text:
        rows = [json.loads(line) for line in text]
    paths = sorted({tuple(row[f"level{k}"] for k in range(1, 5)) for row in rows})
    tree = Taxonomy.from_paths(paths, ["order", "family", "genus", "species"])
    leaf = np.array([paths.index(tuple(row[f"level{k}"] for k in range(1, 5))) for row in rows])
    ids = [row["image"].removeprefix("CUB_200_2011/") for row in rows]
    questions = read_questions(file, ids, tree, tree.levels, tree.codes[leaf])
    assert questions.options.shape == (5794, 4, 4)
    assert questions.asked.all()
    assert ((questions.options == tree.codes[leaf][:, :, None]).sum(2) == 1).all()


def test_probes_on_the_options_of_questions() -> None:
    leaf, split = rows_of(TREE, 32)
    plan = make_plan(TREE, leaf, split, [str(i) for i in range(len(leaf))])
    X, _ = clusters(TREE, leaf, 1.2)
    probes = probe_site(X, plan, Settings((1.0, 0.1, 0.01), shuffles=1, controls=0))
    scorer = Scorer(plan, draws=200, seed=0, refit=True)
    rng = np.random.default_rng(0)
    options = np.full((*scorer.truth.shape, 2), -1, np.int32)
    for (sample, level), code in np.ndenumerate(scorer.truth):
        others = [c for c in range(len(TREE.nodes(level))) if c != code]
        options[sample, level] = code, rng.choice(others)
    options[0, 2] = -1  # never asked for its species
    answers = np.where(rng.random(scorer.truth.shape) < 0.7, scorer.truth, -2)
    answers[1, 1] = -1
    levels, site = choice_records(scorer, probes, Questions(options, answers))
    logits = probes.levels["species"].log_probabilities
    by_hand = [
        max(options[row, 2], key=lambda code: logits[row, code]) == scorer.truth[row, 2]
        for row in range(1, len(logits))
    ]
    assert levels["species"]["choice_accuracy"] == pytest.approx(np.mean(by_hand))
    assert levels["species"]["choice_n"] == 63
    assert levels["species"]["choice_chance"] == 0.5
    assert levels["species"]["choice_accuracy"] > (probes.levels["species"].predicted == scorer.truth[:, 2]).mean()
    answered = np.delete(np.arange(64), 1)
    right = (answers == scorer.truth)[answered, 1].mean()
    assert levels["family"]["model_accuracy"] == pytest.approx(right)
    assert site["choice_n"] == 63
    assert site["choice_frechet_low"] <= site["choice_hca"] <= site["choice_frechet_high"]
    assert site["model_hca"] == pytest.approx((answers == scorer.truth).all(1)[2:].mean())
    assert site["recovery_low"] <= site["recovery"] <= site["recovery_high"]
