"""The probes of one site as they come out of a protocol: what each says, and what it was fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from probing.controls import Labels
from probing.grid import Fit
from probing.plan import Plan


@dataclass(frozen=True)
class LevelProbe:
    """One level's probe, and what it says about the test units."""

    level: str
    fit: Fit
    classes: np.ndarray
    """int (class,): the codes it was trained on."""
    penalty: float
    validation: dict[float, tuple[float, float]]
    """Penalty -> (log-loss, accuracy) on validation."""
    path_converged: bool
    """Whether every probe that was compared on validation had converged."""
    n_train: int
    """Rows the reported probe was fitted on: train, and validation where it was refitted."""
    n_validation: int
    predicted: np.ndarray
    """int32 (test unit,): codes; -1 where the unit does not have the level."""
    log_loss: float
    """Mean over the test rows whose node was trained on."""
    log_probabilities: np.ndarray
    """float32 (test unit, class), natural logarithms; NaN where the unit does not have the level."""

    @property
    def converged(self) -> bool:
        """Whether the reported probe and those it was chosen from reached the tolerance."""
        return self.fit.converged and self.path_converged


@dataclass(frozen=True)
class ControlProbes:
    """The probes of a control's labels (`probing.controls`), by level."""

    labels: Labels
    levels: dict[str, LevelProbe]

    @property
    def converged(self) -> bool:
        return all(probe.converged for probe in self.levels.values())


@dataclass(frozen=True)
class SiteProbes:
    """The probes of one site. Units are `Plan.test_units`."""

    levels: dict[str, LevelProbe]
    validation: np.ndarray
    """int32 (validation unit, scored level): what the probes say that were fitted on train alone, at the chosen
    penalties. Units are `Plan.units(VALIDATION)`; -1 where the unit does not have the level."""
    leaf: LevelProbe | None
    """The probe that names leaves: that of the finest level where its nodes are the leaves; None where leaves cannot be
    predicted."""
    shuffled: np.ndarray
    """int32 (shuffle, test unit, scored level): what probes fitted on shuffled labels predict; -1 where the unit does
    not have the level."""
    shuffled_converged: bool
    shuffled_readings: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Paths that those probes give by each other reading (`probing.decoding`), as `shuffled`; none with the published
    protocol."""
    controls: tuple[ControlProbes, ...] = ()

    def predicted_leaf(self, plan: Plan) -> np.ndarray | None:
        """int32 (test unit,): the leaf each is taken for."""
        if self.leaf is None:
            return None
        return leaf_of_class(plan, np.arange(len(plan.taxonomy)))[self.leaf.predicted].astype(np.int32)


def leaf_of_class(plan: Plan, classes: np.ndarray) -> np.ndarray:
    """The leaf that each class (code) of the probe that names leaves stands for."""
    if plan.leaf_level is None:
        return classes
    return np.argsort(plan.taxonomy.codes[:, plan.taxonomy.level_index(plan.leaf_level)])[classes]
