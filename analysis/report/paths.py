"""HCA as bars, beside what it is to be read against: the leaf level, the product of accuracies, the Fréchet bounds."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from analysis.figures import BLUE, GREEN, GREY, INK, STYLE, VERMILLION, Drawing
from analysis.report.material import Material
from probing.scores import Record


@dataclass(frozen=True)
class Bar:
    """A site, or the model's answers. Shares."""

    name: str
    hca: tuple[float, float, float]
    leaf: tuple[float, float, float]
    product: float
    bounds: tuple[float, float]
    null: tuple[float, float]
    n: int
    leaves: int


def bars(material: Material) -> list[Bar]:
    """The best and last site of every stage, then the model's own answers."""
    hca = {record["site"]: record for record in material.model_sites}
    found = []
    for site in material.ends:
        record, leaf = hca[site], material.record(site, material.levels[-1])
        found.append(
            Bar(
                site,
                _span(record, "hca"),
                _span(leaf, "accuracy"),
                record["product"],
                (record["frechet_low"], record["frechet_high"]),
                (record["shuffled_low"], record["shuffled_high"]),
                record["n_test"],
                record["leaves_test"],
            )
        )
    return found + _answered(material)


def figure(found: list[Bar]) -> Drawing:
    """Horizontal bars, so that names stay readable."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(4.6, 0.62 * len(found) + 0.95), layout="constrained")
        panel = drawn.subplots()
        for row, bar in enumerate(found):
            for offset, (value, low, high), colour in ((-0.17, bar.hca, BLUE), (0.17, bar.leaf, GREEN)):
                label = {BLUE: "HCA", GREEN: "leaf level"}[colour] if row == 0 else None
                panel.barh(row + offset, 100 * value, 0.32, color=colour, alpha=0.75, label=label)
                panel.plot([100 * low, 100 * high], [row + offset] * 2, color=INK, lw=1)
            low, high = (100 * bound for bound in bar.bounds)
            label = "Fréchet bounds" if row == 0 else None
            panel.errorbar(
                [(low + high) / 2], [row - 0.41], xerr=[[max(high - low, 0) / 2]] * 2,
                color=GREY, capsize=2.5, lw=1, fmt="none", label=label,
            )  # fmt: skip
            label = "product of accuracies" if row == 0 else None
            panel.plot(100 * bar.product, row - 0.17, marker="D", ms=4.5, color=VERMILLION, ls="", label=label)
            label = "chance" if row == 0 else None
            left, right = (100 * value for value in bar.null)
            panel.barh(row - 0.17, max(right - left, 0.6), 0.44, left=left, color=GREY, alpha=0.6, label=label)
        panel.set_yticks(np.arange(len(found)), [bar.name for bar in found])
        panel.set(xlim=(0, 101), ylim=(len(found) - 0.45, -0.6), xlabel="% right")
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="x", color=GREY, alpha=0.25, lw=0.6)
        drawn.legend(loc="outside lower center", ncols=3, fontsize=7.5)
    return Drawing("hca", "HCA, leaf level, product of accuracies and Fréchet bounds at the ends of the stages", drawn)


def _span(record: Record, key: str) -> tuple[float, float, float]:
    return record[key], record[f"{key}_low"], record[f"{key}_high"]


def _answered(material: Material) -> list[Bar]:
    """The model's own answers, of the prompt and reading the verdict takes: among the options of its questions."""
    if material.images is None:
        return []
    rows = scores(material)
    by_level = {
        row["level"]: row for (reading, score, _), row in rows.items() if (reading, score) == ("reply", "accuracy")
    }
    if ("reply", "hca", None) not in rows or not by_level:
        return []
    record, leaf = rows["reply", "hca", None], rows.get(("reply", "leaf_accuracy", None), list(by_level.values())[-1])
    shares = [row["value"] for row in by_level.values()]
    product, low = float(np.prod(shares)), max(0.0, 1 - sum(1 - share for share in shares))
    chance = rows["chance", "hca", None]["value"]
    value, ends = (record["value"], record["low"], record["high"]), (leaf["value"], leaf["low"], leaf["high"])
    name = "own answers\n(of the options)"
    return [Bar(name, value, ends, product, (low, min(shares)), (chance, chance), record["n"], record["leaves"])]


def scores(material: Material) -> dict[tuple[str, str, str | None], Record]:
    """scores.parquet of the answers about the images, of the first prompt, by reading, score and level."""
    import pyarrow.parquet as pq

    assert material.images is not None
    file = material.images.path / "strict_v1" / "scores.parquet"
    if not file.is_file():
        return {}
    prompt = next(iter(material.images.settings["prompts"]))
    rows = [row for row in pq.read_table(file).to_pylist() if row["prompt"] == prompt]
    return {(row["reading"], row["score"], row["level"]): row for row in rows}
