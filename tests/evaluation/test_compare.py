"""Two runs, paired by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commandline import InputError
from evaluation.compare import compared, table
from evaluation.config import CompareConfig
from evaluation.results import AskRun
from evaluation.scores import TEXT
from tests.evaluation.planted import write_bank
from tests.evaluation.test_scores import asked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bank(tmp_path, per_leaf=6)
    return tmp_path


def compare(folder: Path, one: str, other: str, **changes: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    given = {"run": str(folder / one), "against": str(folder / other), "bootstrap": 1000}
    return compared(CompareConfig.model_validate(given | changes))


def right(found: AskRun) -> dict[str, list[bool]]:
    paths: dict[str, list[bool]] = {}
    for row in found.answers().to_pylist():
        paths.setdefault(row["image"], []).append("ABCD".index(row["text"][0]) == row["answer"])
    return paths


def test_the_difference_is_over_the_images_in_both(folder: Path) -> None:
    good, bad = asked(folder, "good", {"right": 0.9}), asked(folder, "bad", {"right": 0.4}, split="test")
    records, about = compare(folder, "good", "bad")
    first, second = right(good), right(bad)
    differences = [all(path) - all(first[image]) for image, path in second.items()]
    record = next(record for record in records if record["reading"] == TEXT and record["score"] == "hca")
    assert record["difference"] == pytest.approx(np.mean(differences))
    assert record["n"] == about["n"] == 36
    assert (about["only_first"], about["only_second"]) == (36, 0)
    assert record["low"] < record["difference"] < record["high"] < 0
    level = next(
        record
        for record in records
        if record["reading"] == TEXT and (record["score"], record["level"]) == ("accuracy", "family")
    )
    assert level["difference"] == pytest.approx(np.mean([path[1] - first[image][1] for image, path in second.items()]))
    text = table(records, about)
    assert "36 images in both (36 only in the first, 0 only in the second)" in text


def test_a_run_is_no_different_from_itself(folder: Path) -> None:
    asked(folder, "one")
    records, _ = compare(folder, "one", "one")
    assert all(record["difference"] == 0 and record["low"] <= 0 <= record["high"] for record in records)


def test_with_and_without_the_image_at_the_levels_both_were_asked(folder: Path) -> None:
    seen, named = asked(folder, "seen"), asked(folder, "named", text_only=True)
    records, _ = compare(folder, "seen", "named")
    first, second = right(seen), right(named)
    found = {(record["score"], record["level"]): record for record in records if record["reading"] == TEXT}
    expected = np.mean([all(path) - all(first[image][:2]) for image, path in second.items()])
    assert found["hca", None]["difference"] == pytest.approx(expected)
    assert ("accuracy", "species") not in found
    assert ("leaf_accuracy", None) not in found


def test_what_cannot_be_compared_is_said(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    asked(folder, "one")
    asked(folder, "train", split="train")
    asked(folder, "test", split="test")
    with pytest.raises(InputError, match="have no image in common"):
        compare(folder, "train", "test")
    with pytest.raises(InputError, match=r"was not asked with the prompt 'cub-0'; it has plain-\d"):
        compare(folder, "one", "test", prompt="cub-0")
    with pytest.raises(InputError, match="no run of `python -m evaluation` here"):
        compare(folder, "one", "nowhere")
    other = tmp_path_factory.mktemp("other")
    write_bank(other, counts=(2, 4, 16))
    asked(other, "run")
    with pytest.raises(InputError, match="are about different taxonomies"):
        compare(folder, "one", str(other / "run"))
