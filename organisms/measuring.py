"""An organism measured by the project's own commands, exactly as any model would be."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from organisms.training.recipes import LEVELS

COMMANDS = {"extract": "images", "probing": "run", "evaluation": "ask", "taxonomy": "questions", "analysis": "report"}
"""The packages whose commands are run, and what each does unless told otherwise."""
LOG = "log.txt"
MADE_FROM = "made-from.json"
"""In an organism's folder of results, once all are there: what they were made from."""
INSIDE = "llm.final+projector"
"""What the projector has beyond the LLM's last site: the verdict on a loss inside the LLM rests on it."""


class Failed(Exception):
    """A command that did not succeed; what it said is in the log."""


@dataclass(frozen=True)
class Share:
    """A share of samples with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Lost:
    """What the verdict says of a level (`analysis.bottleneck`)."""

    stage: str
    """In the words of its JSON: encoder, projector, llm, text, binding, answers, none, not identifiable."""
    confident: bool
    strength: float | None
    """The share lost there, with its 95 % interval; None where not identifiable."""
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Measured:
    """What the commands say of an organism. Keys of the inner mappings: `hca` or a level."""

    visual: Mapping[str, Share]
    """Questions about images: the replies."""
    text: Mapping[str, Share]
    """Questions about the species' names; no leaf level."""
    chance: Mapping[str, float]
    """`visual`, `text`: HCA by guessing."""
    probes: Mapping[str, Mapping[str, Share]]
    """Of every site. `majority` and `rehung` (HCA of shuffled taxonomies) beside."""
    held_out: Mapping[str, Mapping[str, Share]]
    """Of every site, parents of species that no probe was fitted on."""
    certified: bool
    """Whether every site is covered by the store's certificate."""
    verdict: Mapping[str, Lost] = field(default_factory=dict)
    """Per level; empty in measurements from before there was one."""
    orthogonal: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of every site, per level below the first: orthogonal to the level above, violated, or not identifiable; empty
    where it was not measured."""

    def stage(self, stage: str) -> str:
        """The last site of `encoder`, `projector` or `llm`."""
        return [site for site in self.probes if site.split(".")[0] == stage][-1]

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Measured:
        """Of what `to_dict` gave."""

        def shares(given: Mapping[str, Any]) -> dict[str, Share]:
            return {key: Share(**share) for key, share in given.items()}

        return cls(
            visual=shares(entries["visual"]),
            text=shares(entries["text"]),
            chance=entries["chance"],
            probes={site: shares(given) for site, given in entries["probes"].items()},
            held_out={site: shares(given) for site, given in entries["held_out"].items()},
            certified=entries["certified"],
            verdict={level: Lost(**lost) for level, lost in entries.get("verdict", {}).items()},
            orthogonal=entries.get("orthogonal", {}),
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(*argv: str | Path, log: Path) -> None:
    """`python -m ARGV` in this process; what it prints goes to the end of `log`. Raises Failed."""
    from commandline import main

    package, words = str(argv[0]), [str(word) for word in argv[1:]]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        commands = import_module(f"{package}.__main__").COMMANDS
        status = main(f"python -m {package}", commands, COMMANDS[package], words)
    line = f"$ python -m {package} {shlex.join(words)}"
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n{said.getvalue()}\n")
    if status:
        last = said.getvalue().strip().splitlines()[-1:] or ["it said nothing"]
        raise Failed(f"{line}\n{last[0]}\n(all of it: {log})")


def ask_about(manifest: Path, out: Path, log: Path) -> Path:
    """The bank of questions about the test images of a rendered world, wrong options from the nearest branches."""
    bank = out / "questions.parquet"
    settings = ("--distractors", "sibling", "--splits", "test", "--overwrite", "true")
    run("taxonomy", "questions", "--images", manifest, *settings, "--output", bank, log=log)
    return bank


def measure(model: Path, manifest: Path, bank: Path, out: Path, device: str = "auto") -> Measured:
    """Run the commands on a checkpoint; store, answers, probes, verdict, report and log go to `out`. Raises Failed."""
    out.mkdir(parents=True, exist_ok=True)
    log, store = out / LOG, out / "store.zarr"
    on = ("--device", device)
    run("extract", "--model", model, "--dataset", manifest, "--store", store, *on, log=log)
    asked = ("--model", model, "--questions", bank, *on)
    run("evaluation", *asked, "--images", manifest.parent, "--out", out / "images.ask", log=log)
    run("evaluation", *asked, "--text_only", "true", "--out", out / "names.ask", log=log)
    (answers,) = (out / "images.ask").glob("strict_v1/answers-*.parquet")
    run("probing", store, "--questions", answers, "--conditional", INSIDE, *on, log=log)
    run("probing", store, "--split", "leaf", *on, log=log)
    run("analysis", "geometry", store, "--inner_products", "euclidean", "--draws", "200", *on, log=log)
    run("analysis", "verdict", store, log=log)
    run("analysis", "report", store, log=log)
    return read(out)


def resume(model: Path, manifest: Path, bank: Path, out: Path, device: str = "auto") -> Measured:
    """`measure`, or what it left in `out` where that is of the same weights, images and questions. Raises Failed."""
    sources, mark = made_from(model, manifest, bank), out / MADE_FROM
    if mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == sources:
        run("analysis", "verdict", out / "store.zarr", log=out / LOG)  # cheap, and its rule may have changed
        return read(out)
    if out.exists():
        shutil.rmtree(out)
    found = measure(model, manifest, bank, out, device)
    mark.write_text(json.dumps(sources), encoding="utf-8")
    return found


def made_from(model: Path, manifest: Path, bank: Path) -> dict[str, str]:
    """What results are of: the sha256 of the weights, the images' manifest and the questions."""
    files = (model / "model.safetensors", manifest, bank)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def read(out: Path) -> Measured:
    """What `measure` left in `out`."""
    visual, chance = _answers(out / "images.ask", "hca")
    text, text_chance = _answers(out / "names.ask", "text_hca_study")
    probes, certified = _probes(out / "store.probe", (*LEVELS,))
    held_out, _ = _probes(out / "store.probe-leaf", LEVELS[:-1])
    guessing = {"visual": chance, "text": text_chance}
    return Measured(visual, text, guessing, probes, held_out, certified, verdict(out), _orthogonal(out))


def verdict(out: Path) -> dict[str, Lost]:
    """Of every level, as `python -m analysis verdict` left it in `out`."""
    levels = json.loads((out / "store.verdict" / "verdict.json").read_text(encoding="utf-8"))["levels"]
    keys = ("stage", "confident", "strength", "low", "high")
    return {level["level"]: Lost(**{key: level[key] for key in keys}) for level in levels}


def _orthogonal(out: Path) -> dict[str, dict[str, str]]:
    """Of every site, per child level, as `python -m analysis geometry` left it in `out`; empty where it did not run."""
    found: dict[str, dict[str, str]] = {}
    summary = out / "store.geometry" / "summary.json"
    if not summary.is_file():
        return found
    for entry in json.loads(summary.read_text(encoding="utf-8"))["verdicts"]:
        found.setdefault(entry["site"], {})[entry["child"]] = entry["verdict"]
    return found


def _answers(folder: Path, hca: str) -> tuple[dict[str, Share], float]:
    """Of the replies as read; and HCA by guessing."""
    rows = _rows(folder / "strict_v1" / "scores.parquet")
    found = {(row["reading"], row["score"], row["level"]): row for row in rows}
    shares = {"hca": _share(found["reply", hca, None], "value", "")}
    for level in LEVELS:
        if ("reply", "accuracy", level) in found:
            shares[level] = _share(found["reply", "accuracy", level], "value", "")
    return shares, float(found["chance", "hca", None]["value"])


def _probes(folder: Path, levels: tuple[str, ...]) -> tuple[dict[str, dict[str, Share]], bool]:
    """Of every site; and whether all of them are certified."""
    rows = _rows(folder / "probes.parquet")
    sites: dict[str, dict[str, Share]] = {row["site"]: {} for row in rows}
    for row in _rows(folder / "hca.parquet"):
        sites[row["site"]]["hca"] = _share(row, "hca", "hca_")
        if row.get("rehung") is not None:
            sites[row["site"]]["rehung"] = _share(row, "rehung", "rehung_")
    for row in rows:
        if row["level"] in levels:
            sites[row["site"]][row["level"]] = _share(row, "accuracy", "accuracy_")
            sites[row["site"]][f"majority {row['level']}"] = Share(row["majority"], row["majority"], row["majority"])
    return sites, all(row["certified"] for row in rows)


def _share(row: Mapping[str, Any], value: str, prefix: str) -> Share:
    return Share(*(float(row[name]) for name in (value, f"{prefix}low", f"{prefix}high")))


def _rows(file: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(file).to_pylist()
