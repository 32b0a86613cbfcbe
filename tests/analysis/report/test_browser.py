"""The report in a real browser with the network cut: nothing is asked for, nothing complains, everything is seen."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from analysis.report.page import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
WIDTHS = (1280, 390)
MEASURE = """<script>
addEventListener("load", () => {
  const box = (one) => { const at = one.getBoundingClientRect();
    return {left: at.left, right: at.right, width: at.width, height: at.height, shown: one.checkVisibility(),
            what: one.getAttribute("aria-label") || one.alt || one.className, loaded: one.naturalWidth !== 0,
            text: Math.min(...[...one.querySelectorAll("text")].map((text) => text.getBoundingClientRect().height))}; };
  const all = (query) => [...document.querySelectorAll(query)].map(box);
  parent.postMessage({inner: innerWidth, page: document.documentElement.scrollWidth, drawings: all(".drawing svg"),
    photos: all(".example img"), first: document.querySelector(".headline").getBoundingClientRect().bottom,
    downloads: all("a[download]").length}, "*");
});
</script></body>"""
"""Appended to a copy of the page: where everything stands."""
AROUND = """<!doctype html><meta charset="utf-8"><pre id="found">[]</pre><script>
const found = [];
addEventListener("message", (message) => { found.push(message.data);
  document.getElementById("found").textContent = JSON.stringify(found); });
</script>FRAMES"""


def browse(page: str, folder: Path) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """What the page measures at every width; the addresses that it asked for; what the console said."""
    (folder / "page.html").write_text(page.replace("</body>", MEASURE), encoding="utf-8")
    frames = "".join(
        f'<iframe src="page.html" width="{width}" height="900" style="border:0"></iframe>' for width in WIDTHS
    )
    (folder / "around.html").write_text(AROUND.replace("FRAMES", frames), encoding="utf-8")
    log = folder / "net.json"
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"),
        *("--enable-logging=stderr", f"--log-net-log={log}", f"--user-data-dir={folder / 'profile'}"),
        *("--window-size=1400,1000", "--virtual-time-budget=4000", "--dump-dom", (folder / "around.html").as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    written = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, flags=re.S)
    assert written, done.stderr[-2000:]
    return json.loads(html.unescape(written[1])), _asked(log), re.findall(r"CONSOLE.*", done.stderr)


def _asked(log: Path) -> list[str]:
    """Requests that a page began; the browser has some of its own, which have no origin."""
    text = log.read_text(encoding="utf-8")
    try:
        noted = json.loads(text)
    except json.JSONDecodeError:  # the browser was gone before it closed the list
        noted = json.loads(text.rstrip().rstrip(",") + "]}")
    names = {number: name for name, number in noted["constants"]["logEventTypes"].items()}
    begun = [event.get("params") or {} for event in noted["events"] if names[event["type"]] == "URL_REQUEST_START_JOB"]
    return [params["url"] for params in begun if params.get("initiator", "not an origin") != "not an origin"]


@pytest.mark.slow
def test_it_is_seen_whole_with_the_network_cut(harmed: Page, tmp_path: Path) -> None:
    found, asked, console = browse(harmed.html, tmp_path)
    assert asked == []
    assert console == []
    assert sorted(one["inner"] for one in found) == sorted(WIDTHS)
    for one in found:
        width = one["inner"]
        assert one["page"] <= width  # the page itself never scrolls sideways
        shown = [drawing for drawing in one["drawings"] if drawing["shown"]]
        hidden = [drawing for drawing in one["drawings"] if not drawing["shown"]]
        assert [drawing["what"][:6] for drawing in hidden] == ["Stages"]  # the picture of the other width
        assert len(shown) == len(one["drawings"]) - 1 >= 10
        for drawing in shown:
            assert drawing["left"] >= 0
            assert drawing["right"] <= width + 0.5
            assert drawing["width"] > 200
            assert drawing["height"] > 100
            assert drawing["text"] >= 6, drawing["what"]
        assert len(one["photos"]) == 2
        assert all(photo["loaded"] and photo["shown"] and photo["width"] > 50 for photo in one["photos"])
        assert one["first"] < 800  # what is said first is on the first screen
        assert one["downloads"] >= 5


@pytest.mark.slow
def test_the_browser_would_tell(tmp_path: Path) -> None:
    """The same look at a page that does all of it: the test above can fail."""
    bad = '<div class="headline"></div><img src="http://example.org/x.png"><div style="width: 2000px">.</div>'
    found, asked, console = browse(f"<!doctype html><body>{bad}<script>nothing.here</script></body>", tmp_path)
    assert "http://example.org/x.png" in asked
    assert any("nothing is not defined" in line for line in console)
    assert all(one["page"] > one["inner"] for one in found)
