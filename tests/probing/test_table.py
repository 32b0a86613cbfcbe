"""Numbers as they are printed."""

import pytest

from probing.table import interval, marked, notes, null


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.686, 0.602, 0.764, "68.6 [60, 76]"),
        (0.054, 0.034, 0.0996, "5.4 [3.4, 10]"),
        (0.0, 0.0, 0.0994, "0.0 [0.0, 9.9]"),
        (1.0, 0.9951, 1.0, "100.0 [100, 100]"),
        (float("nan"), 0.0, 1.0, "-"),
    ],
)
def test_interval(value: float, low: float, high: float, text: str) -> None:
    assert interval({"x": value, "x_low": low, "x_high": high}, "x") == text


def test_null_is_the_mean_and_the_hull_over_sites() -> None:
    sites = [
        {"shuffled": 0.2, "shuffled_low": 0.15, "shuffled_high": 0.25},
        {"shuffled": 0.4, "shuffled_low": 0.3, "shuffled_high": 0.5},
    ]
    assert null(sites) == "30.0 [15, 50]"


def test_notes_list_splits_in_order_and_levels_with_one_class() -> None:
    summary = {
        "split": {"source": "as stored", "rows": {"test": 5, "train": 1000, "validation": 2}},
        "levels": [{"level": "kingdom", "unscored": "it has one node"}, {"level": "order", "unscored": None}],
    }
    good = {"converged": True, "path_converged": True, "unscored": None}
    probes = [
        {**good, "level": "order", "classes_test": 1, "unseen": 3},
        {**good, "level": "order", "classes_test": 1, "unseen": 3, "path_converged": False},
    ]
    assert notes(probes, summary) == [
        "Split as stored: 1,000 train, 2 validation, 5 test",
        "Level kingdom is not scored: it has one node.",
        "Test samples whose order was never trained on: 3; they count as wrong.",
        "Only one order is in test: its accuracy tells nothing apart.",
        "1 of 2 probes have a fit that did not reach its tolerance; raise --max_iter.",
    ]


def test_marks_are_earned() -> None:
    cell = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "penalty_at_edge": False}
    good = cell | {"converged": True, "path_converged": True, "p_adjusted": 0.001}
    assert marked(good) == "50.0 [40, 60]"
    assert marked(good | {"p_adjusted": 0.2}) == "50.0 [40, 60]~"
    assert marked(good | {"path_converged": False}) == "50.0 [40, 60]!"
    assert marked(good | {"penalty_at_edge": True}) == "50.0 [40, 60]^"
