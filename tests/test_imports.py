"""Imports between the packages run one way."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "commandline": set(),
    "tracking": set(),
    "taxonomy": set(),
    "hooks": {"taxonomy"},
    "extract": {"tracking", "taxonomy", "hooks"},
    "probing": {"tracking", "taxonomy", "hooks", "extract"},
    "evaluation": {"tracking", "taxonomy", "hooks"},
    "analysis": {"tracking", "taxonomy", "hooks", "extract", "probing", "evaluation"},
    "organisms": {"tracking", "taxonomy", "hooks", "extract", "probing", "evaluation", "analysis"},
}
"""What each may import beside itself and `commandline`."""


def imported(file: Path) -> set[str]:
    """The packages of ours that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            names.add(str(node.module).split(".")[0])
    return names & set(ALLOWED)


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_one_way(package: str) -> None:
    wrong = defaultdict(set)
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        for name in imported(file) - ALLOWED[package] - {package, "commandline"}:
            wrong[name].add(str(file.relative_to(ROOT)))
    assert not wrong
