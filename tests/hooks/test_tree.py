"""The tree of modules with the sites in it."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from hooks import Loaded, Site, SiteMap, find_sites
from hooks.encoding import encode
from hooks.tree import site_tree
from tests.hooks.conftest import PROMPT, picture


def _paths(tree: str) -> dict[str, str]:
    """Every drawn module's dotted path, rebuilt from the drawing, with what stands to its right."""
    above: list[str] = []
    found = {}
    for line in tree.splitlines()[1:]:
        drawn = re.match(r"(?P<indent>(?:[│ ]  )*)[├└]─ (?P<name>\S+(?: … \S+)?)\s*(?P<rest>.*)", line)
        assert drawn, line
        depth = len(drawn["indent"]) // 3
        above[depth:] = [drawn["name"]]
        found[".".join(above)] = drawn["rest"]
    return found


def test_every_site_hangs_at_its_module(loaded: Loaded) -> None:
    sites = find_sites(loaded.model, encode(loaded.processor, picture(100, 60), PROMPT))
    tree = site_tree(loaded.model, sites)
    assert tree.splitlines()[0] == type(loaded.model).__name__
    paths = _paths(tree)
    for site in sites.values():
        run = next((path for path in paths if _covers(path, site.module)), None)
        assert run, site
        end = "in" if site.reads == "input" else "out"
        if "…" not in run:
            assert re.search(rf"\b{end} {re.escape(site.name)}\b", paths[run]), site
        else:
            first, last = re.search(rf"\b{end} {site.stage}\.(\d+) … {site.stage}\.(\d+)", paths[run]).groups()  # pyright: ignore[reportOptionalMemberAccess]
            assert site.layer is not None
            assert int(first) <= site.layer <= int(last), site
    assert "unembedding" in paths["lm_head"]
    modules = dict(loaded.model.named_modules())
    for path, rest in paths.items():
        if "…" not in path:
            assert rest.startswith(type(modules[path]).__name__), path


def _covers(path: str, module: str) -> bool:
    head, _, tail = path.rpartition(" … ")
    if not head:
        return path == module
    stem, _, first = head.rpartition(".")
    above, _, index = module.rpartition(".")
    return above == stem and index.isdigit() and int(first) <= int(index) <= int(tail)


def test_runs_of_equal_blocks_are_drawn_once(loaded_of: Callable[[str], Loaded]) -> None:
    loaded = loaded_of("internvl")
    sites = find_sites(loaded.model, encode(loaded.processor, picture(100, 60), PROMPT))
    (line,) = [line for line in site_tree(loaded.model, sites).splitlines() if "in llm.0" in line]
    assert re.search(r"─ 0 … 2 +Qwen2DecoderLayer × 3 +in llm\.0 … llm\.2$", line)


def test_blocks_that_differ_are_not_folded() -> None:
    """By class, by what is read, by a note on one of them."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Identity(), nn.Linear(2, 2), nn.Linear(2, 2))

    def site(layer: int, reads: str) -> Site:
        return Site(f"llm.{layer}", "llm", layer, str(layer), reads, (), 2, layer)  # pyright: ignore[reportArgumentType]

    found = [site(0, "input"), site(1, "output"), site(3, "input"), site(4, "input")]
    sites = SiteMap({one.name: one for one in found}, head="4")
    assert list(_paths(site_tree(model, sites))) == ["0", "1", "2", "3", "4"]
    sites = SiteMap({one.name: one for one in found})
    assert list(_paths(site_tree(model, sites))) == ["0", "1", "2", "3 … 4"]
