"""The page: one file, nothing from outside, hostile names escaped; the figures whole."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis.geometry.config import GeometryConfig
from analysis.geometry.page import ends, headlines
from analysis.geometry.run import run
from analysis.geometry.table import span
from taxonomy import Taxonomy
from tests.probing.planted import write_store

HOSTILE = '<script>alert("x")</script> $\\frac{1}{2}$ & \' {{ 7 * 7 }}'


class Outline(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a store whose nodes, levels and model have the names of an attacker."""
    paths = [[f"{HOSTILE}{leaf // 8}", f"family {leaf // 3}", f"{leaf}"] for leaf in range(24)]
    paths = [[top, f"{top} {middle}", leaf] for top, middle, leaf in paths]
    tree = Taxonomy.from_paths(paths, [f"order {HOSTILE}", "family", "species"])
    leaf = np.repeat(np.arange(24, dtype=np.int32), 6)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(144, 12)) + 4 * rng.normal(size=(24, 12))[leaf]
    features = {
        site: X.astype(np.float32) + rng.normal(size=X.shape).astype(np.float32) for site in ("encoder.1", "llm.0")
    }
    store = write_store(
        tmp_path_factory.mktemp("page") / "s.zarr", features, leaf, np.full(144, "train"), tree, certified=False
    )
    run(GeometryConfig(store=str(store), draws=40, allow_uncertified=True))
    return store.with_name("s.geometry")


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "orthogonality.html").read_text(encoding="utf-8")


def test_nothing_comes_from_outside_and_names_are_only_text(page: str) -> None:
    outline = Outline(page)
    assert not {tag for tag, _ in outline.tags} & {"script", "link", "iframe", "img", "object", "base", "form"}
    assert not [key for _, attrs in outline.tags for key in attrs if key.startswith("on")]
    targets = [str(value) for _, attrs in outline.tags for key, value in attrs.items() if key in ("src", "href")]
    assert targets
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
    assert not re.search(r"@import|@font-face|url\((?!#)", page)
    assert HOSTILE in "".join(outline.text)
    assert "49" not in re.findall(r"\{\{.*?\}\}|49 \}", page)
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_it_follows_light_and_dark_and_fits_a_phone(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert 'content="light dark"' in page
    assert 'name="viewport"' in page
    assert "#010203" not in page
    assert page.count("currentColor") > 20


def test_figures_are_whole_on_the_page_and_beside_it(folder: Path, page: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    names = ["layers", "cosines-llm.0", "cosines-encoder.1", "simplex"]
    assert len(drawings) == len(names)
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
    for name in names:
        alone = (folder / f"{name}.svg").read_text(encoding="utf-8")
        assert ElementTree.fromstring(alone).tag == "{http://www.w3.org/2000/svg}svg"
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 300


def test_every_verdict_and_its_reason_are_on_it(folder: Path, page: str) -> None:
    text = "".join(Outline(page).text)
    verdicts = pq.read_table(folder / "verdicts.parquet").to_pylist()
    assert len(verdicts) == 2 * 2 * 2
    for record in verdicts:
        assert record["reason"] in text
        if record["alignment"] == record["alignment"]:
            assert span(record["alignment"], record["low"], record["high"]) in text
    assert "without a certificate" in text
    assert "None" not in re.sub(r"\w*None\w+", "", text)
    assert "nan" not in text.split()


def test_headlines_count_sites() -> None:
    place = {"directions": "mean", "inner_product": "euclidean", "parent": "a", "child": "b"}
    verdicts = [place | {"site": f"llm.{k}", "verdict": "orthogonal" if k else "violated"} for k in range(7)]
    assert headlines(verdicts) == ["b given a: orthogonal at 6 of 7 sites, violated at llm.0."]
    assert headlines(verdicts[1:]) == ["b given a: orthogonal at all 6 sites."]
    sites = [{"site": site, "stage": site.split(".")[0]} for site in ("encoder.1", "encoder.2", "projector", "llm.0")]
    assert ends(sites) == ["encoder.2", "projector", "llm.0"]
