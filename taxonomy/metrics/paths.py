"""Scores of predicted paths against true ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from commandline import InputError
from taxonomy.metrics.independence import independent_hca
from taxonomy.metrics.samples import sample_scores, tree_scores
from taxonomy.metrics.scores import NAN, PathScores
from taxonomy.tree import Taxonomy


def path_scores(
    predicted: ArrayLike,
    truth: ArrayLike,
    taxonomy: Taxonomy | None = None,
    *,
    options: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PathScores:
    """Score predicted paths; see `PathScores`.

    predicted, truth: int (sample, level), codes coarse to fine; a -1 in `truth` is a level the path does not have, or
        that is not scored (what is predicted there is not looked at), a -1 in `predicted` is an answer that names no
        node, and wrong.
    taxonomy: the one the codes are of, for the scores that look at the tree.
    options: int (sample, level, option), the codes of what was offered, -1 beyond (`Grid.nodes` of a question bank):
        for chance, and with a taxonomy for the achievable rate.
    cluster: (sample,), the leaf of each sample, for intervals that allow for leaves that succeed or fail as a whole.
    seed: of the bootstrap.

    Raises InputError for codes that are not integers or no nodes of the taxonomy, shapes that differ, no samples, a
    sample without any level, or options without the truth.
    """
    codes, true = _codes(predicted, "predicted"), _codes(truth, "true")
    if codes.shape != true.shape:
        raise InputError(f"the predicted codes have the shape {codes.shape}, the true ones {true.shape}")
    present = np.asfortranarray(true >= 0)  # level by level: all that follows goes down the columns
    if not len(true) or not present.any(axis=1).all():
        row = int(np.argmin(present.any(axis=1))) if len(true) else 0
        raise InputError(f"sample {row} has no true level" if len(true) else "there are no samples to score")
    groups = None if cluster is None else np.asarray(cluster)
    if groups is not None and groups.shape != (len(true),):
        raise InputError(f"cluster should name the leaf of each of the {len(true)} samples, not {groups.shape}")
    offered = None if options is None else _offered(options, true, present)
    right = present & (codes == true)
    scores = sample_scores(right, present)
    if taxonomy is not None:
        said = np.where(present, codes, -1)
        _check_nodes(said, true, taxonomy)
        scores |= tree_scores(said, true, taxonomy, offered)
    levels = [f"level {level}" for level in range(true.shape[1])]
    scores |= {name: np.where(present[:, k], right[:, k], np.nan) for k, name in enumerate(levels)}
    means = {name: _mean(values) for name, values in scores.items()}
    ratios = _ratios(right, present, present & (codes >= 0))
    micro = {name: _share(one.sum(), other.sum()) for name, (one, other) in ratios.items()}
    level_accuracy = np.array([means[name] for name in levels])
    return PathScores(
        hca=means["hca"],
        leaf_accuracy=means["leaf_accuracy"],
        level_accuracy=level_accuracy,
        por=means["por"],
        spor_prefix=means["spor_prefix"],
        spor_run=means["spor_run"],
        tor=means["tor"],
        consistency=means["consistency"],
        first_error=_first_error(right, present),
        independence_gap=means["hca"] - independent_hca(level_accuracy, present),
        **micro,
        lca_height=means.get("lca_height", NAN),
        severity=means.get("severity", NAN),
        tree_inconsistency=means.get("tree_inconsistency", NAN),
        achievable_inconsistency=means.get("achievable_inconsistency", NAN),
        chance={} if offered is None else _chance(offered, present),
        n=len(true),
        level_n=present.sum(axis=0),
        tor_n=int(np.isfinite(scores["tor"]).sum()),
        per_sample=scores,
        ratios=ratios,
        cluster=groups,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def leaf_given(predicted: ArrayLike, truth: ArrayLike) -> np.ndarray:
    """`predicted` with the finest level of every path taken from `truth`: what a text-only question, which names the
    leaf, is credited with. int (sample, level).

    The study's text HCA is `path_scores(leaf_given(predicted, truth), truth).hca` over the questions of images, so that
    a leaf weighs as many times as it has images; the cleaner one is the same over a bank of leaves (`--per leaf`),
    whose distractors no image chose.
    """
    codes, true = np.array(_codes(predicted, "predicted")), _codes(truth, "true")
    finest = true.shape[1] - 1 - (true[:, ::-1] >= 0).argmax(axis=1)
    rows = np.arange(len(true))
    codes[rows, finest] = true[rows, finest]
    return codes


def _first_error(right: np.ndarray, present: np.ndarray) -> np.ndarray:
    counts, before = [], np.ones(len(right), dtype=bool)
    for hit, here in zip(right.T, present.T, strict=True):
        error = before & here & ~hit
        counts.append(np.count_nonzero(error))
        before &= ~error
    return np.array([*counts, np.count_nonzero(before)]) / len(right)


def _ratios(right: np.ndarray, present: np.ndarray, named: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    hits, said, true = (part.sum(axis=1, dtype=np.int16).astype(np.float64) for part in (right, named, present))
    return {"h_precision": (hits, said), "h_recall": (hits, true), "h_f1": (2 * hits, said + true)}


def _chance(offered: np.ndarray, present: np.ndarray) -> dict[str, float]:
    """What guessing scores; offered: int (sample, level, option)."""
    guess = np.where(present, 1 / np.maximum((offered >= 0).sum(axis=2), 1), np.nan)
    finest = present.shape[1] - 1 - present[:, ::-1].argmax(axis=1)
    levels = {f"level {k}": _mean(column) for k, column in enumerate(guess.T)}
    return {
        "hca": float(np.nanprod(guess, axis=1).mean()),
        "leaf_accuracy": float(guess[np.arange(len(guess)), finest].mean()),
        "por": float(np.nanmean(guess, axis=1).mean()),
        **{name: chance for name, chance in levels.items() if np.isfinite(chance)},
    }


def _mean(values: np.ndarray) -> float:
    counts = np.isfinite(values)
    return _share(values.sum(where=counts), counts.sum())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else NAN


def _codes(values: ArrayLike, what: str) -> np.ndarray:
    codes = np.asarray(values)
    if codes.ndim != 2 or codes.dtype.kind not in "iu":
        raise InputError(f"the {what} codes should be integers (sample, level), not {codes.dtype} {codes.shape}")
    return codes


def _check_nodes(said: np.ndarray, true: np.ndarray, taxonomy: Taxonomy) -> None:
    if true.shape[1] != len(taxonomy.levels):
        raise InputError(f"the codes are of {true.shape[1]} levels, and the taxonomy has {len(taxonomy.levels)}")
    for level, name in enumerate(taxonomy.levels):
        for what, codes in (("predicted", said), ("true", true)):
            if codes[:, level].max() >= len(taxonomy.nodes(level)):
                raise InputError(f"a {what} code at the level {name!r} is {codes[:, level].max()}, which is no node's")


def _offered(options: ArrayLike, true: np.ndarray, present: np.ndarray) -> np.ndarray:
    offered = np.asarray(options)
    if offered.ndim != 3 or offered.shape[:2] != true.shape or offered.dtype.kind not in "iu":
        raise InputError(
            f"the options should be integers (sample, level, option) for {true.shape[0]} samples of {true.shape[1]} "
            f"levels, not {offered.dtype} {offered.shape}"
        )
    lacking = present & (offered != true[..., None]).all(axis=2)
    if lacking.any():
        row, level = np.argwhere(lacking)[0]
        raise InputError(f"the options of sample {row} at level {level} are without the true node")
    return offered
