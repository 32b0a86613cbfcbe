"""The report: one file, nothing from outside, every number that the tables hold."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from analysis.config import ReportConfig
from analysis.intervals import HCA, Change
from analysis.report import render, run
from analysis.report.headline import headline, stage_ends
from analysis.report.material import Material
from analysis.report.page import Page
from analysis.report.run import write
from commandline import InputError
from probing.results import ProbeRun
from probing.scores import Record
from probing.table import interval, percent
from tests.analysis.report.planted import HARM, Outline
from tests.probing.planted import balanced_tree, ragged_tree
from tests.probing.test_run import SITES, planted, probe


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ProbeRun:
    return probe(planted(tmp_path_factory.mktemp("report") / "planted.zarr", per_leaf=40))


@pytest.fixture(scope="module")
def page(found: ProbeRun) -> str:
    return render(found)


def drawings(page: str) -> dict[str, ElementTree.Element]:
    roots = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, flags=re.S)]
    return {root.attrib["aria-label"]: root for root in roots}


def table_of(page: str, name: str) -> list[dict[str, str]]:
    """A download, as a reader's spreadsheet has it."""
    links = {attrs.get("download"): attrs["href"] for tag, attrs in Outline(page).tags if tag == "a"}
    text = unquote(str(links[f"{name}.csv"]).split(",", 1)[1])
    return list(csv.DictReader(io.StringIO(text)))


def nothing_from_outside(page: str) -> None:
    outline = Outline(page)
    assert not {tag for tag, _ in outline.tags} & {"script", "iframe", "object", "embed", "form"}
    targets = [str(value) for _, attrs in outline.tags for key, value in attrs.items() if key in ("src", "href")]
    inside = ("#", "data:image/png;base64,", "data:image/jpeg;base64,", "data:text/csv", "data:,")
    assert all(target.startswith(inside) for target in targets)
    assert not [key for _, attrs in outline.tags for key in attrs if key.startswith("on") or key == "srcset"]
    assert not re.search(r"@import|@font-face|url\((?!#)", page)
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {target[1:] for target in targets if target.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(ids)


def test_nothing_comes_from_outside_and_ids_are_unique(page: str, harmed: Page) -> None:
    nothing_from_outside(page)
    nothing_from_outside(harmed.html)


def test_it_follows_light_and_dark(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert 'content="light dark"' in page
    assert "#010203" not in page
    assert page.count("currentColor") > 50
    dark = page[page.index("prefers-color-scheme: dark") :]
    for colour in re.findall(r"var\((--\w+), #", page):
        assert f"{colour}:" in dark


def test_the_figures_are_whole_svg_elements(page: str) -> None:
    found = drawings(page)
    for part in ("Stages left to right", "Accuracy on species", "Usable bits of", "Accuracy by site", "HCA across"):
        assert [title for title in found if title.startswith(part)]
    for title, root in found.items():
        assert root.attrib["role"] == "img"
        words = {str(text).strip() for text in root.itertext()}
        if "across" in title or title.startswith("Accuracy by"):
            assert {"encoder.1", "llm.final"} <= words


def test_every_number_is_in_it(found: ProbeRun, page: str) -> None:
    words = Outline(page).words
    for record in found.probes:
        assert interval(record, "accuracy") in words
        assert f"{percent(record['macro_accuracy'])} [" in words
    for record in found.hca:
        assert interval(record, "hca") in words
        assert percent(record["product"]) in words
    for piece in ("planted on clusters", found.summary["store"]["attributes_sha256"], "strict", "torch", "majority"):
        assert piece in words


def test_the_heatmap_says_interval_n_and_chance_where_the_pointer_rests(found: ProbeRun, page: str) -> None:
    grid = next(root for title, root in drawings(page).items() if title.startswith("Accuracy by site"))
    said = {node.text for node in grid.iter() if node.tag.endswith("title")}
    for record in found.probes:
        low, high = 100 * record["accuracy_low"], 100 * record["accuracy_high"]
        start = f"{record['level']} at {record['site']}: {100 * record['accuracy']:.1f} % [{low:.1f}, {high:.1f}], n = "
        assert [text for text in said if text and text.startswith(f"{start}{record['n_test']:,}; shuffled labels ")]
    assert len(said) == len(found.probes) + len(found.hca)


def test_downloads_hold_the_tables(found: ProbeRun, page: str) -> None:
    rows = table_of(page, "probes")
    assert len(rows) == len(found.probes)
    for row, record in zip(rows, found.probes, strict=True):
        assert row["site"] == record["site"]
        for key in ("accuracy", "accuracy_low", "shuffled_high", "log_loss", "ece", "penalty"):
            assert math.isclose(float(row[key]), record[key], rel_tol=1e-5, abs_tol=1e-9)
    assert [row["site"] for row in table_of(page, "hca")] == list(SITES)


def test_the_first_words_are_the_verdict(harmful: Material, harmed: Page, page: str) -> None:
    headline = page[page.index('class="headline') : page.index("<figure")]
    assert "<strong>family and order</strong> are <strong>lost at the projector</strong>" in headline or (
        "<strong>order and family</strong> are <strong>lost at the projector</strong>" in headline
    )
    judged = harmful.verdict
    assert judged
    outline = Outline(harmed.html)
    for level in judged.levels:
        low, high = level.interval
        assert math.isnan(level.strength) or f"{100 * level.strength:.0f} % [{100 * low:.0f}, {100 * high:.0f}]" in (
            outline.cells
        )
        assert level.why in outline.words


def test_probes_are_summed_up_in_a_sentence(page: str) -> None:
    words = Outline(page).words
    assert "the largest drop between stage ends, by validation, is from encoder.2 to projector: -" in words
    assert "n = 80 test samples of 8 leaves" in words


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
        assert title in page.words
    for record in everything.probes:
        for key in ("selectivity", "above_rehung", "recovery", "above_random_init"):
            value, low, high = (100 * record[name] for name in (key, f"{key}_low", f"{key}_high"))
            assert math.isnan(value) or f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" in page.cells
        for key in ("usable_bits", "control_bits", "random_init_bits"):
            assert f"{record[key]:.2f} [{record[f'{key}_low']:.2f}, {record[f'{key}_high']:.2f}]" in page.cells
        for key in ("penalty", "grad_norm", "p_adjusted"):
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
    assert "nan" not in page.words.lower().split()
    assert "None" not in page.cells


def test_what_was_not_measured_has_no_section_but_a_command(page: str) -> None:
    words = Outline(page).words
    for title in ("Among the options", "Against an untrained", "Against shuffled", "What a later", "Code length"):
        assert title not in words
    for title in ("Orthogonality by layer", "Examples"):
        assert f">{title}</h2>" not in page or title == "Examples"
    missing = page[page.index('id="missing"') :]
    assert "python -m evaluation --model MODEL --questions BANK --images FOLDER" in missing
    assert "python -m analysis geometry" in missing
    assert "--split leaf" in missing


def test_baselines_are_lines_and_not_a_stage_of_the_model(found: ProbeRun) -> None:
    """The first site declared a baseline: it stands in tables and heatmap, and nothing changes from it to the model."""
    first = found.hca[0]["site"]

    def plain(records: list[Record]) -> list[Record]:
        return [record | ({"stage": "baseline"} if record["site"] == first else {}) for record in records]

    page = render(replace(found, probes=plain(found.probes), hca=plain(found.hca)))
    with_it = {
        title for title, root in drawings(page).items() if first in {str(text).strip() for text in root.itertext()}
    }
    assert with_it == {"Accuracy by site and level, percent"}
    assert "no model" in {str(text).strip() for text in drawings(page)["Accuracy on order across sites"].itertext()}
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
    assert cells[0].count('class="clear"') == 4
    unchanged = re.findall(r"<tr><td>projector → llm.0</td>(.*?)</tr>", page, flags=re.S)
    assert unchanged[0].count('class="clear"') < 4


def test_names_are_escaped(harmed: Page, tmp_path: Path) -> None:
    """Levels, nodes and answers: as text in the page, in its figures and in their tips, never as markup."""
    outline = Outline(harmed.html)
    assert "alert(" in harmed.html
    assert "<script" not in harmed.html
    assert HARM[0] in outline.cells
    labels = [attrs["aria-label"] for tag, attrs in outline.tags if tag == "svg"]
    assert f"Accuracy on {HARM[0]} across sites" in labels
    for title, root in drawings(harmed.html).items():
        if title.startswith(("Accuracy by site", "Stages")):
            assert set(HARM) <= {str(text).strip() for text in root.itertext()}
    write(harmed, tmp_path / "report.html", figures=True)
    for file in (tmp_path / "figures").glob("*.svg"):
        assert not [node for node in ElementTree.parse(file).iter() if node.tag.endswith("script")]


def test_answers_stand_beside_probes(harmful: Material, harmed: Page) -> None:
    """Right at every level but the second: the picture, the bars and the examples say so."""
    picture = next(root for title, root in drawings(harmed.html).items() if title.startswith("Stages"))
    tips = [node.text for node in picture.iter() if node.tag.endswith("title")]
    assert [tip for tip in tips if tip and tip.startswith(f"{HARM[0]} by name: 100.0 %")]
    assert "own answers (of the options)" in Outline(harmed.html).cells
    answers = {(row["reading"], row["score"], row["level"]): row for row in table_of(harmed.html, "answers")}
    assert float(answers["reply", "accuracy", HARM[1]]["value"]) == 0
    assert float(answers["reply", "accuracy", HARM[2]]["value"]) == 1
    examples = harmed.html[harmed.html.index('id="examples"') : harmed.html.index('id="controls"')]
    shown = Outline(examples)
    assert shown.words.count(f"first wrong at {HARM[1]}") == 2
    assert "every level right" not in shown.words.split("count for nothing")[1]
    pictures = [attrs["src"] for tag, attrs in shown.tags if tag == "img"]
    assert len(pictures) == 2
    assert all(str(source).startswith("data:image/jpeg;base64,") for source in pictures)


def test_thumbnails_stay_inside_their_folder(tmp_path: Path) -> None:
    from PIL import Image

    from analysis.report.examples import SIDE, thumbnail

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (900, 300)).save(tmp_path / "secret.png")
    Image.new("RGB", (900, 300)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG broken")
    assert thumbnail(tmp_path / "photos", "a.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "broken.png", "none.png"):
        assert thumbnail(tmp_path / "photos", name) is None
    assert len(str(thumbnail(tmp_path / "photos", "a.png"))) < 100 * SIDE


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


def test_the_command(found: ProbeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(ReportConfig(run=str(found.path)))
    assert "report.html" in capsys.readouterr().out
    run(ReportConfig(run=str(found.path.with_name("planted.zarr")), out=str(tmp_path / "r" / "x.html"), figures=False))
    pages = [(path).read_text(encoding="utf-8") for path in (found.path / "report.html", tmp_path / "r" / "x.html")]
    assert pages[0] == pages[1]
    assert len(pages[0].encode()) < 3_000_000
    assert not list(found.path.glob("*.new"))
    assert all(site in pages[0] for site in SITES)
    written = sorted(path.name for path in (found.path / "figures").iterdir())
    assert {"overview.svg", "overview.png", "tree.svg", "heatmap.png", "accuracy-0.svg", "hca.png"} <= set(written)
    for file in (found.path / "figures").glob("*.svg"):
        text = file.read_text(encoding="utf-8")
        assert "currentColor" not in text
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    for file in (found.path / "figures").glob("*.png"):
        assert file.read_bytes()[:4] == b"\x89PNG"
    assert not (tmp_path / "r" / "figures").exists()


def test_bad_input(found: ProbeRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no probe results here"):
        run(ReportConfig(run=str(tmp_path)))
    with pytest.raises(InputError, match="has no such site; it has"):
        run(ReportConfig(run=str(found.path), site="llm.77"))
    with pytest.raises(InputError, match="no folder there"):
        run(ReportConfig(run=str(found.path), photos=tmp_path / "none"))


def test_help_answers_without_the_heavy_imports() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "analysis", "report", "--help"]
    helped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "report.html" in helped.stdout
    imported = {line.split("|")[-1].strip() for line in helped.stderr.split("\n")}
    assert not {"torch", "matplotlib", "jinja2", "pyarrow"} & imported
