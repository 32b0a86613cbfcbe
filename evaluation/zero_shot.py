"""`python -m evaluation zero_shot`: a dual encoder over the full label set, with no options to choose from.

Three readings: the nearest name at each level by itself; the leaves' probabilities summed up the tree, so that a node
never has less than its children; and the path of the most probable leaf, which is consistent by construction.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from tqdm import tqdm

from commandline import InputError
from evaluation.config import ZeroShotConfig
from evaluation.results import only_writer, write_whole
from evaluation.table import aligned, percent
from evaluation.tracked import zero_shot_of
from taxonomy import Taxonomy
from taxonomy.metrics import PathScores, path_scores
from taxonomy.names import counted
from taxonomy.questions import Bank
from tracking import own_folder, track

READINGS = ("nearest name", "summed up the tree", "path of the leaf")


@dataclass(frozen=True, eq=False)
class Tree:
    """A taxonomy's levels laid out side by side for sums over leaves. Build it with `Tree.of`."""

    sums: Tensor
    """sparse float32 (node, leaf): 1 where the leaf lies below the node; the nodes of all levels, one after another."""
    starts: tuple[int, ...]
    """Where each level's nodes start, and where the last ends."""
    codes: np.ndarray
    """int32 (leaf, level), as the taxonomy's."""
    leaves: np.ndarray
    """int64 (leaf,): each leaf's own node, which need not be of the last level."""

    @classmethod
    def of(cls, taxonomy: Taxonomy, device: torch.device | str = "cpu") -> Tree:
        codes = taxonomy.codes
        starts = np.concatenate([[0], np.cumsum([len(taxonomy.nodes(level)) for level in taxonomy.levels])])
        leaf, level = np.nonzero(codes >= 0)
        node = codes[leaf, level] + starts[level]
        last = taxonomy.depths - 1
        leaves = codes[np.arange(len(codes)), last] + starts[last]
        places = torch.tensor(np.stack([node, leaf]))
        sums = torch.sparse_coo_tensor(
            places, torch.ones(len(leaf)), (int(starts[-1]), len(codes)), check_invariants=True
        )
        return cls(sums.to(device), tuple(starts.tolist()), codes, leaves)

    def probabilities(self, logits: Tensor) -> Tensor:
        """float32 (image, node): the softmax over leaves of logits (image, leaf), summed over each node's leaves."""
        return torch.sparse.mm(self.sums, logits.softmax(1).T).T

    def levels(self, values: Tensor) -> Iterator[Tensor]:
        """The columns of each level, of (image, node)."""
        yield from (values[:, start:stop] for start, stop in zip(self.starts, self.starts[1:], strict=False))


def predict(tree: Tree, logits: Tensor) -> dict[str, np.ndarray]:
    """Codes int32 (image, level) by reading; logits (image, node) of the names of all levels, one after another.

    summed up the tree: each level's most probable node by the sums; path of the leaf: the most probable leaf and its
    ancestors, -1 below it.
    """
    leaf_logits = logits[:, tree.leaves]
    summed = tree.probabilities(leaf_logits)
    leaf = leaf_logits.argmax(1).cpu().numpy()
    by_level = {
        name: np.stack([part.argmax(1).cpu().numpy() for part in tree.levels(values)], 1).astype(np.int32)
        for name, values in zip(READINGS, (logits, summed), strict=False)
    }
    return by_level | {READINGS[2]: tree.codes[leaf]}


def run(config: ZeroShotConfig) -> None:
    """Classify a bank's images, write the predictions and print the scores. Goes on where it was stopped."""
    from evaluation.asking import plan
    from evaluation.backends.dual_encoder import identity, open_encoder
    from evaluation.run import PLAIN, open_bank

    bank = open_bank(config)
    asks = plan(
        bank,
        [PLAIN],
        Path(config.images),
        split=config.split,
        limit=config.limit,
        per_leaf=config.per_leaf,
        seed=config.seed,
    )
    default = Path("runs") / f"{Path(config.model).name}-{bank.dataset}.zero-shot"
    out = Path(config.out) if config.out else own_folder(default)
    with only_writer(out):
        encoder = open_encoder(config)
        about = {
            "kind": "zero-shot",
            "bank": bank.sha256,
            "model": Path(config.model).name,
            **identity(encoder),
            **{name: getattr(config, name) for name in ("split", "limit", "per_leaf", "seed", "batch_size")},
        }
        _begin(out, about)
        tree = Tree.of(bank.taxonomy, encoder.loaded.device)
        names = [name for level in bank.levels for name in bank.taxonomy.names(level)]
        for number, images in _waiting(out, len(asks.images), config.batch_size):
            files = [file for file in (asks.files[image] for image in images) if file is not None]
            places, pictures, broken = encoder.read(files)
            codes: dict[str, np.ndarray] = {}
            if places:
                codes = predict(tree, encoder.logits(encoder.images(pictures), names))
            _write(out, number, bank, asks.images[images], places, codes, broken)
    print(_table(out, bank, config))
    track(config.wandb, lambda: zero_shot_of(config, out))


def _begin(out: Path, about: dict[str, Any]) -> None:
    record = out / "run.json"
    if record.is_file():
        there = json.loads(record.read_text(encoding="utf-8"))
        for key in dict.fromkeys([*about, *there]):
            if there.get(key) != about.get(key):
                was, wanted = there.get(key), about.get(key)
                raise InputError(f"{out} was made with {key} = {was!r}, and this is {wanted!r}; choose another --out")
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} exists and is no zero-shot run; choose another --out")
    (out / "predictions").mkdir(parents=True, exist_ok=True)
    write_whole(record, (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())


def _waiting(out: Path, images: int, size: int) -> Iterator[tuple[int, list[int]]]:
    """The batches of images that are not written yet, with their numbers."""
    every = enumerate(list(range(first, min(first + size, images))) for first in range(0, images, size))
    left = [(number, some) for number, some in every if not _part(out, number).is_file()]
    done = images - sum(len(some) for _, some in left)
    watched = sys.stderr.isatty()
    with tqdm(total=images, initial=done, unit="image", desc=out.name, mininterval=0.2 if watched else 30) as bar:
        for number, some in left:
            yield number, some
            bar.update(len(some))


def _part(out: Path, number: int) -> Path:
    return out / "predictions" / f"part-{number:06d}.parquet"


def _write(
    out: Path,
    number: int,
    bank: Bank,
    images: np.ndarray,
    places: list[int],
    codes: dict[str, np.ndarray],
    broken: dict[int, str],
) -> None:
    """A row per image: id, leaf, status, and each reading's codes over levels (null for an unreadable image)."""
    rows = bank.starts[:-1][images]
    columns: dict[str, Any] = {
        "id": pa.array(bank.table["id"].take(rows).to_pylist(), pa.string()),
        "leaf": pa.array(bank.table["leaf"].take(rows).to_pylist(), pa.int32()),
        "status": pa.array([broken.get(place, "ok") for place in range(len(images))], pa.string()),
    }
    for reading in READINGS:
        found: list[list[int] | None] = [None] * len(images)
        for row, place in enumerate(places):
            found[place] = codes[reading][row].tolist()
        columns[reading] = pa.array(found, pa.list_(pa.int32()))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    write_whole(_part(out, number), sink.getvalue())


def scores(out: Path, taxonomy: Taxonomy, draws: int = 2000) -> dict[str, PathScores]:
    """The path scores of each reading, over the images that could be read; levels of one node are not scored."""
    table = pq.read_table(out / "predictions")
    table = table.filter(pa.array([status == "ok" for status in table["status"].to_pylist()]))
    if not table.num_rows:
        raise InputError(f"{out}: not one image could be read; predictions/ says why")
    scored = [index for index, level in enumerate(taxonomy.levels) if len(taxonomy.nodes(level)) > 1]
    leaf = table["leaf"].to_numpy()
    truth = taxonomy.codes[leaf][:, scored]
    return {
        reading: path_scores(np.array(table[reading].to_pylist())[:, scored], truth, cluster=leaf, resamples=draws)
        for reading in READINGS
    }


def _table(out: Path, bank: Bank, config: ZeroShotConfig) -> str:
    found = scores(out, bank.taxonomy, config.bootstrap)
    levels = [level for level in bank.levels if len(bank.taxonomy.nodes(level)) > 1]
    some = found[READINGS[0]]
    rows = [["", *levels, "HCA", "POR"]]
    records = []
    for reading, values in found.items():
        spans = [values.intervals[f"level {index}"] for index in range(len(levels))] + [values.intervals["hca"]]
        numbers = [*values.level_accuracy, values.hca]
        cells = [
            f"{percent(v)} [{percent(low)}, {percent(high)}]" for v, (low, high) in zip(numbers, spans, strict=True)
        ]
        rows.append([reading, *cells, percent(values.por)])
        for name, value, (low, high) in zip([*levels, "HCA"], numbers, spans, strict=True):
            records.append({"reading": reading, "score": name, "value": float(value), "low": low, "high": high})
    counts = [len(bank.taxonomy.nodes(level)) for level in levels]
    rows.append(["blind pick", *(percent(1 / count) for count in counts), "", ""])
    rows.append(["names", *(f"{count:,}" for count in counts), "", ""])
    write_whole(out / "summary.json", (json.dumps({"n": some.n, "scores": records}, indent=1) + "\n").encode())
    unread = pq.read_table(out / "predictions", columns=["status"])["status"].to_pylist()
    lost = sum(status != "ok" for status in unread)
    note = f"; {counted(lost, 'image')} could not be read, left out" if lost else ""
    head = f"{Path(config.model).name} on {bank.dataset}, every name of a level offered: {some.n:,} images{note}"
    return "\n".join(
        [head, "% right [95 % interval over leaves]", "", aligned(rows), "", f"{out}: predictions/, summary.json"]
    )
