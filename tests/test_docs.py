"""The documentation builds as a site, and every page is in it."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_site_builds_without_warnings(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "not included in the" not in done.stderr, done.stderr
    pages = sorted(page.stem for page in (ROOT / "docs").glob("*.md") if page.stem != "index")
    assert sorted(page.parent.name for page in (tmp_path / "site").glob("*/index.html")) == pages
    home = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="https?://(?:fonts|cdn|unpkg)[^"]*"', home)


def test_the_readme_links_to_pages_that_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text)
    assert len(links) > 5
    assert not [link for link in links if not (ROOT / link).exists()]
