"""The page of architectures says of every family what is found and certified today."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from organisms.matrix import HEADER, Row, page, row
from organisms.zoo import EXCLUDED, FAMILIES

PAGE = Path(__file__).parents[2] / "docs/architectures.md"
FAST = (
    "llava",
    "qwen2_5_vl_ragged",
    "qwen3_vl",
    "gemma3n",
    "gemma4",
    "blip2_t5",
    "chameleon",
    "mllama",
    "udop",
    "unlimited_ocr",
    "clip",
    "llama",
)
"""The families that differ most; the others are certified by the whole run."""


def some() -> list[Any]:
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]


@pytest.mark.parametrize("name", some())
def test_a_family_is_certified_and_the_page_says_so(name: str) -> None:
    found = row(name)
    assert found.certified, found.line
    text = PAGE.read_text(encoding="utf-8")
    if f"transformers {version('transformers')}," in text:  # another version may have other classes
        assert found.line in text.splitlines(), f"make architectures writes the page anew: {found.line}"


def test_the_page_has_every_family_and_every_excluded_type_once() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    first = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    assert sorted(first.count(name) for name in FAMILIES) == [2] * len(FAMILIES)  # its sites, and what is irregular
    assert all(first.count(f"`{name}`") == 1 for name in EXCLUDED)


def test_a_family_without_certificate_is_told_at_the_top() -> None:
    whole = [Row(name, FAMILIES[name].kind, name != "llava", "| x |") for name in FAMILIES]
    vlms = sum(family.kind == "vlm" for family in FAMILIES.values())
    assert f"**{vlms - 1} of {vlms} vision-language families are certified**" in page(whole)


def test_the_command_prints_the_rows_asked_for() -> None:
    command = [sys.executable, "-m", "organisms", "architectures", "--families", "llava", "--jobs", "1"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.count("\n") == 1
    assert said.startswith("| llava | `LlavaForConditionalGeneration` | in place of tokens |")
    assert said.count(" | ") == len(HEADER) - 1
    wrong = subprocess.run([*command[:5], "lava", "--jobs", "1"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "no family 'lava'" in wrong.stderr
