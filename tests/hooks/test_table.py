"""How a site is put into words."""

from __future__ import annotations

from typing import Any

import pytest

from hooks import Site, SiteMap
from hooks.table import reading, site_table


@pytest.mark.parametrize(
    ("reads", "key", "call", "words"),
    [
        ("output", (), 0, "output"),
        ("output", (0,), 0, "output[0]"),
        ("output", ("last_hidden_state",), 0, "output.last_hidden_state"),
        ("output", (), None, "output of every run"),
        ("input", ("args", 0), 0, "input"),
        ("input", ("args", 1), 0, "input 2"),
        ("input", ("kwargs", "inputs_embeds"), 1, "input inputs_embeds of run 2"),
    ],
)
def test_what_is_read(reads: Any, key: Any, call: int | None, words: str) -> None:
    assert reading(Site("encoder.1", "encoder", 1, "a.b", reads, key, 8, 0, call)) == words


def test_stages_missing_for_one_reason_are_named_together() -> None:
    site = Site("encoder.1", "encoder", 1, "a.b", "output", (), 8, 0)
    missing = {"projector": "no language model", "llm": "no language model", "encoder.final": "no norm"}
    lines = site_table(SiteMap({"encoder.1": site}, missing=missing), {}).splitlines()
    assert lines[2:] == [
        "encoder.1  a.b         1      8  output",
        "",
        "no projector, llm  no language model",
        "no encoder.final   no norm",
    ]


def test_placeholders_have_names_where_they_are_known() -> None:
    site = Site("llm.0", "llm", 0, "a.b", "input", ("args", 0), 8, 0)
    sites = SiteMap({"llm.0": site}, placeholder_ids=(3, 7), fusion="tokens")
    assert "in place of placeholder tokens: <image> (id 3), id 7" in site_table(sites, {}, {3: "<image>"})
