"""The folder of a run: what was asked (run.json), and what came back, in Parquet parts that only ever are added to.

    <run>/run.json               what an answer depends on: bank, prompts, rotations, model, ...
    <run>/taxonomy.json          the bank's tree
    <run>/answers/part-*.parquet raw answers, a row per ask
    <run>/<parser>/              what that parser makes of them: `evaluation.report` writes it

A part is written beside, synced and renamed, so a process killed at any moment leaves whole parts only.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from commandline import InputError
from evaluation.asking import Asked
from evaluation.asks import Answer
from taxonomy import Taxonomy

SCHEMA_VERSION = 1
KIND = "ask"
RECORD, TAXONOMY, ANSWERS = "run.json", "taxonomy.json", "answers"
NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("position", pa.int64()),  # of the ask in the run, whatever was asked first
        ("question", pa.string()),
        ("image", pa.string()),
        ("leaf", NAME),
        ("level", NAME),
        ("prompt", NAME),
        ("rotation", pa.int16()),
        ("order", pa.list_(pa.int16())),  # the bank's options, as they were shown
        ("options", pa.list_(pa.string())),  # in the bank's order, as are `nodes` and `answer`
        ("nodes", pa.list_(pa.int32())),
        ("answer", pa.int16()),
        ("asks", pa.int32()),  # about the image in all: it is finished when there are as many rows
        ("text", pa.string()),
        ("letter_logits", pa.list_(pa.float32())),  # as shown
        ("tokens_in", pa.int32()),
        ("tokens_out", pa.int32()),
        ("status", NAME),
        ("error", NAME),
    ]
)


@dataclass(frozen=True, eq=False)
class AskRun:
    """A run, finished or not."""

    path: Path
    record: dict[str, Any]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> AskRun:
        """Raises InputError where there is no run, or one of another version."""
        folder = Path(path)
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: no run of `python -m evaluation` here; it would hold {RECORD}") from error
        if not isinstance(record, dict) or record.get("kind") != KIND:
            raise InputError(f"{folder}: its {RECORD} is not that of a run of `python -m evaluation`")
        if record.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{folder}: a run of version {record.get('schema_version')!r}, this taxoprobe reads {SCHEMA_VERSION}; "
                "ask again"
            )
        return cls(folder, record)

    @property
    def settings(self) -> dict[str, Any]:
        """What an answer depends on."""
        return self.record["settings"]

    @cached_property
    def taxonomy(self) -> Taxonomy:
        return Taxonomy.from_json(self.path / TAXONOMY)

    def parts(self) -> list[Path]:
        """The files of answers, the oldest first."""
        return sorted((self.path / ANSWERS).glob("part-*.parquet"))

    def answers(self) -> pa.Table:
        """All answers in the order of the asks; of two to one ask (an error, asked again) the later. `SCHEMA`."""
        parts = self.parts()
        if not parts:
            raise InputError(f"{self.path}: nothing has been answered yet; run `python -m evaluation` again")
        table = pa.concat_tables([_read(part) for part in parts]).unify_dictionaries()
        position = table["position"].to_numpy()
        order = np.lexsort((np.arange(len(position)), position))
        last = np.append(position[order][1:] != position[order][:-1], True)
        return table.take(pa.array(order[last])).combine_chunks()

    def done(self, size: int, retry_errors: bool = False) -> np.ndarray:
        """bool (position,): which asks have an answer; those that gave an error count unless they are to be retried."""
        done = np.zeros(size, bool)
        for part in self.parts():
            table = _read(part, ["position", "status"])
            fine = np.asarray(table["status"].cast(pa.string()).to_pylist(), dtype=object) == "ok"
            position = table["position"].to_numpy()
            done[position] = fine | (not retry_errors)
        return done


def begin(path: Path, settings: Mapping[str, Any], taxonomy: Taxonomy, about: Mapping[str, Any]) -> AskRun:
    """The run at `path` to go on with, or a new one. Raises InputError where something else, or another run, is there.

    settings: what an answer depends on; about: what is only noted (paths, device, versions).
    """
    if (path / RECORD).is_file():
        run = AskRun.open(path)
        require_same(run, settings)
        return run
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists and is no run; choose another --out")
    record = {"schema_version": SCHEMA_VERSION, "kind": KIND, "settings": dict(settings), "about": dict(about)}
    try:
        (path / ANSWERS).mkdir(parents=True, exist_ok=True)
        write_whole(path / TAXONOMY, json.dumps(taxonomy.to_dict(), ensure_ascii=False).encode())
        _write_record(path, record)  # last: a folder with a record is whole
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another --out") from error
    return AskRun(path, record)


def require_same(run: AskRun, settings: Mapping[str, Any]) -> None:
    """Raise InputError, naming the first setting that differs, where the run was begun with others."""
    there, here = _flat(run.settings), _flat(settings)
    for key in dict.fromkeys([*here, *there]):
        if key in there and key in here and there[key] == here[key]:
            continue
        if key.startswith("identity.") and not any(name.startswith("identity.") for name in there.keys() & here.keys()):
            continue  # one side has not loaded the model yet
        raise InputError(
            f"{run.path} was asked with {key} = {_shown(there.get(key))}, and this is {_shown(here.get(key))}; "
            "answers are not mixed: choose another --out, or the same settings"
        )


def identify(run: AskRun, identity: Mapping[str, Any]) -> AskRun:
    """The run with its model's identity, noted at first and compared ever after. Raises InputError where it differs."""
    if "identity" in run.settings:
        require_same(run, run.settings | {"identity": json.loads(json.dumps(dict(identity)))})
        return run
    record = run.record | {"settings": run.settings | {"identity": dict(identity)}}
    _write_record(run.path, record)
    return AskRun(run.path, json.loads(json.dumps(record)))


class AnswerWriter:
    """Adds answers to a run, a part whenever `rows` have come together or `seconds` have passed."""

    def __init__(self, run: AskRun, rows: int, seconds: float = 30.0) -> None:
        self._folder = run.path / ANSWERS
        for left in self._folder.glob(".part-*"):  # of a process that was killed while it wrote
            left.unlink()
        parts = run.parts()
        self._next = int(parts[-1].stem.removeprefix("part-")) + 1 if parts else 0
        self._limit, self._seconds = rows, seconds
        self._rows: list[dict[str, Any]] = []
        self._since = time.monotonic()

    def add(self, asked: Asked, answer: Answer) -> None:
        self._rows.append(_row(asked, answer))
        if len(self._rows) >= self._limit or time.monotonic() - self._since >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Write what has come since the last part."""
        if self._rows:
            path = self._folder / f"part-{self._next:06d}.parquet"
            sink = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA), sink)
            write_whole(path, sink.getvalue())
            self._rows, self._next = [], self._next + 1
        self._since = time.monotonic()


def write_whole(path: Path, data: bytes | pa.Buffer) -> None:
    """Write a file so that it is there whole or not at all, whenever the machine stops."""
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the right to write a run; the kernel takes it back when the process dies. Raises InputError where held."""
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror}; choose another --out") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is asking into {path}; wait for it, or stop it") from None
        yield
    finally:
        os.close(descriptor)


def _row(asked: Asked, answer: Answer) -> dict[str, Any]:
    question, logits = asked.question, answer.letter_logits
    return {
        "position": asked.position,
        "question": question.id,
        "image": question.image,
        "leaf": question.leaf,
        "level": question.level,
        "prompt": asked.prompt,
        "rotation": asked.rotation,
        "order": asked.order,
        "options": question.options,
        "nodes": question.nodes,
        "answer": question.answer,
        "asks": asked.asks,
        "text": answer.text,
        "letter_logits": None if logits is None else np.asarray(logits, np.float32).tolist(),
        "tokens_in": answer.tokens_in,
        "tokens_out": answer.tokens_out,
        "status": answer.status,
        "error": answer.error,
    }


def _read(part: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(part, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{part} is damaged ({error}); remove it, and what it held is asked again") from error


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    write_whole(path / RECORD, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def _flat(values: Any, above: str = "") -> dict[str, Any]:
    """Every setting by its dotted name, as JSON would give it back."""
    if not isinstance(values, Mapping) or not values:
        return {above.rstrip("."): json.loads(json.dumps(values))}
    return {name: value for key, item in values.items() for name, value in _flat(item, f"{above}{key}.").items()}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
