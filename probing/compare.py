"""`python -m probing compare`: the published protocol and the strict one on the same store, and what lies between."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from commandline import InputError
from extract import Store
from extract.progress import bar
from hooks.sites import select_names
from probing.bootstrap import LeafBootstrap
from probing.certified import uncertified
from probing.compare_config import CompareConfig
from probing.compare_table import comparison_table
from probing.config import ProbeConfig
from probing.grid import resolve_device
from probing.ladder import CHANGES, PAPER, STEPS, STRICT, Ladder, climb
from probing.paper import CHOICES, published_levels
from probing.paper_training import PaperSettings
from probing.plan import Plan
from probing.protocol import Settings, probe_site
from probing.results import (
    COMPARISON,
    SUMMARY,
    ProbeRun,
    check_out,
    default_out,
    write_summary,
    write_table,
    writing,
)
from probing.rows import budget_of, choose_rows, plan_of, read_site
from probing.run import settings_of
from probing.scores import Record, Scorer
from probing.table import shortened
from probing.tracked import comparison_of
from tracking import own_folder, track

HCA = "HCA"
"""The level under which the tables hold HCA."""
ALL_SITES = "(mean)"
"""The site under which they hold the mean over the sites compared."""


def run(config: CompareConfig) -> None:
    """Compare the protocols on a store, write the tables and print them. Raises InputError before any work."""
    store = Store.open(config.store)
    chosen = select_names(list(store.sites), config.sites)  # pyright: ignore[reportArgumentType]
    out = Path(config.out) if config.out else own_folder(_default_out(config))
    check_out(out, COMPARISON)
    earlier = _strict_run(config, store)
    probing = _strict_config(config, earlier)
    refused = uncertified(store, chosen, config.allow_uncertified)
    budget = budget_of(probing)
    rows, _ = choose_rows(probing, store, budget)
    plan = plan_of(probing, store, rows)
    settings = replace(settings_of(probing, budget), controls=0)
    paper = PaperSettings(epochs=config.epochs, seed=config.seed, device=str(resolve_device(config.device)))
    scorer = Scorer(plan, draws=probing.bootstrap, seed=probing.seed, refit=probing.refit)
    found: list[Record] = []
    steps: list[Record] = []
    ladders: list[Ladder] = []
    with writing(out, COMPARISON) as folder:
        for name in bar(len(chosen), "site", "comparing", iterable=chosen):
            X, site = read_site(store, name, rows), store.sites[name]
            strict = _read_strict(earlier, name, plan) if earlier else None
            strict = strict or _fit_strict(X, plan, settings, scorer)
            ladders.append(climb(X, plan, strict.predicted, settings, paper))
            place = {"site": name, "stage": site.stage, "layer": site.layer, "certified": name not in refused}
            found += [place | record for record in _comparisons(plan, strict, ladders[-1], scorer.bootstrap)]
            steps += [{"site": name} | record for record in step_records(plan, ladders[-1].right, scorer.bootstrap)]
        steps += [{"site": ALL_SITES} | record for record in step_records(plan, _mean(ladders), scorer.bootstrap)]
        write_table(folder, "comparison", found)
        write_table(folder, "steps", steps)
        summary = _summary(config, probing, earlier, store, plan, paper)
        write_summary(folder, summary, COMPARISON)
    for line in shortened(config.epochs):
        print(line)
    print(comparison_table(found, [step for step in steps if step["site"] == ALL_SITES], [*plan.scored, HCA]))
    print(f"\n{out}: comparison.parquet, steps.parquet, summary.json")
    track(config.wandb, lambda: comparison_of(config, out, store))


@dataclass(frozen=True)
class Strict:
    """What the strict protocol says at one site.

    predicted: int (test unit, scored level). records: of each scored level, and HCA's last; with accuracy (or hca) and
    its interval, and the null.
    """

    predicted: np.ndarray
    records: list[Record]


def _strict_run(config: CompareConfig, store: Store) -> ProbeRun | None:
    """The strict run beside the store; None where there is none, or it is of another store of that name."""
    folder = default_out(config.store, config.split)
    if not (folder / SUMMARY).is_file():
        return None
    run = ProbeRun.open(folder)
    same = run.summary["store"]["attributes_sha256"] == _sha256(store) and run.summary["split"]["kind"] == config.split
    return run if same and run.summary["protocol"] == "strict" else None


def _strict_config(config: CompareConfig, earlier: ProbeRun | None) -> ProbeConfig:
    """The settings of the strict probes: those of the earlier run, or the defaults."""
    own = {name: getattr(config, name) for name in ("store", "device", "allow_partial", "allow_uncertified")}
    if earlier:
        return ProbeConfig.model_validate(earlier.summary["config"] | own)
    return ProbeConfig(split=config.split, seed=config.seed, bootstrap=config.bootstrap, **own)


def _read_strict(run: ProbeRun, site: str, plan: Plan) -> Strict | None:
    """What an earlier run says of a site; None where it has not probed it. Raises InputError where it does not fit."""
    whole = [record for record in run.hca if record["site"] == site]
    if not whole:
        return None
    levels = {record["level"]: record for record in run.probes if record["site"] == site}
    table = run.predictions()
    table = table.filter(pc.equal(pc.cast(table["site"], "string"), site))  # pyright: ignore
    names, guesses = table["level"].to_numpy(), table["predicted"].to_numpy()
    truth = plan.scored_path[plan.test_units]
    predicted = np.full(truth.shape, -1)
    for column, level in enumerate(plan.scored):
        has = truth[:, column] >= 0
        given = guesses[names == level]
        if level not in levels or len(given) != has.sum():
            raise InputError(f"{run.path}: its predictions at {site} are not of the rows of this store; probe it again")
        predicted[has, column] = given
    return Strict(predicted, [*(levels[level] for level in plan.scored), whole[0]])


def _fit_strict(X: np.ndarray, plan: Plan, settings: Settings, scorer: Scorer) -> Strict:
    probes = probe_site(X, plan, settings)
    levels, whole = scorer.score(probes)
    predicted = np.column_stack([probes.levels[level].predicted for level in plan.scored])
    return Strict(predicted, [*(record for record in levels if record["level"] in plan.scored), whole])


def _comparisons(plan: Plan, strict: Strict, ladder: Ladder, bootstrap: LeafBootstrap) -> list[Record]:
    """A record per scored level, and one of HCA: both protocols, and their paired difference."""
    records = []
    for column, (level, record) in enumerate(zip([*plan.scored, HCA], strict.records, strict=True)):
        key = "hca" if level == HCA else "accuracy"
        mine, theirs = ladder.right[STRICT][:, column], ladder.right[PAPER][:, column]
        paper_low, paper_high = bootstrap.interval(theirs)
        low, high = bootstrap.interval(theirs - mine, share=False)
        probe = ladder.paper.get(level)
        records.append(
            {
                "level": level,
                "n_test": int(np.isfinite(mine).sum()),
                "strict": record[key],
                "strict_low": record[f"{key}_low"],
                "strict_high": record[f"{key}_high"],
                "strict_converged": record["converged"],
                **{name: record[name] for name in ("shuffled", "shuffled_low", "shuffled_high")},
                "paper": float(np.nanmean(theirs)),
                "paper_low": paper_low,
                "paper_high": paper_high,
                "difference": float(np.nanmean(theirs - mine)),
                "difference_low": low,
                "difference_high": high,
                "paper_epoch": probe.best.epoch if probe else None,
                "paper_last_epoch": float(probe.test_accuracy[-1]) if probe else None,
                "solved_converged": ladder.converged,
            }
        )
    return records


def step_records(plan: Plan, right: dict[str, np.ndarray], bootstrap: LeafBootstrap) -> list[Record]:
    """A record per step and level (HCA last): accuracy, and the paired change against the step before it."""
    records = []
    taken = [step for step in STEPS if step in right]
    for place, step in enumerate(taken):
        for column, level in enumerate([*plan.scored, HCA]):
            here = right[step][:, column]
            low, high = bootstrap.interval(here)
            record = {"level": level, "place": place, "step": step, "changes": CHANGES[step]}
            record |= {"accuracy": float(np.nanmean(here)), "low": low, "high": high}
            if place:
                change = here - right[taken[place - 1]][:, column]
                low, high = bootstrap.interval(change, share=False)
                record |= {"change": float(np.nanmean(change)), "change_low": low, "change_high": high}
            records.append(record)
    return records


def _mean(ladders: Sequence[Ladder]) -> dict[str, np.ndarray]:
    """The share of sites at which each test unit is right, step by step; as `Ladder.right`."""
    return {step: np.mean([ladder.right[step] for ladder in ladders], axis=0) for step in ladders[0].right}


def _default_out(config: CompareConfig) -> Path:
    beside = default_out(config.store, config.split)
    return beside.with_name(beside.name.replace(".probe", ".compare"))


def _sha256(store: Store) -> str:
    text = json.dumps(dict(store.attrs), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _summary(
    config: CompareConfig,
    probing: ProbeConfig,
    earlier: ProbeRun | None,
    store: Store,
    plan: Plan,
    paper: PaperSettings,
) -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "protocol": "compare",
        "store": {"name": store.path.name, "attributes_sha256": _sha256(store)},
        "levels": list(plan.scored),
        "published_levels": published_levels(plan.taxonomy),
        "split": {"kind": config.split, "source": plan.split_source},
        "config": config.model_dump(mode="json", exclude={"wandb"}),
        "strict": {
            "read_from": str(earlier.path) if earlier else None,
            "config": probing.model_dump(mode="json", exclude={"wandb"}),
        },
        "paper": asdict(paper),
        "choices": [asdict(choice) for choice in CHOICES],
        "steps": CHANGES,
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "zarr", "pyarrow")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
