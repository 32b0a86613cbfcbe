"""The report as one HTML page, and the figures in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.bottleneck.wording import CALLED, RULE
from analysis.figures import DARK, Drawing, variables
from analysis.intervals import HCA, Change, Hits, changes
from analysis.report import confusions, curves, grid, means, orthogonality, overview, paths, tree
from analysis.report.downloads import downloads
from analysis.report.examples import examples
from analysis.report.headline import headline, points, published_headline, sentences, size, stage_ends, sure
from analysis.report.material import BASELINE, Material
from analysis.report.provenance import commands, missing, provenance
from analysis.report.tables import Table, sections
from probing import table
from probing.scores import Record

TEMPLATE = "report.html.j2"
MOST_NODES = 1000
"""Of a taxonomy whose every node has a row on the page."""


@dataclass(frozen=True)
class Page:
    html: str
    drawings: tuple[Drawing, ...]


def compose(material: Material, site: str | None = None) -> Page:
    """The page. site: whose probes the tree and the examples show; by default the last, what answers are made of."""
    probes, levels = material.probes, material.levels
    summary, hca = probes.summary, probes.hca
    chosen = site or material.model_sites[-1]["site"]
    draws, seed = summary["config"].get("bootstrap") or 2000, summary["config"]["seed"]
    moved = _changes(material, draws, seed)
    found = Found(
        tree=tree.nodes(material.readings, chosen, draws, seed),
        confusions=confusions.by_ancestor(material.readings, material.ends, draws, seed),
        means=means.leaf_means(material, material.ends),
        orthogonality=orthogonality.verdicts(material.geometry) if material.geometry else [],
        bars=paths.bars(material),
    )
    drawn = _drawings(material, found, chosen)
    return Page(
        environment()
        .get_template(TEMPLATE)
        .render(
            title=f"{_name(summary['store'].get('model'))} on {_name(summary['store'].get('dataset'))}",
            summary=summary,
            palette=(variables(), variables(DARK)),
            material=material,
            sentences=_said(material, moved),
            probed="" if material.published else headline(material.model_sites, moved),
            told=told(material),
            size=size(material.verdict) if material.verdict else "",
            verdicts=_verdict_rows(material),
            rule=RULE,
            drawn=drawn,
            site=chosen,
            baselines=[record["site"] for record in hca if record["stage"] == BASELINE],
            nodes=_tree_table(found.tree, levels),
            bars=_bar_table(found.bars),
            confusions=_confusion_table(found.confusions),
            orthogonality=_orthogonality_table(found.orthogonality),
            means_n=sum(mean.n for mean in found.means if mean.site == found.means[0].site),
            examples=examples(material, chosen, seed),
            sections=sections(probes, levels),
            changes=_change_table(moved, [*levels, HCA]),
            accuracy=table.accuracy_rows(probes.probes, hca, summary),
            macro=table.macro_rows(probes.probes, hca, summary),
            captions=(table.ACCURACY, table.MACRO),
            marks=table.MARKS,
            foot=table.FOOT,
            notes=table.notes(probes.probes, summary),
            certificate=summary["certificate"],
            provenance=provenance(summary),
            commands=commands(material),
            missing=missing(material),
            unjudged=material.verdict.missing if material.verdict else [],
            downloads=downloads(_raw(material, found)),
        ),
        tuple(drawing for group in drawn.values() for drawing in group),
    )


def environment() -> Environment:
    """Everything is escaped."""
    return Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@dataclass(frozen=True)
class Found:
    """What the report counts itself; the rest is in the run's tables."""

    tree: list[tree.Node]
    confusions: list[confusions.Shared]
    means: list[means.LeafMean]
    orthogonality: list[Record]
    bars: list[paths.Bar]


def _drawings(material: Material, found: Found, site: str) -> dict[str, list[Drawing]]:
    """Every figure, by the section it stands in; the first is the picture and the same for a phone."""
    if told(material):
        lines, unit = overview.judged(material), "% of the level that can be read"
    else:
        lines, unit = overview.plain(material), "% right"
    sites = material.model_sites
    return {
        "overview": [overview.picture(lines, sites, unit, narrow=narrow) for narrow in (False, True)],
        "accuracy": curves.accuracy(material),
        "heatmap": [grid.heatmap(material)],
        "path": [curves.whole_path(material)],
        "bars": [paths.figure(found.bars)],
        "tree": [tree.figure(found.tree, material.levels, site)] if found.tree else [],
        "orthogonality": orthogonality.figures(found.orthogonality),
        "means": means.figures(found.means),
        "confusions": [confusions.figure(found.confusions)] if found.confusions else [],
        "bits": curves.bits(material),
    }


def told(material: Material) -> bool:
    """Whether a verdict tells anything; where it does not, shares beyond the level above rest on few samples."""
    return material.verdict is not None and any(
        level.evidence and level.stage != "not identifiable" for level in material.verdict.levels
    )


def _said(material: Material, moved: Sequence[Change]) -> Sequence[str]:
    if material.verdict:
        return sentences(material.verdict)
    if material.published:
        return [published_headline(material.model_sites, material.probes.summary["config"]["epochs"])]
    return [headline(material.model_sites, moved)]


def _changes(material: Material, draws: int, seed: int) -> list[Change]:
    sites = [record["site"] for record in material.probes.hca]
    hits = Hits.of(material.probes.predictions(), sites, material.levels)
    return changes(hits, stage_ends(material.model_sites), draws, seed)


def _verdict_rows(material: Material) -> list[dict[str, Any]]:
    if material.verdict is None:
        return []
    rows = []
    for number, level in enumerate(material.verdict.levels):
        low, high = level.interval
        share = (
            "–"
            if level.strength != level.strength
            else f"{100 * level.strength:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
        )
        entry = level.evidence[0] if level.evidence else None
        rows.append(
            {
                "number": number,
                "level": level.level,
                "stage": CALLED[level.stage] + (f", from {level.at} on" if level.at else ""),
                "lost": level.stage not in ("none", "not identifiable"),
                "share": share,
                "sure": sure(level),
                "n": f"{entry.n:,} ({entry.leaves:,})" if entry else "–",
                "why": level.why,
                "unseen": level.unseen,
                "would_change": level.would_change,
                "also": [
                    f"{CALLED[loss.stage]}: {100 * loss.strength:.0f} % [{100 * loss.low:.0f}, {100 * loss.high:.0f}]"
                    + ("" if loss.confident else " (not certain)")
                    for loss in level.also
                ],
            }
        )
    return rows


def _change_table(found: Sequence[Change], columns: Sequence[str]) -> Table | None:
    if not found:
        return None
    cells = {(change.before, change.after, change.of): change for change in found}
    rows = [["from → to", *columns, "n"]]
    bold = set()
    for before, after in dict.fromkeys((change.before, change.after) for change in found):
        mine = [cells[before, after, column] for column in columns]
        bold |= {(len(rows), index + 1) for index, change in enumerate(mine) if change.clear}
        rows.append([f"{before} → {after}", *map(points, mine), f"{cells[before, after, HCA].n:,}"])
    caption = (
        "Points of accuracy, with 95 % intervals paired on samples and leaves, not adjusted for their number; 0 is no "
        "change; bold where the interval leaves 0 out."
    )
    return Table(caption, rows, bold=frozenset(bold))


def _tree_table(found: Sequence[tree.Node], levels: tuple[str, ...]) -> Table:
    named = len(found) <= MOST_NODES
    shown = found if named else [node for node in found if node.level in tree.shown_levels(list(found), levels)[0]]
    rows = [["node", "level", "% right [95 %]", "chance", "n (leaves)"]]
    for node in shown:
        share = f"{100 * node.right:.0f} [{100 * node.low:.0f}, {100 * node.high:.0f}]"
        rows.append([node.path, node.level, share, f"{100 * node.null:.1f}", f"{node.n:,} ({node.leaves:,})"])
    return Table(
        "Test samples of each node; intervals over leaves, of a single leaf over its samples (Wilson); chance: how "
        "often any sample is given this node.",
        rows,
        f"All {len(found):,} nodes"
        if named
        else f"{len(shown):,} of {len(found):,} nodes; the others are in the download",
        "tree",
    )


def _bar_table(found: Sequence[paths.Bar]) -> Table:
    rows = [["", "HCA", "leaf level", "product", "Fréchet bounds", "chance, HCA", "n (leaves)"]]
    for bar in found:
        hca, leaf = (
            f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]" for value, low, high in (bar.hca, bar.leaf)
        )
        bounds, null = (
            " to ".join(dict.fromkeys(f"{100 * end:.1f}" for end in ends)) for ends in (bar.bounds, bar.null)
        )
        rows.append(
            [
                bar.name.replace("\n", " "),
                hca,
                leaf,
                f"{100 * bar.product:.1f}",
                bounds,
                null,
                f"{bar.n:,} ({bar.leaves:,})",
            ]
        )
    return Table("%. Product and bounds follow from the level accuracies; they are no estimates of their own.", rows)


def _confusion_table(found: Sequence[confusions.Shared]) -> Table | None:
    if not found:
        return None
    rows = [["site", "last common ancestor", "% of what is wrong [95 %]", "dealt anew", "n (leaves)"]]
    for one in found:
        share = f"{100 * one.share:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"
        rows.append([one.site, one.ancestor, share, f"{100 * one.null:.1f}", f"{one.n:,} ({one.leaves:,})"])
    caption = "Dealt anew: the wrong nodes of a site handed out among the same samples, exact mean."
    return Table(caption, rows, "Every share", "confusions")


def _orthogonality_table(found: Sequence[Record]) -> Table | None:
    if not found:
        return None
    rows = [["site", "levels", "verdict", "|cos| [95 %]", "mean |cos|", "leaves re-hung", "rows permuted", "n"]]
    for row in found:
        known = row["alignment"] is not None and row["alignment"] == row["alignment"]
        value = f"{row['alignment']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" if known else "–"
        nulls = [
            f"{row[f'{null}_low']:.2f} to {row[f'{null}_high']:.2f}" if row.get(f"{null}_low") is not None else "–"
            for null in ("leaves", "rows")
        ]
        mean = f"{row['mean_cos']:.2f}" if row.get("mean_cos") is not None else "–"
        rows.append(
            [
                row["site"],
                f"{row['child']} given {row['parent']}",
                row["verdict"],
                value,
                mean,
                *nulls,
                f"{row['n']:,}" if row.get("n") else "–",
            ]
        )
    return Table(
        "|cos|: root mean square cosine of child − parent with parent, noise taken off. Directions and inner product: "
        f"{found[0]['directions']}, {found[0]['inner_product']}.",
        rows,
        "Every site and pair of levels",
        "orthogonality",
    )


def _raw(material: Material, found: Found) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The tables that a reader may take along, by name."""
    probes = material.probes
    raw: dict[str, Sequence[Mapping[str, Any]]] = {}
    if material.verdict:
        raw["verdict"] = _records([number for level in material.verdict.levels for number in level.evidence])
    raw |= {"probes": probes.probes, "hca": probes.hca}
    raw |= {name: probes.extra(name) for name in ("changepoints", "conditional", "description")}
    raw |= {
        "tree": _records(found.tree),
        "confusions": _records(found.confusions),
        "means": _records(found.means),
        "orthogonality": found.orthogonality,
    }
    if material.images is not None:
        raw["answers"] = list(paths.scores(material).values())
    return raw


def _records(found: Sequence[Any]) -> list[dict[str, Any]]:
    return [vars(one) for one in found]


def _name(values: dict[str, Any] | None) -> str:
    known = values or {}
    return str(known.get("name") or known.get("id") or "unnamed")
