"""What was measured of a model, as arrays over the test samples of its probes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.bottleneck.readable import NOWHERE, parents
from analysis.intervals import positions
from commandline import InputError
from probing.results import ProbeRun, default_out
from taxonomy import Taxonomy

Record = dict[str, Any]
SiteStage = Literal["encoder", "projector", "llm"]
STAGES: tuple[SiteStage, ...] = ("encoder", "projector", "llm")


@dataclass(frozen=True, eq=False)
class Probes:
    """What the probes of every site say of every test sample. Nodes have one numbering over all levels."""

    levels: tuple[str, ...]
    """The scored ones, coarse to fine."""
    sites: tuple[str, ...]
    stage_of: dict[str, str]
    ids: np.ndarray
    """str (sample,)."""
    leaf: np.ndarray
    """int (sample,)."""
    truth: np.ndarray
    """int32 (sample, level), -1 where a sample lacks the level."""
    predicted: np.ndarray
    """int32 (site, sample, level)."""
    nodes: tuple[str, ...]
    """Paths, joined by ` / `."""
    parent_of: np.ndarray
    """int (node,), -1 at the top."""
    records: dict[tuple[str, str], Record]
    """The row of probes.parquet of a site and level."""
    conditional: tuple[Record, ...]
    unscored: dict[str, str]
    summary: dict[str, Any]

    def of_stage(self, stage: str) -> list[str]:
        """Its sites, in order."""
        return [site for site in self.sites if self.stage_of[site] == stage]

    def picked(self, stage: str, level: str) -> str:
        """The stage's site where the level is read best on validation."""
        return max(self.of_stage(stage), key=lambda site: self.records[site, level]["validation_accuracy"])


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model itself said, at the test samples of the probes."""

    path: Path
    right: np.ndarray
    """float (sample, level): 1 right, 0 wrong; NaN where it was not asked, or its reply could not be read."""
    chance: np.ndarray
    """float (sample, level): a blind pick; NaN where it was not asked."""
    branch: np.ndarray
    """float (sample, level): 1 where the node that was named has the right parent, 0 where not; NaN as in `right`."""
    floor: np.ndarray
    """float (sample, level): a blind pick among the options that have the right parent; NaN where it was not asked."""

    @property
    def read(self) -> np.ndarray:
        """The share of replies that could be read, float (level,); NaN where nothing was asked."""
        asked = np.isfinite(self.chance)
        with np.errstate(invalid="ignore"):
            return (asked & np.isfinite(self.right)).sum(0) / asked.sum(0)


def read_probes(run: ProbeRun) -> Probes:
    """Raises InputError for what no verdict can rest on."""
    if run.summary["protocol"] != "strict":
        raise InputError(f"{run.path}: of the published protocol, whose numbers were picked on test; probe with strict")
    if run.summary["store"].get("kind", "images") != "images":
        raise InputError(f"{run.path}: probes of a text store; a verdict is about what becomes of images")
    sites = tuple(record["site"] for record in run.hca if record["stage"] in STAGES)
    if not sites:
        raise InputError(f"{run.path}: none of its sites is of the encoder, the projector or the LLM")
    levels = tuple(entry["level"] for entry in run.summary["levels"] if not entry["unscored"])
    table = run.predictions()
    table = table.filter(
        pc.call_function("is_in", [table["site"].cast(pa.string())], pc.SetLookupOptions(pa.array(sites)))
    )
    site, level = (positions(table[name], known) for name, known in (("site", sites), ("level", levels)))
    ids, sample = np.unique(table["id"].to_numpy(), return_inverse=True)
    nodes = list(dict.fromkeys([*_values(table["true_name"]), *_values(table["predicted_name"])]))
    truth = np.full((len(ids), len(levels)), NOWHERE, np.int32)
    predicted = np.full((len(sites), *truth.shape), NOWHERE, np.int32)
    leaf = np.zeros(len(ids), np.int64)
    leaf[sample] = table["leaf"].to_numpy()
    truth[sample, level] = positions(table["true_name"], nodes)
    predicted[site, sample, level] = positions(table["predicted_name"], nodes)
    return Probes(
        levels=levels,
        sites=sites,
        stage_of={record["site"]: record["stage"] for record in run.hca},
        ids=ids,
        leaf=leaf,
        truth=truth,
        predicted=predicted,
        nodes=tuple(nodes),
        parent_of=parents(nodes),
        records={(record["site"], record["level"]): record for record in run.probes},
        conditional=tuple(run.extra("conditional")),
        unscored={entry["level"]: entry["unscored"] for entry in run.summary["levels"] if entry["unscored"]},
        summary=run.summary,
    )


def read_answers(path: Path, probes: Probes, parser: str, prompt: str | None, *, text_only: bool) -> Answers:
    """The replies of a run of `python -m evaluation` to the questions about the probes' test samples, by name or about
    the images. Raises InputError."""
    from evaluation.results import AskRun
    from probing.questions import UNKNOWN, read_questions

    asked = AskRun.open(path)
    if asked.settings["text_only"] != text_only:
        here, other = ("about the images", "--images") if text_only else ("by name", "--names")
        raise InputError(f"{path} was asked {here}; give it as {other}")
    theirs = asked.settings.get("identity", {}).get("weights")
    ours = (probes.summary["store"].get("model") or {}).get("weights_hash")
    if theirs and ours and theirs != ours:
        raise InputError(
            f"{path} was answered by a model of other weights than the probes'; a verdict is about one model"
        )
    name = prompt or next(iter(asked.settings["prompts"]))
    bank = path / parser / f"answers-{name}.parquet"
    if not bank.is_file():
        raise InputError(
            f"{bank} is not there; `python -m evaluation reparse {path} --parser {parser}` makes it, for the prompts "
            f"{', '.join(asked.settings['prompts'])}"
        )
    tree = asked.taxonomy
    truth = _codes_in(path, tree, probes)
    questions = read_questions(bank, probes.ids.tolist(), tree, probes.levels, truth)
    count = (questions.options >= 0).sum(2)
    chance = np.where(count > 0, 1 / np.maximum(count, 1), np.nan)
    answers = np.full(count.shape, UNKNOWN) if questions.answers is None else questions.answers
    said = (count > 0) & (answers != UNKNOWN)
    right = np.where(said, answers == truth, np.nan)
    above = _parents(tree, probes.levels)
    branch, floor = np.full(count.shape, np.nan), np.full(count.shape, np.nan)
    for column, parent in enumerate(above):
        true = parent[np.maximum(truth[:, column], 0)]
        offered = questions.options[:, column]
        siblings = ((offered >= 0) & (parent[np.maximum(offered, 0)] == true[:, None])).sum(1)
        floor[:, column] = np.where(count[:, column] > 0, 1 / np.maximum(siblings, 1), np.nan)
        named = parent[np.maximum(answers[:, column], 0)] == true
        branch[:, column] = np.where(said[:, column], named, np.nan)
    return Answers(path, right, chance, branch, floor)


def _parents(tree: Taxonomy, levels: Sequence[str]) -> list[np.ndarray]:
    """int (node,) per level: the parent of each of its nodes, in one numbering over all of them."""
    names = [[" / ".join(node) for node in tree.nodes(level)] for level in levels]
    above = parents([name for nodes in names for name in nodes])
    ends = np.cumsum([len(nodes) for nodes in names])[:-1]
    return np.split(above, ends)


def _codes_in(path: Path, tree: Taxonomy, probes: Probes) -> np.ndarray:
    """The truth in the numbering of another tree, int32 (sample, level): a bank may be about more leaves than the
    store. Raises InputError for a node that is not there."""
    codes = np.full(probes.truth.shape, NOWHERE, np.int32)
    for column, level in enumerate(probes.levels):
        place = {" / ".join(node): code for code, node in enumerate(tree.nodes(level) if level in tree.levels else ())}
        for node in np.unique(probes.truth[probes.truth[:, column] >= 0, column]).tolist():
            if probes.nodes[node] not in place:
                raise InputError(
                    f"{path} was asked about another taxonomy: its nodes at {level} are not those of the probes "
                    f"({probes.nodes[node]!r} is none)"
                )
            codes[probes.truth[:, column] == node, column] = place[probes.nodes[node]]
    return codes


def read_geometry(path: Path) -> list[Record]:
    """The rows of a geometry's verdicts.parquet for class means and the Euclidean product. Raises InputError."""
    file = path / "verdicts.parquet"
    if not file.is_file():
        raise InputError(f"{path}: no geometry here; `python -m analysis geometry STORE` makes it")
    rows = pq.read_table(file).to_pylist()
    return [row for row in rows if (row["directions"], row["inner_product"]) == ("mean", "euclidean")]


def beside(run: ProbeRun, text_only: bool) -> Path | None:
    """The answers of the probed model in the folder of its results: about the images, or by name. None where there are
    none. Raises InputError where several are."""
    from evaluation.results import RECORD, AskRun

    weights = (run.summary["store"].get("model") or {}).get("weights_hash")
    found = []
    for record in sorted(run.path.parent.glob(f"*.ask/{RECORD}")):
        settings = AskRun.open(record.parent).settings
        theirs = settings.get("identity", {}).get("weights")
        shown = settings["text_only"] if text_only else not settings["text_only"] and settings["shown"] == "image"
        if shown and theirs is not None and theirs == weights:
            found.append(record.parent)
    if len(found) > 1:
        flag = "--names" if text_only else "--images"
        raise InputError(f"{', '.join(map(str, found))} are all answers of this model; say which with {flag}")
    return found[0] if found else None


def sibling(run: ProbeRun, kind: str) -> Path:
    """`<store>.<kind>`, wherever the run's own directory is called after the store."""
    return default_out(run.path.with_name(run.summary["store"]["name"]), "image").with_suffix(f".{kind}")


def number(value: Any) -> float:
    """NaN for what is not there."""
    return math.nan if value is None else float(value)


def _values(column: pa.ChunkedArray) -> list[str]:
    return column.cast(pa.string()).unique().to_pylist()
