"""What the report counts itself, against plain loops and closed forms."""

import csv
import io
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from analysis.report import downloads as links
from analysis.report.confusions import NOTHING, by_ancestor
from analysis.report.downloads import as_csv, downloads
from analysis.report.means import LeafMean, figures
from analysis.report.overview import dealt_anew
from analysis.report.readings import Readings
from analysis.report.tree import MOST_ROWS, figure, nodes, shown_levels
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree, ragged_tree


def said(tree: Taxonomy, per_leaf: int, skill: float, seed: int = 0) -> Readings:
    """Predictions right with probability `skill`, else any leaf; every level follows the predicted leaf's path."""
    rng = np.random.default_rng(seed)
    rows = []
    for sample, leaf in enumerate(np.repeat(np.arange(len(tree.leaves)), per_leaf).tolist()):
        guess = leaf if rng.random() < skill else int(rng.integers(len(tree.leaves)))
        for depth, level in enumerate(tree.levels):
            if tree.codes[leaf, depth] < 0:
                continue
            path = (
                tree.paths[guess] if tree.codes[guess, depth] >= 0 else tree.paths[leaf]
            )  # no probe names what is not
            rows.append(
                {
                    "site": "llm.final",
                    "id": f"s{sample}",
                    "leaf": leaf,
                    "level": level,
                    "true_name": " / ".join(tree.paths[leaf][: depth + 1]),
                    "predicted_name": " / ".join(path[: depth + 1]),
                }
            )
    return Readings.of(pa.Table.from_pylist(rows), ["llm.final"], tree.levels)


@pytest.mark.parametrize("tree", [balanced_tree((2, 4, 12)), ragged_tree()], ids=["balanced", "ragged"])
def test_confusions_are_those_of_a_plain_loop(tree: Taxonomy) -> None:
    readings = said(tree, 20, 0.4)
    found = {one.ancestor: one for one in by_ancestor(readings, ["llm.final"], 1000, 0)}
    at, deepest = readings.at("llm.final"), readings.deepest
    wrong = [
        (
            readings.nodes[readings.truth[row, deepest[row]]].split(" / "),
            readings.nodes[at[row, deepest[row]]].split(" / "),
        )
        for row in range(len(readings.ids))
        if readings.truth[row, deepest[row]] != at[row, deepest[row]]
    ]
    names = [NOTHING, *tree.levels[:-1]]

    def depths(pairs: list[tuple[list[str], list[str]]]) -> np.ndarray:
        depth = []
        for true, named in pairs:
            shared = next(
                (k for k, (a, b) in enumerate(zip(true, named, strict=False)) if a != b), min(len(true), len(named))
            )
            depth.append(min(shared, len(names) - 1))
        return np.array([depth.count(place) / len(depth) for place in range(len(names))])

    assert np.allclose([found[name].share for name in names], depths(wrong))
    assert np.isclose(sum(one.share for one in found.values()), 1)
    assert np.isclose(sum(one.null for one in found.values()), 1)
    every = [(true, named) for true, _ in wrong for _, named in wrong if true != named]
    assert np.allclose([found[name].null for name in names], depths(every))
    for one in found.values():
        assert one.n == len(wrong)
        assert one.low <= one.share <= one.high


def test_nodes_of_the_tree_are_counted_one_by_one() -> None:
    tree = balanced_tree((2, 4, 12))
    readings = said(tree, 10, 0.6)
    found = nodes(readings, "llm.final", 1000, 0)
    assert len(found) == 2 + 4 + 12
    assert [node.path for node in found][:2] == ["order 0", "order 0 / family 0"]
    for node in found:
        column = readings.levels.index(node.level)
        mine = readings.truth[:, column] == readings.nodes.index(node.path)
        named = readings.at("llm.final")[:, column] == readings.nodes.index(node.path)
        assert node.n == mine.sum()
        assert np.isclose(node.right, named[mine].mean())
        assert np.isclose(node.null, named.mean())
        assert node.low <= node.right <= node.high
        assert (node.leaves == 1) == (node.level == "species")


def test_large_trees_are_folded_and_lose_no_node() -> None:
    """300 leaves: the last level becomes strips, every node still says its numbers."""
    tree = balanced_tree((4, 30, 300))
    readings = said(tree, 2, 0.5)
    found = nodes(readings, "llm.final", 200, 0)
    assert shown_levels(found, tree.levels) == (["order", "family"], "species")
    drawing = figure(found, tree.levels, "llm.final")
    assert len(drawing.tips) == len(found)
    assert len(drawing.inline) < 400_000
    assert drawing.figure.get_size_inches()[1] < 12
    small = nodes(said(balanced_tree((2, 4, 12)), 2, 0.5), "llm.final", 200, 0)
    assert shown_levels(small, ("order", "family", "species")) == (["order", "family", "species"], None)
    assert len(tree.names("family")) < MOST_ROWS


def test_chance_is_about_nothing_and_a_reading_is_not() -> None:
    readings = said(balanced_tree((2, 4, 12)), 30, 0.8)
    for level in readings.levels:
        low, high = dealt_anew(readings, level, ["llm.final"])["llm.final"]
        assert low < 5
        assert high > -5
        assert high - low < 40
    low, high = dealt_anew(said(balanced_tree((2, 4, 12)), 30, 0.0), "order", ["llm.final"])["llm.final"]
    assert low < 0 < high


def test_downloads_keep_numbers_and_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"site": 'a,b"c', "value": 1 / 3, "low": float("nan"), "n": None},
        {"site": "=1+1", "value": 2.0, "extra": "é"},
    ]
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert read[0] == {"site": 'a,b"c', "value": "0.333333", "low": "", "n": "", "extra": ""}
    assert read[1]["site"] == "'=1+1"  # a spreadsheet would run it
    assert read[1]["extra"] == "é"
    found = downloads({"small": rows, "none": [], "large": rows * 50})
    assert [one.name for one in found] == ["small", "large"]
    assert all(one.href.startswith("data:text/csv;charset=utf-8,") for one in found)
    assert not set(found[0].href.split(",", 1)[1]) & set(' "<>#')
    monkeypatch.setattr(links, "MOST", 1000)
    assert [bool(one.href) for one in downloads({"small": rows, "large": rows * 50})] == [True, False]


def test_three_thousand_leaves_fit_into_a_page() -> None:
    tree = balanced_tree((5, 40, 400, 3000), ("class", "order", "genus", "species"))
    found = nodes(said(tree, 1, 0.5), "llm.final", 200, 0)
    assert len(figure(found, tree.levels, "llm.final").inline) < 800_000
    rng = np.random.default_rng(0)
    dots = [
        LeafMean(site, f"leaf {k}", f"class {k % 9}", *rng.normal(size=2).tolist(), 5)
        for site in "ab"
        for k in range(3000)
    ]
    for drawing in figures(dots):
        assert len(drawing.inline) < 150_000
        assert {"others", "class 0"} <= set(ElementTree.fromstring(drawing.inline).itertext())
