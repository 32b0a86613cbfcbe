"""What a run of questions tells wandb: its scores, and the answers as they were read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from evaluation.config import AskConfig, ReparseConfig, ZeroShotConfig
from evaluation.results import AskRun
from tracking import Files, Record, settings


def answers_of(config: AskConfig | ReparseConfig, out: Path) -> Record:
    """The record of a run at `out`, as the settings' parser reads it.

    Raw replies, and the address of a server, stay here: the artifact is what the parser made of them.
    """
    run = AskRun.open(out)
    rows = pq.read_table(out / config.parser / "scores.parquet").to_pylist()
    made = answer_files(run, config.parser)
    asked = isinstance(config, AskConfig)
    return Record(
        job="ask" if asked else "reparse",
        config=settings(config),
        summary={**_summary(rows), **made.about},
        tables={"scores": rows},
        used=[bank_files(run.settings["bank"])],
        made=[made],
        secret_variables=(config.api_key_env,) if asked else (),
    )


def answer_files(run: AskRun, parser: str) -> Files:
    """What a parser made of a run's replies as an artifact, without the replies."""
    about = {key: (run.settings.get(part) or {}).get(key) for part, key in (("model", "model"), ("bank", "dataset"))}
    return Files(f"{run.path.name}-{parser}", "answers", (run.path / parser,), about=about)


def bank_files(bank: Mapping[str, Any]) -> Files:
    """A question bank as an artifact, by its hash. bank: as a run's settings describe it."""
    return Files(str(bank["dataset"]), "questions", (), {"sha256": bank["sha256"]})


def zero_shot_of(config: ZeroShotConfig, out: Path) -> Record:
    """The record of a dual encoder's classification at `out`."""
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    rows = [{**row, "n": summary["n"]} for row in summary["scores"]]
    return Record(
        job="zero_shot",
        config=settings(config),
        summary={f"{row['reading']}/{row['score']}": row["value"] for row in rows} | {"n": summary["n"]},
        tables={"scores": rows},
        used=[bank_files({"sha256": record["bank"], "dataset": Path(config.questions).name.split(".")[0]})],
        made=[Files(out.name, "answers", (out / "predictions", out / "summary.json"))],
    )


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of every prompt and reading, the scores; of the first of them once more under plain names (`hca`)."""
    found: dict[str, Any] = {}
    first = (rows[0]["prompt"], rows[0]["reading"])
    for row in rows:
        where = (row["prompt"], row["reading"])
        score = f"{row['level']}/{row['score']}" if row["level"] else row["score"]
        found["/".join([*where, score])] = row["value"]
        if where == first:
            found[score] = row["value"]
            if row["score"] == "hca":
                found |= {f"{score}_low": row["low"], f"{score}_high": row["high"], "n": row["n"]}
    return found
