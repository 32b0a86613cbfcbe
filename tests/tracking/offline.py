"""Reads back what wandb wrote offline: the .wandb file and the folder it lies in."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

BLOCK, HEADER = 32768, 7


@dataclass
class Logged:
    """An offline run."""

    folder: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    """Metric, or pattern of metrics -> its step."""
    used: dict[str, Any] = field(default_factory=dict)
    """Artifact by type."""
    made: dict[str, Any] = field(default_factory=dict)
    nodes: set[tuple[str, str, str]] = field(default_factory=set)
    """Type, name and digest of every artifact it used."""
    finished: bool = False

    def table(self, name: str) -> list[dict[str, Any]]:
        (file,) = self.folder.glob(f"files/media/table/tables/{name}_*.table.json")
        found = json.loads(file.read_text())
        return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]

    def bytes(self) -> bytes:
        """All that lies in the run's folder, and in the copies of its artifacts' files."""
        copies = [
            Path(entry.local_path)
            for artifact in [*self.used.values(), *self.made.values()]
            for entry in artifact.manifest.contents
            if entry.local_path
        ]
        return b"\n".join(path.read_bytes() for path in [*self.folder.rglob("*"), *copies] if path.is_file())


def only(folder: Path) -> Logged:
    """The only run under a folder."""
    (found,) = sorted((folder / "wandb").glob("offline-run-*"))
    return read(found)


def read(folder: Path) -> Logged:
    logged = Logged(folder)
    (file,) = folder.glob("*.wandb")
    for data in _records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            logged.run = record.run
            logged.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            logged.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "metric" and record.metric.step_metric:
            logged.steps[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "history":
            logged.history.append(
                {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            )
        elif kind == "summary":
            logged.summary |= {
                item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update
            }
        elif kind == "artifact":
            where = logged.used if record.artifact.use_after_commit else logged.made
            where[record.artifact.type] = record.artifact
            if record.artifact.use_after_commit:
                logged.nodes.add((record.artifact.type, record.artifact.name, record.artifact.digest))
        elif kind == "exit":
            logged.finished = True
    return logged


def _records(data: bytes) -> Iterator[bytes]:
    """LevelDB's log format after a header: records cut to fit blocks; 1 is a whole one, 2 to 4 first, middle, last."""
    position, record = HEADER, b""
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + HEADER])
        record += data[position + HEADER : position + HEADER + size]
        position += HEADER + size
        if kind in (1, 4):
            yield record
            record = b""
