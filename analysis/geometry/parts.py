"""Finished sites, one file each, so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

if TYPE_CHECKING:
    from analysis.geometry.judging import Orthogonality

Record = dict[str, Any]
KINDS = ("table", "levels", "edges", "siblings", "overlap", "explained", "tree_correlation", "nodes")


@dataclass(frozen=True)
class Unit:
    """What is measured at a time."""

    site: str
    directions: str
    inner_product: str

    @property
    def place(self) -> Record:
        """The columns that say where a record is from."""
        return asdict(self)


@dataclass(frozen=True)
class Part:
    """What was found for one unit."""

    unit: Unit
    records: dict[str, list[Record]]
    """Of each of `KINDS`, and `verdicts`: parent, child, verdict, reason."""
    conditioning: Record
    rule: str
    cosines: np.ndarray
    """float32 (node, node)."""
    bootstrap: dict[tuple[str, str, str], np.ndarray]
    """The draws of every interval."""

    # What `versus` looks at.
    @property
    def table(self) -> list[Record]:
        return self.records["table"]

    @property
    def nodes(self) -> list[Record]:
        return self.records["nodes"]

    @property
    def settings(self) -> Record:
        return self.conditioning["settings"]

    @classmethod
    def of(cls, unit: Unit, found: Orthogonality) -> Part:
        verdicts = [
            {"parent": pair[0], "child": pair[1], "verdict": verdict, "reason": found.reasons[pair]}
            for pair, verdict in found.verdicts.items()
        ]
        records = {kind: [_plain(record) for record in getattr(found, kind)] for kind in KINDS}
        conditioning: Record = asdict(found.conditioning) | {"n_per_d": found.conditioning.n_per_d}
        draws = {key: np.asarray(values, np.float32) for key, values in found.bootstrap.items()}
        conditioning["settings"] = dict(found.settings)
        conditioning["shrinkage"] = {name: float(value) for name, value in conditioning["shrinkage"].items()}
        return cls(unit, records | {"verdicts": verdicts}, _plain(conditioning), found.rule, found.cosines, draws)


@dataclass(frozen=True)
class Parts:
    """A folder of parts that belong to one question; those of another are not looked at."""

    folder: Path
    question: str
    """A hash of everything that the numbers depend on."""

    @classmethod
    def of(cls, folder: Path, depends: Any) -> Parts:
        """depends: JSON-able."""
        text = json.dumps(depends, sort_keys=True, default=str)
        return cls(folder, hashlib.sha256(text.encode()).hexdigest()[:16])

    def read(self, unit: Unit) -> Part | None:
        """The part, if it is there, whole and of this question."""
        try:
            with np.load(self._file(unit), allow_pickle=False) as file:
                whole = json.loads(file["records"].tobytes())
                draws = {tuple(name): file[f"draws{place}"] for place, name in enumerate(whole["draws"])}
                return Part(unit, whole["records"], whole["conditioning"], whole["rule"], file["cosines"], draws)
        except (OSError, ValueError, KeyError, BadZipFile):
            return None

    def write(self, part: Part) -> None:
        """Whole or not at all."""
        whole = {
            "records": part.records,
            "conditioning": part.conditioning,
            "rule": part.rule,
            "draws": list(part.bootstrap),
        }
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"draws{place}": values for place, values in enumerate(part.bootstrap.values())}
        text = np.frombuffer(json.dumps(whole).encode(), np.uint8)
        np.savez(buffer, records=text, cosines=part.cosines, **arrays)
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f".{os.getpid()}.tmp"
        beside.write_bytes(buffer.getvalue())
        beside.replace(self._file(part.unit))

    def _file(self, unit: Unit) -> Path:
        return self.folder / f"{self.question}.{unit.site}.{unit.directions}.{unit.inner_product}.npz"


def _plain(record: Record) -> Record:
    """Python's own numbers."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in record.items()}
