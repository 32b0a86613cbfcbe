"""The means of the leaves in the plane of their first two principal components, coloured by parent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import GREY, SERIES, STYLE, Drawing, tip
from analysis.report.axes import PANEL
from analysis.report.material import Material
from extract import Store

PER_LEAF = 20
"""Rows of a leaf that its mean is of, at most: a plot needs no more, and a large store is not read whole."""
MOST_TOLD = 300
"""Leaves that a page has room to name one by one."""
OTHERS = "others"
"""Parents beyond those that colours are told apart by; the largest have one."""


@dataclass(frozen=True)
class LeafMean:
    site: str
    leaf: str
    parent: str
    pc1: float
    pc2: float
    n: int


def leaf_means(material: Material, sites: list[str]) -> list[LeafMean]:
    """Of the fitted rows (train), per site. Empty without the store, and for fewer than three leaves."""
    from sklearn.decomposition import PCA

    store = material.store
    if store is None:
        return []
    rows, leaf = _rows(store)
    names, group = np.unique(leaf, return_inverse=True)
    if len(names) < 3:
        return []
    sizes = np.bincount(group)
    found = []
    for site in sites:
        if site not in store.sites:
            continue
        means = np.zeros((len(names), store.site(site).width))
        np.add.at(means, group, store.matrix(site, rows))
        plane = PCA(2, random_state=0).fit_transform(means / sizes[:, None])
        found += [
            LeafMean(
                site, store.taxonomy.leaves[code], _parent(material, code), float(point[0]), float(point[1]), int(size)
            )
            for code, point, size in zip(names.tolist(), plane, sizes, strict=True)
        ]
    return found


def figures(found: list[LeafMean]) -> list[Drawing]:
    """One per site."""
    if not found:
        return []
    first = [mean.parent for mean in found if mean.site == found[0].site]
    named = [parent for parent, _ in Counter(first).most_common(len(SERIES))]
    if len(set(first)) > len(named):
        named = named[:-1]
    style = dict(zip(sorted(named), SERIES, strict=False))
    drawn = []
    for number, site in enumerate(dict.fromkeys(mean.site for mean in found)):
        tips: list[str] = []
        mine = [mean for mean in found if mean.site == site]
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(PANEL[0], 3.0), layout="constrained")
            panel = figure.subplots()
            for parent in [*style, OTHERS]:
                colour, marker = style.get(parent, (GREY, "x"))
                members = [mean for mean in mine if (mean.parent if mean.parent in style else OTHERS) == parent]
                _points(panel, members, colour, marker, _short(parent), tips if len(mine) <= MOST_TOLD else None)
            panel.set_title(site)
            panel.set(xlabel="first component", ylabel="second component", xticks=[], yticks=[])
            panel.axhline(0, color=GREY, lw=0.4)
            panel.axvline(0, color=GREY, lw=0.4)
            figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
        drawn.append(Drawing(f"means-{number}", f"Leaf means at {site}, by parent", figure, tuple(tips)))
    return drawn


def _points(panel: Axes, members: list[LeafMean], colour: str, marker: str, label: str, tips: list[str] | None) -> None:
    """A dot per leaf that says which it is; with no tips a picture of them, which is small however many there are."""
    if tips is None:
        x, y = ([getattr(mean, key) for mean in members] for key in ("pc1", "pc2"))
        panel.plot(x, y, marker, color=colour, ms=2.5, alpha=0.7, label=label, rasterized=True)
        return
    for index, mean in enumerate(members):
        (dot,) = panel.plot(
            mean.pc1, mean.pc2, marker, color=colour, ms=5, alpha=0.85, label=label if index == 0 else None
        )
        tip(dot, tips, f"{mean.leaf} ({mean.parent}), mean of {mean.n} images")


def _rows(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of every leaf that hold activations, of train where there is one."""
    usable = store.ok & (store.samples.split.astype(str) == "train")
    rows = np.flatnonzero(usable if usable.any() else store.ok)
    leaf = store.samples.leaf[rows]
    order = np.argsort(leaf, kind="stable")
    ordered = leaf[order]
    starts = np.searchsorted(ordered, ordered)
    kept = np.sort(order[np.arange(len(order)) - starts < PER_LEAF])
    return rows[kept], leaf[kept]


def _parent(material: Material, leaf: int) -> str:
    """The node of the first scored level, so that colours are few."""
    assert material.store is not None
    tree = material.store.taxonomy
    code = tree.codes[leaf, tree.level_index(material.levels[0])]
    return tree.names(material.levels[0])[code] if code >= 0 else "none"


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
