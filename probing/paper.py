"""The `paper` protocol: how the study trains and reads its probes (arXiv 2505.24840, its published code), as it is.

One linear head per level (or its option, an MLP), Adam at 1e-4, 500 epochs, batches of 512 in the order of the file,
raw features, no validation; of each level the epoch with the best accuracy on test is reported. `CHOICES` says what a
reviewer objects to in that and what the `strict` protocol does instead; `python -m probing compare` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from probing.controls import shuffled_paths
from probing.grid import Fit, log_softmax
from probing.information import losses
from probing.paper_training import PaperProbe, PaperSettings, paper_probe
from probing.plan import ABSENT, Plan
from probing.site_probes import LevelProbe, SiteProbes
from taxonomy import Taxonomy
from taxonomy.splits import TEST, VALIDATION

CONVERGED = 1e-4
"""The gradient norm below which a fit would count as solved, as `strict` has it by default."""
PLANTS = "plantae", "tracheophyta"
"""The kingdom of iNat21-Plant, and the phylum of most of it, in lower case."""


@dataclass(frozen=True)
class Choice:
    """One thing the published code does, and why it is not what `strict` does."""

    paper: str
    strict: str
    why: str


CHOICES = (
    Choice(
        "each level reports the epoch with the best accuracy on test",
        "the penalty is chosen on validation, test is read once",
        "the best of 500 looks at test is above what the probe is worth, on pure noise too",
    ),
    Choice(
        "HCA joins the levels' probes from different epochs",
        "one probe per level, fixed before test is read",
        "no set of probes that existed at one time has that HCA",
    ),
    Choice(
        "iNat21-Plant: `order`, `family`, `genus` are probed with the labels of phylum, class, order",
        "each level is probed with its own labels",
        "family and genus are never probed; two easy levels count twice in HCA",
    ),
    Choice(
        "batches in the order of the file, which is sorted by class",
        "a convex problem, solved: the order of the rows cannot matter",
        "a batch of 512 holds few classes (17 of CUB-200's 200), so a step answers to those alone",
    ),
    Choice(
        "raw features",
        "features standardised on the training rows",
        "Adam's one step size meets features of every scale: sites of small activations train less",
    ),
    Choice(
        "500 epochs of Adam at 1e-4",
        "solved to a gradient norm, which is recorded; a fit that did not get there is marked",
        "how far training got differs between sites and levels, and shows as a difference in what they hold",
    ),
    Choice(
        "no penalty",
        "a penalty chosen on validation from one grid for all sites",
        "how long training lasts is the only regularisation, and wide sites overfit more",
    ),
    Choice(
        "one run, unseeded for images (seed 42 for text)",
        "explicit seeds",
        "nobody can run it again; a seed is required here too",
    ),
    Choice(
        "no interval, no null, no majority class",
        "bootstrap over leaves, shuffled labels, re-hung trees, control tasks",
        "an accuracy at a level with one common class tells nothing by itself",
    ),
    Choice(
        "a level of one class (iNat21's kingdom) counts as right",
        "it is kept and not scored",
        "it does not change HCA, but fills a column with 100 %",
    ),
)


def published_levels(taxonomy: Taxonomy) -> dict[str, str]:
    """{level: the level whose labels the published code gives it}, where they differ: on iNat21-Plant.

    It numbers kingdom 0, phylum 1, class 2 and then order 1, family 2, genus 3. The tree is known by its seven levels
    below the kingdom Plantae, or, the kingdom dropped, its six from the phylum Tracheophyta and others down.
    """
    levels, top = taxonomy.levels, {name.casefold() for name in taxonomy.names(0)}
    if len(levels) == 7 and top == {PLANTS[0]}:
        ranks = levels
    elif len(levels) == 6 and PLANTS[1] in top:
        ranks = ("", *levels)
    else:
        return {}
    return {ranks[3]: ranks[1], ranks[4]: ranks[2], ranks[5]: ranks[3]}


def published_plan(plan: Plan) -> Plan:
    """The plan with the labels that the published code gives each level (see `published_levels`)."""
    path = plan.path.copy()
    for level, read in published_levels(plan.taxonomy).items():
        if level in plan.levels:
            column = plan.levels.index(level)
            codes = plan.taxonomy.codes[plan.leaf, plan.taxonomy.level_index(read)]
            path[:, column] = np.where(path[:, column] >= 0, codes, ABSENT)
    return replace(plan, path=path)


def run_site(X: np.ndarray, plan: Plan, settings: PaperSettings | None = None) -> SiteProbes:
    """Probe one site as published: float32 features (row, feature), rows as in `plan`.

    Give it `published_plan(plan)`, and score with the same, for the published level map. Training is on train and
    validation together. A level's `fit` is the head at the epoch that was best on test: `n_iter` is that epoch,
    `objective` the cross-entropy of its training rows and `grad_norm` the gradient's norm, which nobody looked at.
    Of `shuffles` label sets, heads trained and read in the same way are beside it. There is no penalty (0), no
    validation (NaN, and -1 for all predictions), no control. Raises InputError for NaN features.
    """
    settings = settings or PaperSettings()
    labels = {level: plan.labels(level) for level in plan.scored}
    fitted = plan.split != TEST
    nulls = {
        f"{level} shuffled {shuffle}": plan.labels(level, path)
        for shuffle, (path, _) in enumerate(shuffled_paths(plan, fitted, settings.shuffles, settings.seed))
        for level in plan.scored
    }
    found = paper_probe(X, labels | nulls, plan.split, settings)
    levels = {level: _level_probe(level, X, plan, labels[level], found[level]) for level in plan.scored}
    shuffled = np.full((settings.shuffles, len(plan.test_units), len(plan.scored)), ABSENT, np.int32)
    for place, name in enumerate(nulls):
        shuffle, column = divmod(place, len(plan.scored))
        shuffled[shuffle, :, column] = by_unit(plan, found[name].best.predicted)
    return SiteProbes(
        levels,
        np.full((len(plan.units(VALIDATION)), len(plan.scored)), ABSENT, np.int32),
        levels[plan.leaf_level] if plan.leaf_lookup and plan.leaf_level else None,
        shuffled,
        False,
    )


def by_unit(plan: Plan, predicted: np.ndarray) -> np.ndarray:
    """int32 (test unit,): what was predicted for the test rows (row,), -1 where a unit has no row with the level."""
    rows = np.flatnonzero(plan.split == TEST)[predicted >= 0]
    out = np.full(len(plan.leaf), ABSENT, np.int32)
    out[plan.unit[rows]] = predicted[predicted >= 0]
    return out[plan.test_units]


def _level_probe(level: str, X: np.ndarray, plan: Plan, codes: np.ndarray, found: PaperProbe) -> LevelProbe:
    test = plan.split == TEST
    rows = np.flatnonzero(test & (codes >= 0))
    place = np.searchsorted(plan.test_units, plan.unit[rows])
    scores = np.full((len(plan.test_units), len(found.classes)), np.nan, np.float32)
    scores[place] = log_softmax(found.best.logits(X[rows]))
    truth = np.full(len(scores), ABSENT)
    truth[place] = codes[rows]
    counted = losses(scores, found.classes, truth)
    counted = counted[np.isfinite(counted)]
    return LevelProbe(
        level=level,
        fit=_fit(X, codes, ~test, found),
        classes=found.classes,
        penalty=0.0,
        validation={0.0: (float("nan"), float("nan"))},
        path_converged=True,
        n_train=int((~test & (codes >= 0)).sum()),
        n_validation=0,
        predicted=by_unit(plan, found.best.predicted),
        log_loss=float(counted.mean()) if len(counted) else float("nan"),
        log_probabilities=scores,
    )


def _fit(X: np.ndarray, codes: np.ndarray, fitted: np.ndarray, found: PaperProbe) -> Fit:
    """The last layer of the head that is reported, with the objective that nobody solved.

    The gradient is that of the last layer; two classes keep their two rows of weights only here, to be measured.
    """
    rows = fitted & (codes >= 0)
    hidden = X[rows]
    for weight, bias in found.best.layers[:-1]:
        hidden = np.maximum(hidden @ weight.T + bias, 0)
    weight, bias = found.best.layers[-1]
    log_probabilities = log_softmax((hidden @ weight.T + bias).astype(np.float64))
    place = np.searchsorted(found.classes, codes[rows])
    each = np.arange(len(place))
    residual = np.exp(log_probabilities)
    residual[each, place] -= 1
    norm = float(np.hypot(np.linalg.norm(residual.T @ hidden), np.linalg.norm(residual.sum(0))) / len(place))
    if len(found.classes) == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    loss = float(-log_probabilities[each, place].mean())
    return Fit(weight, bias, loss, norm, found.best.epoch, norm <= CONVERGED)
