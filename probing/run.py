"""`python -m probing`: from a store to tables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from commandline import InputError
from extract import SiteInfo, Store
from extract.progress import bar
from hooks.sites import select_names
from probing.baselines import baselines, name_baselines, text_baselines
from probing.certified import overview, uncertified
from probing.changepoint import change_points
from probing.choices import choice_records
from probing.conditional import conditional, parse_pairs
from probing.config import ProbeConfig, check_protocol
from probing.description import description
from probing.draws import Draw
from probing.grid import resolve_device
from probing.nulls import Nulls, mark_chance
from probing.paper import published_levels, published_plan, run_site
from probing.paper_training import PaperSettings
from probing.penalties import penalty_records
from probing.plan import Plan
from probing.protocol import Settings, probe_draws
from probing.provenance import summarise
from probing.questions import Questions, read_questions
from probing.reading import SiteFeatures
from probing.results import PredictionWriter, check_out, default_out, write_summary, write_table, writing
from probing.rows import at_depth, budget_of, check_budget, draw_rows, features_of, open_store, read_site
from probing.scores import Record, Scorer
from probing.site_probes import SiteProbes
from probing.table import table
from probing.tracked import record_of
from probing.versus import Rival
from tracking import own_folder, track


def run(config: ProbeConfig) -> None:
    """Probe a store, write the results and print them. Raises InputError before any work where that can be seen."""
    started = time.monotonic()
    check_protocol(config)
    store = open_store(config)
    chosen = at_depth(select_names(list(store.sites), config.sites), config.depth)  # pyright: ignore[reportArgumentType]
    sites = [store.sites[name] for name in chosen]
    refused = uncertified(store, chosen, config.allow_uncertified)
    pairs = parse_pairs(config.conditional or (), list(store.sites))
    out = Path(config.out) if config.out else own_folder(default_out(store.path, config.split, config.protocol))
    check_out(out)
    budget = budget_of(config)
    settings, published = settings_of(config, budget), _published(config)
    rows, draws, copies = draw_rows(config, store, budget)
    first, plan = rows[draws[0].rows], draws[0].plan
    if not published:
        check_budget(config, store, chosen, len(rows), plan, budget)
    ids = store.samples.id[first].tolist()
    rivals = [
        Rival.open(name, path, ids)
        for name, path in (("random_init", config.random_init), ("pixel_shuffled", config.pixel_shuffled))
        if path
    ]
    read = published_levels(plan.taxonomy) if published else {}
    plan = published_plan(plan) if read else plan
    scorer = Scorer(plan, draws=config.bootstrap, seed=config.seed, refit=config.refit, labels_of=read)
    others = [Scorer(draw.plan, draws=1, seed=config.seed, refit=config.refit) for draw in draws[1:]]
    names = _unit_names(store, first, plan)
    if config.questions and read:
        raise InputError(
            f"--questions cannot be kept to with --protocol paper on this tree: the published code gives "
            f"{', '.join(read)} the labels of {', '.join(read.values())}; leave it out"
        )
    questions = _questions(config, plan, names, scorer)
    sources = [*_baselines(config, store, rows), *((site, None) for site in sites)]
    probes: list[Record] = []
    hca: list[Record] = []
    nulls: list[Nulls] = []
    hits: list[np.ndarray] = []
    lengths: list[Record] = []
    weighed: list[Record] = []
    streamed: list[str] = []
    with writing(out) as folder:
        predictions = PredictionWriter(folder)
        for site, given in bar(len(sources), "site", "probing", iterable=sources):
            X = given if given is not None else features_of(store, site.name, rows, None if published else budget)
            streamed += [] if isinstance(X, np.ndarray) else [site.name]
            found, *again = _probed(X, plan, draws, settings, published)
            hits.append(scorer.hits(found))
            nulls.append(scorer.nulls(found))
            levels, whole = scorer.score(found, nulls[-1])
            if published:
                whole["validation_hca"] = float("nan")  # there is no validation: those rows are trained on
            more = [rival.records(site.name, plan, settings, scorer, found) for rival in rivals]
            more += [choice_records(scorer, found, questions)] if questions else []
            more += [seed_records([scorer, *others], [found, *again])] if config.seeds > 1 else []
            place = {"site": site.name, "stage": site.stage, "layer": site.layer, "width": site.width}
            place["certified"] = site.name not in refused
            probes += [place | record | _merged(by.get(record["level"], {}) for by, _ in more) for record in levels]
            hca.append(place | whole | _merged(record for _, record in more))
            predictions.write(_predictions(site.name, plan, found, names, read))
            weighed += [place | record for record in penalty_records(plan, found)]
            if config.description and isinstance(X, np.ndarray):  # `check_budget` has seen to that
                lengths += [
                    place | record for record in description(X[draws[0].rows], plan, settings, config.bootstrap)
                ]
        predictions.close()
        mark_chance(probes, hca, nulls)
        write_table(folder, "probes", probes)
        write_table(folder, "hca", hca)
        write_table(folder, "changepoints", _changes([site for site, _ in sources], np.array(hits), scorer))
        write_table(folder, "description", lengths)
        write_table(folder, "penalties", weighed)
        write_table(folder, "conditional", _conditional(store, first, pairs, plan, settings, scorer))
        summary = summarise(config, store, plan, settings, time.monotonic() - started)
        summary |= {} if published else {"memory_budget": budget >> 20, "streamed": streamed}
        summary |= {"draws": [list(draw.seeds) for draw in draws]}
        summary |= {"certificate": overview(store), "uncertified": refused, "duplicates": copies}
        write_summary(folder, summary)
    print(table(probes, hca, summary, wide=config.wide))
    print(f"\n{out}: probes.parquet, hca.parquet, predictions.parquet, summary.json")
    track(config.wandb, lambda: record_of(config, out, store))


def _published(config: ProbeConfig) -> PaperSettings | None:
    """The published training's settings, where it is that protocol."""
    if config.protocol != "paper":
        return None
    device = str(resolve_device(config.device))
    return PaperSettings(epochs=config.epochs, shuffles=config.shuffles, seed=config.seed, device=device)


def _probed(
    X: SiteFeatures, plan: Plan, draws: Sequence[Draw], settings: Settings, published: PaperSettings | None
) -> list[SiteProbes]:
    """The probes of a site, draw by draw."""
    if published is None:
        return probe_draws(X, draws, settings)
    assert isinstance(X, np.ndarray)
    return [run_site(X, plan, published)]


def seed_records(scorers: Sequence[Scorer], found: Sequence[SiteProbes]) -> tuple[dict[str, Record], Record]:
    """How far accuracy (by level) and HCA go apart over draws: mean, least and most."""
    shares: dict[str, list[float]] = {}
    for scorer, probes in zip(scorers, found, strict=True):
        means = np.nanmean(scorer.hits(probes), axis=0, dtype=float)
        for name, share in zip([*scorer.plan.scored, "HCA"], means.tolist(), strict=True):
            shares.setdefault(name, []).append(share)
    whole = _apart("hca", shares.pop("HCA"))
    return {level: _apart("accuracy", values) for level, values in shares.items()}, whole


def _apart(name: str, values: Sequence[float]) -> Record:
    return {
        f"{name}_seed_mean": float(np.mean(values)),
        f"{name}_seed_low": min(values),
        f"{name}_seed_high": max(values),
    }


def settings_of(config: ProbeConfig, budget: int) -> Settings:
    """How its probes are fitted, in so many bytes. Raises InputError for a device that is not there."""
    return Settings(
        penalties=tuple(config.penalties),
        select=config.select,
        refit=config.refit,
        shuffles=config.shuffles,
        controls=config.controls,
        tol=config.tol,
        max_iter=config.max_iter,
        seed=config.seed,
        device=str(resolve_device(config.device)),
        memory_budget=budget,
    )


def _questions(config: ProbeConfig, plan: Plan, names: np.ndarray, scorer: Scorer) -> Questions | None:
    if config.questions is None:
        return None
    return read_questions(config.questions, names.tolist(), plan.taxonomy, plan.scored, scorer.truth)


def _baselines(config: ProbeConfig, store: Store, rows: np.ndarray) -> list[tuple[SiteInfo, np.ndarray]]:
    """Sites that no model was needed for, with their features."""
    if not config.baselines:
        return []
    if store.samples.level is None:
        found = baselines(store, store.samples.id[rows].tolist())
    elif store.attrs.get("pool"):
        found = text_baselines(store, rows)
    else:  # a store that does not say which tokens it pools
        found = name_baselines([store.taxonomy.paths[leaf][-1] for leaf in store.samples.leaf[rows]])
    return [
        (SiteInfo(name, "baseline", None, "input", "output", X.shape[1], "float32", "", None), X)
        for name, X in found.items()
    ]


def _changes(sites: Sequence[SiteInfo], hits: np.ndarray, scorer: Scorer) -> list[Record]:
    """The change-points of every stage, and of all its sites together; hits float (site, test unit, level + 1)."""
    names = (*scorer.plan.scored, "HCA")
    records: list[Record] = []
    stages = dict.fromkeys(site.stage for site in sites)
    for stage in [*stages, "all"]:
        chosen = [
            index for index, site in enumerate(sites) if stage in (site.stage, "all") and site.stage != "baseline"
        ]
        if stage == "all" and len(stages) == 1:
            continue
        found = change_points(
            hits[chosen], [sites[index].name for index in chosen], names, scorer.bootstrap, scorer.seed
        )
        records += [{"stage": stage} | record for record in found]
    return records


def _conditional(
    store: Store,
    rows: np.ndarray,
    pairs: Sequence[tuple[str, str]],
    plan: Plan,
    settings: Settings,
    scorer: Scorer,
) -> list[Record]:
    records: list[Record] = []
    for earlier, later in bar(len(pairs), "pair", "conditional", iterable=pairs) if pairs else ():
        before, after = (read_site(store, name, rows) for name in (earlier, later))
        records += [
            {"earlier": earlier, "later": later} | record
            for record in conditional(before, after, plan, settings, scorer)
        ]
    return records


def _merged(records: Iterable[Record]) -> Record:
    return {key: value for record in records for key, value in record.items()}


def _unit_names(store: Store, rows: np.ndarray, plan: Plan) -> np.ndarray:
    """The id of each test unit: the sample's, or in a text store the leaf's label."""
    if store.samples.level is not None:
        return np.array([plan.taxonomy.leaves[leaf] for leaf in plan.leaf[plan.test_units]])
    return store.samples.id[rows].astype(str)[plan.test_units]


def _predictions(
    site: str, plan: Plan, found: SiteProbes, names: np.ndarray, labels_of: Mapping[str, str]
) -> dict[str, Any]:
    """Columns of predictions.parquet: a row per test unit and scored level that it has; `labels_of` as in `Scorer`."""
    units = plan.test_units
    parts: list[dict[str, Any]] = []
    for column, level in enumerate(plan.scored):
        truth = plan.scored_path[units, column]
        has = truth >= 0
        nodes = pa.array([" / ".join(node) for node in plan.taxonomy.nodes(labels_of.get(level, level))])
        guesses = found.levels[level].predicted[has]
        parts.append(
            {
                "site": [site] * int(has.sum()),
                "id": names[has],
                "leaf": plan.leaf[units][has],
                "level": [level] * int(has.sum()),
                "true": truth[has],
                "predicted": guesses,
                "true_name": nodes.take(pa.array(truth[has])),
                "predicted_name": nodes.take(pa.array(guesses)),
            }
        )
    return {
        field.name: pa.concat_arrays([pa.array(part[field.name]) for part in parts]).cast(field.type)
        for field in PredictionWriter.SCHEMA
    }
