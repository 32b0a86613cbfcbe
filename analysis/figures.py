"""What all figures share: their style, and how one becomes an SVG for a page and files for a paper.

A figure is drawn once. On a page its text takes the page's own colour and its lines the page's palette, light or dark;
in the run's folder it stands for itself, as SVG and PNG.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the page's text colour until the SVG is written."""
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
"""Colours that the colour-blind tell apart (Okabe & Ito 2008)."""
GREY = "#8a8a8a"
PALETTE = {"blue": BLUE, "vermillion": VERMILLION, "green": GREEN, "purple": PURPLE, "orange": ORANGE, "sky": SKY}
"""By the names of the page's variables, which a dark page sets lighter."""
SERIES = ((BLUE, "o"), (VERMILLION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (SKY, "P"))
"""Colours and markers of levels, coarse to fine."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold dollars
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8,
}
PANEL = (4.6, 2.5)
"""Inches."""
DPI = 200
TIP = "tip-"


def tip(artist: Artist, tips: list[str], text: str) -> None:
    """Note what is said where the pointer rests on the artist; the figure's `Drawing` gets `tips`."""
    artist.set_gid(f"{TIP}{len(tips)}")
    tips.append(text)


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure, by what it is called on the page and in the folder. Ids of the SVG begin with `name`."""

    name: str
    title: str
    """What it shows, for those who cannot see it."""
    figure: Figure
    tips: tuple[str, ...] = ()

    @cached_property
    def _svg(self) -> str:
        text = svg(self.figure, self.name, html.escape(self.title), self.tips)
        self.figure.set_layout_engine("none")  # it has been laid out: the PNG need not be again
        return text

    @property
    def inline(self) -> Markup:
        """The <svg> element, in the page's colours."""
        text = self._svg
        for name, colour in PALETTE.items():
            text = text.replace(colour, f"var(--{name}, {colour})")
        return Markup(text)

    @property
    def width(self) -> float:
        """Inches."""
        return self.figure.get_size_inches()[0]

    def write(self, folder: Path) -> None:
        """`<name>.svg` and `<name>.png`, in black on white."""
        text = self._svg.replace("currentColor", "#000000")
        space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        (folder / f"{self.name}.svg").write_text(text.replace("<svg ", f"<svg {space} ", 1), encoding="utf-8")
        self.figure.savefig(folder / f"{self.name}.png", dpi=DPI, facecolor="white")


def svg(figure: Figure, name: str, title: str, tips: tuple[str, ...] = ()) -> str:
    """The figure as an <svg> element for an HTML page, ids prefixed with `name` and unused ones dropped.

    title: its label, escaped by the caller. tips: what artists that `tip` marked say, by number.
    """
    buffer = io.StringIO()
    style: dict[Any, Any] = {**STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(rf'<g id="{TIP}(\d+)">', lambda found: f"<g><title>{html.escape(tips[int(found[1])])}</title>", text)
    used = set(re.findall(r"(?:url\(|href=\")#([^\")]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r"(url\(|href=\")#", rf"\g<1>#{name}-", text)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.S)
    text = text.replace(INK, "currentColor")
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>',
        lambda found: f'<svg viewBox="{found[1]}" role="img" aria-label="{title}">',
        text,
        count=1,
    )
    return text.replace("xlink:href", "href")


def variables(theme: Mapping[str, str] = PALETTE) -> str:
    """The palette as declarations of CSS variables."""
    return " ".join(f"--{name}: {colour};" for name, colour in theme.items())


DARK = {
    "blue": "#4fb0e8",
    "vermillion": "#ff8a4c",
    "green": "#2fc79b",
    "purple": "#e59cc4",
    "orange": "#f2b632",
    "sky": "#8fd0f5",
}
"""The same palette for a dark page."""
