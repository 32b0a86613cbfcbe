"""The report: one file, nothing from outside, every number that the tables hold."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from analysis.config import ReportConfig
from analysis.intervals import HCA, Change
from analysis.report import headline, render, run, stage_ends
from commandline import InputError
from probing.results import ProbeRun
from probing.scores import Record
from probing.table import interval, percent
from tests.probing.planted import balanced_tree, ragged_tree
from tests.probing.test_run import SITES, planted, probe


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ProbeRun:
    return probe(planted(tmp_path_factory.mktemp("report") / "planted.zarr", per_leaf=40))


@pytest.fixture(scope="module")
def page(found: ProbeRun) -> str:
    return render(found)


class Outline(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.cells = {text.strip() for text in self.text}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_nothing_comes_from_outside_and_ids_are_unique(page: str) -> None:
    outline = Outline(page)
    names = {tag for tag, _ in outline.tags}
    assert not names & {"script", "link", "iframe", "img", "object"}
    targets = [
        value for _, attrs in outline.tags for key, value in attrs.items() if key in ("src", "href", "xlink:href")
    ]
    assert targets
    inline = [value for value in targets if str(value).startswith("data:image/png;base64,")]  # the colour bar
    targets = [value for value in targets if value not in inline]
    assert all(str(value).startswith("#") for value in targets)
    assert not re.search(r"@import|@font-face|url\((?!#)", page)
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {str(value)[1:] for value in targets} | set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


def test_it_follows_light_and_dark(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert 'content="light dark"' in page
    assert "#010203" not in page
    assert page.count("currentColor") > 50


def test_the_figures_are_whole_svg_elements(page: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(drawings) == 4
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
        words = {text.strip() for text in root.itertext() if text.strip()}
        assert {"encoder.1", "llm.final"} <= words


def test_every_number_is_in_it(found: ProbeRun, page: str) -> None:
    words = " ".join(Outline(page).text)
    for record in found.probes:
        assert interval(record, "accuracy") in words
        assert f"{percent(record['macro_accuracy'])} [" in words
    for record in found.hca:
        assert interval(record, "hca") in words
        assert percent(record["product"]) in words
    for piece in ("planted on clusters", found.summary["store"]["attributes_sha256"], "strict", "torch", "majority"):
        assert piece in words


def test_the_summary_names_where_the_path_is_lost(found: ProbeRun, page: str) -> None:
    sentence = re.search(r'class="headline">(.*?)</p>', page, flags=re.S)
    assert sentence
    assert "the largest drop between stage ends, by validation, is from encoder.2 to projector: -" in sentence[1]
    assert "n = 80 test samples of 8 leaves" in sentence[1]
    assert "projector" in headline(found.hca[:3], []) or "encoder" in headline(found.hca[:3], [])


def site(name: str, validation: float, test: float) -> Record:
    numbers = {"hca": test, "hca_low": test - 0.1, "hca_high": test + 0.1, "shuffled_high": 0.01}
    return {"site": name, "validation_hca": validation, "n_test": 50, "leaves_test": 5} | numbers


def test_the_summary_picks_sites_on_validation_and_tells_their_test_numbers() -> None:
    hca = [site("a", 0.5, 0.9), site("b", 0.8, 0.6), site("c", 0.4, 0.5), site("d", 0.3, 0.1)]
    steps = [("a", "b", -0.3, -0.2), ("b", "c", -0.1, -0.05), ("c", "d", -0.4, -0.3)]
    found = [Change(x, y, HCA, difference, -0.5, high, 50) for x, y, difference, high in steps]
    sentence = headline(hca, found)
    assert "by validation, at b: HCA 60.0 % [50.0, 70.0] on test, and at the last site, d, 10.0 %" in sentence
    assert "by validation, is from b to c: -10.0 [-50.0, -5.0] points on test." in sentence
    assert "to c: -10.0 [-50.0, +20.0] points on test, which is not clear of 0." in headline(
        hca, [*found[::2], replace(found[1], high=0.2)]
    )
    assert "validation HCA drops nowhere" in headline(hca[:2], found[:1])
    assert headline(hca[:1], []).endswith("at most).")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> ProbeRun:
    """A run with every option that a store of ours allows."""
    folder = tmp_path_factory.mktemp("everything")
    store, tree = planted(folder / "planted.zarr"), balanced_tree()
    asked = [
        {"id": f"s{row}", "level": level, "options": [f"{level} 0", f"{level} 1"], "answer": f"{level} 1"}
        for row in (12, 13, 28, 29)
        for level in tree.levels
    ]
    (folder / "q.jsonl").write_text("".join(json.dumps(question) + "\n" for question in asked))
    others = {"random_init": str(store), "pixel_shuffled": str(store), "questions": str(folder / "q.jsonl")}
    return probe(store, **others, conditional=["encoder.1+encoder.2"], description=True)


@pytest.mark.slow
def test_every_table_of_a_run_is_in_it(everything: ProbeRun) -> None:
    page = Outline(render(everything))
    words = " ".join(page.text)
    for title in (
        "Information, and what the controls reach",
        "Readings of the whole path",
        "Among the options of the questions",
        "Against an untrained model",
        "Against shuffled pixels",
        "Where accuracy changes",
        "What a later site adds",
        "Code length",
    ):
        assert title in words
    for record in everything.probes:
        for key in ("selectivity", "above_rehung", "recovery", "above_random_init"):
            value, low, high = (100 * record[name] for name in (key, f"{key}_low", f"{key}_high"))
            assert math.isnan(value) or f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" in page.cells
        for key in ("usable_bits", "control_bits", "random_init_bits"):
            assert f"{record[key]:.2f} [{record[f'{key}_low']:.2f}, {record[f'{key}_high']:.2f}]" in page.cells
        for key in ("log_loss", "ece", "ks_error", "grad_norm", "p_adjusted"):
            assert f"{record[key]:.3g}" in page.cells
    for record in everything.hca:
        for key in ("top_down", "joint", "leaf_lookup", "choice_hca", "choice_joint", "model_hca"):
            assert interval(record, key) in page.cells
        for key in ("frechet", "choice_frechet"):
            assert f"{percent(record[f'{key}_low'])} to {percent(record[f'{key}_high'])}" in page.cells
    for record in everything.extra("changepoints"):
        assert f"{record['change']} [{record['change_low']}, {record['change_high']}]" in page.cells
    for record in everything.extra("conditional"):
        assert f"{record['added']:.2f} [{record['added_low']:.2f}, {record['added_high']:.2f}]" in page.cells
    for record in everything.extra("description"):
        assert f"{record['online_bits']:,.0f}" in page.cells
    assert "nan" not in words.lower().split()
    assert "None" not in page.cells


def test_a_run_without_options_has_no_sections_of_them(page: str) -> None:
    words = " ".join(Outline(page).text)
    for title in ("Among the options", "Against an untrained", "Against shuffled", "What a later", "Code length"):
        assert title not in words


@pytest.mark.slow
def test_baselines_are_lines_and_not_a_stage_of_the_model(found: ProbeRun) -> None:
    """The first site declared a baseline: it stands in tables and heatmap, and nothing changes from it to the model."""
    first = found.hca[0]["site"]

    def plain(records: list[Record]) -> list[Record]:
        return [record | ({"stage": "baseline"} if record["site"] == first else {}) for record in records]

    page = render(replace(found, probes=plain(found.probes), hca=plain(found.hca)))
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    words = [{text.strip() for text in ElementTree.fromstring(drawing).itertext()} for drawing in drawings]
    assert [first in said for said in words] == [False, False, False, True]
    assert "no model" in words[0]
    assert f"<td>{first} →" not in page
    assert f"Dotted: what needs no model, {first}." in page


def test_changes_are_between_the_ends_of_stages(found: ProbeRun, page: str) -> None:
    assert stage_ends(found.hca) == [
        ("encoder.1", "encoder.2"),
        ("encoder.2", "projector"),
        ("projector", "llm.0"),
        ("llm.0", "llm.final"),
    ]
    cells = re.findall(r"<tr><td>encoder.2 → projector</td>(.*?)</tr>", page, flags=re.S)
    assert 'class="bold"' not in cells[0]
    assert cells[0].count('class="clear"') == 4
    unchanged = re.findall(r"<tr><td>projector → llm.0</td>(.*?)</tr>", page, flags=re.S)
    assert unchanged[0].count('class="clear"') < 4


@pytest.mark.slow
def test_names_are_escaped(tmp_path: Path) -> None:
    tree = balanced_tree(levels=("<b>order", "fam&ily", r"a$\frac$b"))
    page = render(probe(planted(tmp_path / "planted.zarr", tree), sites=["encoder.1"]))
    assert "<b>order" not in page
    assert "&lt;b&gt;order" in page
    for drawing in re.findall(r"<svg.*?</svg>", page, flags=re.S):
        words = {str(text).strip() for text in ElementTree.fromstring(drawing).itertext()}
        assert r"a$\frac$b" in words or "HCA of independent probes" in words


@pytest.mark.parametrize("levels", [["kind"], None])
def test_ragged_and_single_level_runs_have_a_report(tmp_path: Path, levels: list[str] | None) -> None:
    page = render(probe(planted(tmp_path / "planted.zarr", ragged_tree()), sites=["llm.0"], levels=levels))
    assert "llm.0" in page
    assert levels or "Level root is not scored: it has one node." in page


@pytest.mark.slow
def test_leaf_split_says_what_it_tests(tmp_path: Path) -> None:
    store = planted(tmp_path / "planted.zarr", balanced_tree((2, 4, 24)))
    out = str(tmp_path / "leaf")
    page = render(probe(store, split="leaf", sites=["encoder.1", "encoder.2"], out=out))
    assert "parents of leaves they never saw" in page
    assert "leaf lookup predicts" in page


@pytest.mark.slow
def test_the_command(found: ProbeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(ReportConfig(run=str(found.path)))
    assert "report.html" in capsys.readouterr().out
    run(ReportConfig(run=str(found.path.with_name("planted.zarr")), out=str(tmp_path / "r" / "x.html")))
    pages = [(path).read_text(encoding="utf-8") for path in (found.path / "report.html", tmp_path / "r" / "x.html")]
    assert pages[0] == pages[1]
    assert not list(found.path.glob("*.new"))
    assert all(site in pages[0] for site in SITES)


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no probe results here"):
        run(ReportConfig(run=str(tmp_path)))


def test_help_answers_without_the_heavy_imports() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "analysis", "report", "--help"]
    helped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "report.html" in helped.stdout
    imported = {line.split("|")[-1].strip() for line in helped.stderr.split("\n")}
    assert not {"torch", "matplotlib", "jinja2", "pyarrow"} & imported
