"""Training as the published code trains: heads on raw features, read on test after every epoch.

Everything here works on arrays; `probing.paper` says what is trained for which site.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from commandline import InputError
from extract.progress import bar
from probing.adam import Heads, train
from probing.classifier import Standardised, standardised
from probing.grid import Target, as_features, make_target, resolve_device
from probing.plan import ABSENT
from taxonomy.splits import TEST

READ_ROWS = 8192
"""Test rows whose logits are held at once."""


@dataclass(frozen=True)
class PaperSettings:
    """The published choices; `python -m probing compare` changes them one by one.

    hidden: the published option, a hidden layer as wide as the features. published_levels: iNat21-Plant's level map as
    published. shuffles: probes of shuffled labels beside each level, trained and read in the same way.
    """

    learning_rate: float = 1e-4
    epochs: int = 500
    batch_size: int = 512
    hidden: bool = False
    shuffle: bool = False
    standardize: bool = False
    published_levels: bool = True
    shuffles: int = 3
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Snapshot:
    """A head after an epoch (1 is the first).

    layers: weights (outputs, inputs) and intercepts (outputs,), one pair for a linear head, two for an MLP, for the
    user's features. predicted: int32 (test row,), the codes it names, -1 for rows without the level.
    """

    epoch: int
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    predicted: np.ndarray

    def logits(self, X: np.ndarray) -> np.ndarray:
        """(sample, class)."""
        for weight, bias in self.layers[:-1]:
            X = np.maximum(X @ weight.T + bias, 0)
        weight, bias = self.layers[-1]
        return X @ weight.T + bias


@dataclass(frozen=True)
class PaperProbe:
    """The probe of one level: after the epoch that is reported, the best on test, and after the last."""

    classes: np.ndarray
    """int (class,): the codes it was trained on."""
    best: Snapshot
    last: Snapshot
    test_accuracy: np.ndarray
    """float64 (epoch,)."""
    loss: np.ndarray
    """float32 (epoch,): the mean over an epoch's batches, each before its step."""


def paper_probe(
    features: np.ndarray,
    labels: Mapping[str, np.ndarray],
    split: np.ndarray,
    settings: PaperSettings | None = None,
    description: str = "paper",
) -> dict[str, PaperProbe]:
    """Train a head per entry of `labels` on the rows that are not `test`, and read it on those that are.

    features: float32 (row, feature). labels: {name: int (row,)}, -1 = the row has no such level and is left out. split:
    (row,) of train, validation, test; the published code has no validation, so those rows are trained on. Heads with
    the same rows are trained as one module (`probing.adam`), on batches of those rows in their order. A head's start is
    drawn from the seed and its name, so it does not matter which others are trained beside it.

    Raises InputError for bad features, a level without training or test rows or of fewer than two classes in training.
    """
    settings = settings or PaperSettings()
    x_ND = as_features(features, "float32", resolve_device(settings.device))
    test = np.asarray(split) == TEST
    groups: dict[bytes, list[_Level]] = {}
    for name, codes in labels.items():
        level = _level(name, np.asarray(codes), test)
        groups.setdefault(level.rows.tobytes(), []).append(level)
    found: dict[str, PaperProbe] = {}
    with bar(settings.epochs * len(groups), "epoch", description, leave=False, delay=10) as progress:
        for group in groups.values():
            probes = _train_group(x_ND, group, test, settings, progress.update)
            found |= {level.target.name: probe for level, probe in zip(group, probes, strict=True)}
    return {name: found[name] for name in labels}


@dataclass(frozen=True)
class _Level:
    target: Target
    """Of the training rows."""
    rows: np.ndarray
    """bool (row,): those that have the level."""
    label: np.ndarray
    """int64 (training row with the level,), positions among the classes."""
    truth: np.ndarray
    """int64 (test row with the level,), the same; -1 for a class that was never trained on."""


def _level(name: str, codes: np.ndarray, test: np.ndarray) -> _Level:
    rows = codes >= 0
    for part, chosen in (("training", rows & ~test), (TEST, rows & test)):
        if not chosen.any():
            raise InputError(f"level {name!r} has no {part} rows; leave it out")
    target = make_target(name, codes[~test], int((~test).sum()))
    tested = codes[rows & test]
    place = np.searchsorted(target.classes, tested).clip(max=len(target.classes) - 1)
    truth = np.where(target.classes[place] == tested, place, -1)
    return _Level(target, rows, target.labels[target.labels >= 0], truth)


@dataclass
class _Reading:
    """What test has said of a head so far. The first of equally good epochs is kept, as in the published code."""

    accuracy: list[float]
    epoch: int
    values: list[Tensor]
    answer_N: Tensor

    def see(self, epoch: int, accuracy: float, values: list[Tensor], answer_N: Tensor) -> None:
        if not self.accuracy or accuracy > max(self.accuracy):
            self.epoch, self.values, self.answer_N = epoch, [value.clone() for value in values], answer_N
        self.accuracy.append(accuracy)


def _train_group(
    x_ND: Tensor, levels: list[_Level], test: np.ndarray, settings: PaperSettings, tick: Callable[[], object]
) -> list[PaperProbe]:
    """The probes of levels that have the same rows."""
    train_rows, test_rows = (torch.from_numpy(levels[0].rows & part).to(x_ND.device) for part in (~test, test))
    at = standardised(x_ND[train_rows], scale=settings.standardize, centre=settings.standardize)
    test_ND = ((x_ND[test_rows] - at.shift_F) / at.scale_F).float()
    label_PN = torch.from_numpy(np.stack([level.label for level in levels])).to(x_ND.device)
    truth_PN = torch.from_numpy(np.stack([level.truth for level in levels])).to(x_ND.device)
    heads = Heads(
        x_ND.shape[1],
        [len(level.target.classes) for level in levels],
        x_ND.shape[1] if settings.hidden else None,
        x_ND,
        [_generator(settings.seed, level.target.name) for level in levels],
    )
    epochs = train(
        heads,
        at.z_NF.float(),
        label_PN,
        learning_rate=settings.learning_rate,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        shuffle=_generator(settings.seed, "batches") if settings.shuffle else None,
    )
    readings = [_Reading([], 0, [], truth_N) for truth_N in truth_PN]
    losses, answer_PN = [], truth_PN
    for epoch, loss_P in enumerate(epochs, 1):
        losses.append(loss_P)
        answer_PN = _answers(heads, test_ND)
        accuracy_P = (answer_PN == truth_PN).double().mean(1).tolist()
        for place, reading in enumerate(readings):
            reading.see(epoch, accuracy_P[place], heads.head(place), answer_PN[place])
        tick()
    loss_EP = torch.stack(losses).cpu().numpy()
    return [
        PaperProbe(
            level.target.classes,
            _snapshot(level, test, at, reading.epoch, reading.values, reading.answer_N),
            _snapshot(level, test, at, settings.epochs, heads.head(place), answer_PN[place]),
            np.array(reading.accuracy),
            loss_EP[:, place],
        )
        for place, (level, reading) in enumerate(zip(levels, readings, strict=True))
    ]


@torch.no_grad()
def _answers(heads: Heads, test_ND: Tensor) -> Tensor:
    """int64 (head, sample): the position of the most probable class."""
    parts = [
        torch.stack([logits_NK.argmax(1) for logits_NK in heads(chunk_ND).split(heads.widths, 1)])
        for chunk_ND in test_ND.split(READ_ROWS)
    ]
    return torch.cat(parts, 1)


def _snapshot(
    level: _Level, test: np.ndarray, at: Standardised, epoch: int, values: list[Tensor], answer_N: Tensor
) -> Snapshot:
    """`values`: weights and intercepts in turn, for features that are standardised as `at` says."""
    first = values[0].double() / at.scale_F
    moved = [first, values[1].double() - first @ at.shift_F, *values[2:]]
    arrays = [value.float().cpu().numpy() for value in moved]
    predicted = np.full(int(test.sum()), ABSENT, np.int32)
    predicted[level.rows[test]] = level.target.classes[answer_N.cpu().numpy()]
    return Snapshot(epoch, tuple(zip(arrays[::2], arrays[1::2], strict=True)), predicted)


def _generator(seed: int, purpose: str) -> torch.Generator:
    """Draws of their own for each purpose, on the CPU: the same on every device."""
    words = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
