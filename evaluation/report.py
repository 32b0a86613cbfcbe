"""What a parser makes of a run: scores as Parquet, a JSON summary, the printed table, and a bank of its answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.config import ReparseConfig
from evaluation.reading import NOT_ASKED, Reading, read
from evaluation.results import AskRun, write_whole
from evaluation.scores import Record, records
from evaluation.table import table
from evaluation.tracked import answers_of
from tracking import track

NO_OPTION = "(no option)"
"""The answer of a reply that names no option, in the bank of answers: no node's name, so it counts as wrong."""


def reparse(config: ReparseConfig) -> None:
    """Read a run's answers with a parser, and print the scores."""
    print(report(AskRun.open(config.run), config.parser, config.bootstrap))
    track(config.wandb, lambda: answers_of(config, Path(config.run)))


def report(run: AskRun, parser: str, draws: int = 2000) -> str:
    """Score a run, write <run>/<parser>/ and return the table. Raises InputError where nothing is answered yet.

    scores.parquet: `evaluation.scores.records`. parsed.parquet: per question and rotation, the option that was read and
    how. answers-<prompt>.parquet: `id, level, options, answer` as `python -m probing --questions` reads it.
    """
    answers = run.answers()
    names = [name for name in run.settings["prompts"] if name in set(answers["prompt"].to_pylist())]
    found: list[Record] = []
    readings = [read(run, answers, name, parser) for name in names]
    for reading in readings:
        found += records(reading, run.settings["text_only"], draws)
    about = _about(run, answers, parser, readings)
    folder = run.path / parser
    folder.mkdir(exist_ok=True)
    _write(folder / "scores.parquet", pa.Table.from_pylist(found))
    _write(folder / "parsed.parquet", pa.concat_tables([_parsed(reading) for reading in readings]))
    for reading in readings:
        _write(folder / f"answers-{_file(reading.prompt)}.parquet", answer_bank(reading))
    summary = about | {"scores": [{key: _json(value) for key, value in record.items()} for record in found]}
    write_whole(folder / "summary.json", (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode())
    bank = folder / f"answers-{_file(names[0])}.parquet"
    return f"{table(found, about)}\n\n{folder}: scores.parquet, parsed.parquet, summary.json\n" + _recovery(run, bank)


def answer_bank(reading: Reading) -> pa.Table:
    """`id, level, options, answer` of the replies in the bank's own order: what probes are compared with."""
    options = reading.options.to_pylist()
    if reading.reads == "yes_no":
        yes = reading.said == 0
        said = [int(row.argmax()) if row.any() else -1 for row in yes]
    else:
        said = reading.said[:, 0].tolist()
    return pa.table(
        {
            "id": pa.array(reading.images[reading.sample].tolist(), pa.string()),
            "level": pa.array([reading.taxonomy.levels[index] for index in reading.level], pa.string()),
            "options": reading.options,
            "answer": pa.array(
                [NO_OPTION if chosen < 0 else names[chosen] for names, chosen in zip(options, said, strict=True)],
                pa.string(),
            ),
        }
    )


def _parsed(reading: Reading) -> pa.Table:
    rows, turns = (reading.said != NOT_ASKED).nonzero()
    return pa.table(
        {
            "prompt": pa.array([reading.prompt] * len(rows), pa.string()),
            "id": pa.array(reading.images[reading.sample[rows]].tolist(), pa.string()),
            "level": pa.array([reading.taxonomy.levels[index] for index in reading.level[rows]], pa.string()),
            "rotation": pa.array(turns, pa.int16()),
            "option": pa.array(reading.said[rows, turns], pa.int8()),
            "answer": pa.array(reading.answer[rows], pa.int8()),
            "how": pa.array(reading.how[rows, turns].tolist(), pa.string()),
        }
    )


def _about(run: AskRun, answers: pa.Table, parser: str, readings: list[Reading]) -> dict[str, Any]:
    settings = run.settings
    asks = run.record["about"].get("asks", answers.num_rows)
    return {
        "kind": "ask-scores",
        "model": settings["model"]["model"],
        "identity": settings.get("identity", {}),
        "dataset": settings["bank"]["dataset"],
        "bank": settings["bank"]["sha256"],
        "text_only": settings["text_only"],
        "shown": settings["shown"],
        "parser": parser,
        "answers": answers.num_rows,
        "asks": asks,
        "unfinished": asks > answers.num_rows or any(reading.unfinished for reading in readings),
        "tokens_in": int(sum(answers["tokens_in"].to_pylist())),
        "tokens_out": int(sum(answers["tokens_out"].to_pylist())),
    }


def _recovery(run: AskRun, bank: Path) -> str:
    if run.settings["text_only"]:
        return f"beside text probes: python -m probing TEXT_STORE --questions {bank}"
    return f"beside the probes of the same images: python -m probing STORE --questions {bank}"


def _write(path: Path, rows: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    write_whole(path, sink.getvalue())


def _file(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
