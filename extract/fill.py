"""The loop: samples in, batches through the model, rows into the store, unit after unit."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from commandline import InputError, first_line
from extract.layout import OK
from extract.loader import Encoded, Inputs, batches
from extract.writer import Writer

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 4
"""Batches' worth of samples that may wait for others of their shape."""
COLLECT_EVERY = 32
"""Batches between garbage collections: a traced forward that stops early leaves tensors in reference cycles."""


@dataclass(frozen=True)
class Model:
    """What the loop needs of a model, as functions."""

    read: Callable[[Sequence[Inputs]], Mapping[str, Tensor]]
    """Samples of equal signature -> {site: float tensor (sample, feature)}."""
    signature: Callable[[Inputs], Hashable]
    sees: Callable[[Inputs], bool]
    """Whether the sample has a visual token at all."""


@dataclass
class Tally:
    """What became of the samples so far, in this run."""

    done: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    """Reason -> number of samples."""
    smallest_batch: int | None = None
    """The batch size that memory allowed, where it was less than the one asked for."""


def fill(
    writer: Writer, samples: Iterator[Encoded], model: Model, batch_size: int, progress: Callable[[Tally], None]
) -> Tally:
    """Extract every pending unit of the writer's store and return what became of the samples.

    `samples` gives each pending unit's rows, unit after unit, in any order within it. `progress` is called whenever
    samples are done. Raises InputError when the disk is full, or when the model takes nothing of a new store's first
    unit.
    """
    filling = _Filling(writer, model, batch_size, progress)
    gc.collect()
    gc.freeze()  # what is here now stays: a collection need not look through the model and every library each time
    try:
        for unit in writer.pending:
            filling.unit(unit, islice(samples, len(unit)))
    finally:
        gc.unfreeze()
    return filling.tally


class _Filling:
    def __init__(self, writer: Writer, model: Model, batch_size: int, progress: Callable[[Tally], None]) -> None:
        self.writer, self.model, self.batch_size, self.progress = writer, model, batch_size, progress
        self.tally = Tally()
        self.sha256: dict[int, str] = {}
        self.status: dict[int, str] = {}
        self.accepted, self.refused = 0, 0  # samples of this unit, by the model

    def unit(self, unit: range, samples: Iterator[Encoded]) -> None:
        self.sha256, self.status = dict.fromkeys(unit, ""), dict.fromkeys(unit, OK)
        self.accepted = self.refused = 0
        grouped = batches(self.usable(samples), self.model.signature, self.batch_size, WINDOW * self.batch_size)
        for number, batch in enumerate(grouped, start=1):
            for part, values in self.read(batch):
                broken = self.writer.put(unit, [sample.row for sample in part], values)
                for row, site in broken.items():
                    self.quarantine(row, f"NaN or infinity at {site}")
            self.advance(len(batch))
            if number % COLLECT_EVERY == 0:
                gc.collect()
        nothing_before = unit == self.writer.units[0] and self.writer.pending == self.writer.units
        if self.refused and not self.accepted and nothing_before:
            reason = next(reason for reason in self.status.values() if reason != OK)
            raise InputError(f"the model takes none of the first {len(unit):,} images: {reason}")
        self.writer.commit(unit, [self.sha256[row] for row in unit], [self.status[row] for row in unit])
        gc.collect()

    def usable(self, samples: Iterator[Encoded]) -> Iterator[Encoded]:
        """Pass on what can go through the model; note every sample's hash, and the reason against the others."""
        for sample in samples:
            self.sha256[sample.row] = sample.sha256
            if sample.inputs is None:
                self.quarantine(sample.row, sample.reason or "cannot be encoded")
                self.advance(1)
            elif not self.model.sees(sample.inputs):
                self.quarantine(sample.row, "no visual token: the prompt has no place for the image")
                self.advance(1)
            else:
                yield sample

    def read(self, batch: list[Encoded]) -> Iterator[tuple[list[Encoded], Mapping[str, Tensor]]]:
        """The batch through the model: whole if it can be, else in halves, down to the samples that are at fault."""
        import torch

        try:
            values = self.model.read([sample.inputs for sample in batch if sample.inputs is not None])
        except torch.OutOfMemoryError:
            problem = "out of memory on this image alone; a lower --max_pixels makes it smaller"
            self.tally.smallest_batch = min(self.tally.smallest_batch or len(batch), max(1, len(batch) // 2))
        except ValueError as error:
            problem = f"the model refuses it: {first_line(error)}"
        else:
            self.accepted += len(batch)
            yield batch, values
            return
        # Only here, outside the handlers, are the exception and the activations that its traceback held gone.
        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()
        if len(batch) > 1:
            half = len(batch) // 2
            yield from self.read(batch[:half])
            yield from self.read(batch[half:])
        else:
            self.refused += 1
            self.quarantine(batch[0].row, problem)

    def quarantine(self, row: int, reason: str) -> None:
        self.status[row] = reason
        self.tally.quarantined[reason] += 1

    def advance(self, samples: int) -> None:
        self.tally.done += samples
        self.progress(self.tally)
