"""Trees that are hard on a question bank, and a strategy for more of them."""

from __future__ import annotations

from hypothesis import strategies as st

from taxonomy import Taxonomy

AWKWARD = Taxonomy.from_paths(
    [
        ("root", "A. first", 'say "cheese"', "line\nbreak"),
        ("root", "A. first", 'say "cheese"', "\u05d0\u05e8\u05d9\u05d4"),  # Hebrew: lion
        ("root", "A. first", "B", "x" * 200),
        ("root", "Mirrors", "other", "C) grebe"),
        ("root", "mirror's", "Other", "tabby"),  # both read like the row above
        ("root", "mirror's", "{level}", "D"),
        ("root", "short"),
        ("root", "third", "o-t-h-e-r", "eel"),
    ],
    ("root", "order", "family", "species"),
)
"""Lettered names, quotes, a line break, right-to-left, 200 characters, braces, equal names on several branches."""


@st.composite
def trees(draw: st.DrawFn) -> Taxonomy:
    """Ragged trees of up to four levels with few names, so that names meet often."""
    path = st.lists(st.sampled_from(["a", "A", "b", "c-", "d", "e"]), min_size=1, max_size=4)
    paths = draw(st.lists(path, min_size=1, max_size=12))
    kept: list[tuple[str, ...]] = []
    for path in map(tuple, paths):
        if not any(path[: len(other)] == other or other[: len(path)] == path for other in kept):
            kept.append(path)
    return Taxonomy.from_paths(kept)
