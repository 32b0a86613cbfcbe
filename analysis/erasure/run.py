"""`python -m analysis erase STORE`: take a level out of a site, and see what the probes and the model lose."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.erasure.answers import Asking
from analysis.erasure.config import EraseConfig
from analysis.erasure.probes import by_chance, refitted
from analysis.erasure.scores import Outcome, Record, difference, reliability
from analysis.erasure.subspaces import Eraser, differences, leace, mean_projection, random_subspace
from analysis.erasure.table import table
from analysis.erasure.tracked import erasure_of
from analysis.erasure.tree import parents_of, relation
from commandline import InputError
from extract import Store
from extract.progress import bar
from hooks.sites import select_names
from probing.bootstrap import LeafBootstrap
from probing.certified import uncertified
from probing.config import ProbeConfig
from probing.plan import Plan
from probing.protocol import Settings
from probing.results import check_out, write_summary, write_table, writing
from probing.rows import budget_of, draw_rows, read_site
from probing.run import settings_of
from taxonomy.splits import TEST
from tracking import track

KIND = "erasure"
FITTERS = {"leace": leace, "mean": mean_projection}
QUANTITIES = ("plain", "given the parent")


@dataclass(frozen=True)
class Erased:
    """One thing that is taken out somewhere."""

    site: str
    level: str
    method: str
    draw: int
    """Of a random subspace; 0 otherwise."""
    eraser: Eraser

    @property
    def name(self) -> str:
        return f"{self.site}.{self.level}.{self.method}"


@dataclass(frozen=True)
class Work:
    """What every erasure has in common."""

    config: EraseConfig
    store: Store
    rows: np.ndarray
    """int (row,): of the store."""
    plan: Plan
    settings: Settings
    levels: tuple[str, ...]
    """Those to erase."""

    def erasures(self, site: str, X: np.ndarray) -> Iterator[Erased]:
        """Of every level by every method, and random subspaces of the rank that the level's nodes span."""
        fitted = self.plan.split != TEST
        for place, level in enumerate(self.levels):
            codes = self.plan.labels(level)[fitted]
            parents = parents_of(self.plan.taxonomy, level)[codes] if self.config.within_parent else None
            try:
                concept = differences(codes, parents)
                found = [(method, FITTERS[method](X[fitted], concept)) for method in methods_of(self.config)]
            except InputError as error:
                raise InputError(f"{level} at {site}: {error}") from error
            yield from (Erased(site, level, method, 0, eraser) for method, eraser in found)
            rng = np.random.default_rng([self.config.seed, place])
            rank, centre = max(eraser.rank for _, eraser in found), found[0][1].centre
            for draw in range(self.config.random):
                yield Erased(site, level, "random", draw, random_subspace(rank, centre, rng))


def run(config: EraseConfig) -> None:
    """Erase, measure, write and print. Raises InputError before any long work where that can be seen."""
    started = time.monotonic()
    store, out = Store.open(config.store), out_of(config)
    check_out(out, KIND)
    methods_of(config)
    sites = select_names(list(store.sites), config.site or ["projector"])  # pyright: ignore[reportArgumentType]
    refused = uncertified(store, sites, config.allow_uncertified)
    work = prepare(config, store)
    asking = Asking.of(config, store, sites, out.with_name(out.name + ".asked")) if config.questions else None
    records: list[Record] = []
    totals: list[Record] = []
    count = len(sites) * (1 + len(work.levels) * (len(methods_of(config)) + config.random))
    with writing(out, KIND) as folder:
        erased: list[Erased] = []
        with bar(count, "probing", "probes") as progress:
            for site in sites:
                found = _probed(work, site, progress.update)
                records += [record for part in found for record in part[1]]
                totals += [part[2] for part in found]
                erased += [part[0] for part in found]
        if asking:
            asked = [each for each in erased if each.draw == 0]
            told, both = asking.measure(asked, work.plan.scored, config.within_parent)
            records, totals = records + told, totals + both
        write_table(folder, "erasure", records)
        write_table(folder, "reliability", totals)
        write_summary(folder, _summary(work, sites, refused, asking, time.monotonic() - started), KIND)
    print(table(records, totals, work.plan.scored))
    print(f"\n{out}: erasure.parquet, reliability.parquet, summary.json")
    track(config.wandb, lambda: erasure_of(config, out, store, asking and asking.settings["bank"]))


def methods_of(config: EraseConfig) -> list[str]:
    """The methods asked for. Raises InputError for an unknown one, or none."""
    names = [config.methods] if isinstance(config.methods, str) else list(config.methods or ())
    names = [name.strip() for given in names for name in given.split(",")]
    if strange := [name for name in names if name not in FITTERS]:
        raise InputError(f"--methods: {strange[0]!r} is none of {', '.join(FITTERS)} (random is always beside)")
    if not names:
        raise InputError(f"--methods names none; there are {', '.join(FITTERS)}")
    return names


def out_of(config: EraseConfig) -> Path:
    path = Path(config.store)
    return Path(config.out) if config.out else path.with_name(f"{path.name.removesuffix('.zarr')}.erase")


def prepare(config: EraseConfig, store: Store) -> Work:
    """Rows, split and settings, exactly as `python -m probing` has them. Raises InputError."""
    probe = ProbeConfig(
        store=config.store,
        penalties=config.penalties,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        device=config.device,
        duplicates="ignore",
    )
    if store.samples.level is not None:
        raise InputError(f"{store.path} is a text store; what is erased here is in images")
    budget = budget_of(probe)
    rows, (draw,), _ = draw_rows(probe, store, budget)
    chosen = list(config.level or draw.plan.scored)
    for level in chosen:
        draw.plan.taxonomy.level_index(level)
        if level not in draw.plan.scored:
            raise InputError(f"{level} cannot be probed: {draw.plan.unscored.get(level, 'it is not among the levels')}")
    levels = tuple(level for level in draw.plan.scored if level in chosen)
    return Work(config, store, rows, draw.plan, settings_of(probe, budget), levels)


def _probed(work: Work, site: str, tick: Any) -> list[tuple[Erased, list[Record], Record]]:
    """Every erasure at a site, and what fresh probes say after it."""
    X, plan = read_site(work.store, site, work.rows), work.plan
    bootstrap = LeafBootstrap.of(plan.leaf[plan.test_units], work.config.bootstrap, work.config.seed)
    before, chance = refitted(X, plan, work.settings), by_chance(plan)
    tick()
    found = []
    for erased in work.erasures(site, X):
        after = refitted(erased.eraser(X), plan, work.settings)
        tick()
        place = {"site": site, "level": erased.level, "method": erased.method, "draw": erased.draw}
        place |= {"rank": erased.eraser.rank, "measured": "probe"}
        records: list[Record] = []
        outcomes: dict[str, Outcome] = {}
        for of in plan.scored:
            kind = relation(plan.scored, erased.level, of, work.config.within_parent)
            for quantity in QUANTITIES:
                outcomes[of] = Outcome(before[of][quantity], after[of][quantity], chance[of], kind)
                entry = difference(outcomes[of], bootstrap)
                entry |= {} if quantity != "plain" else {"chance": None}
                records.append(place | {"of": of, "relation": kind, "quantity": quantity} | entry)
        found.append((erased, records, place | reliability(outcomes, bootstrap)))
    return found


def _summary(
    work: Work, sites: Sequence[str], refused: dict[str, str], asking: Asking | None, seconds: float
) -> dict[str, Any]:
    attrs = work.store.attrs
    parts = [part.tolist() for part in np.unique(work.plan.split, return_counts=True)]
    return {
        "config": work.config.model_dump(mode="json", exclude={"wandb"}),
        "store": {key: attrs.get(key) for key in ("model", "dataset", "prompt", "pool")},
        "sites": list(sites),
        "levels": list(work.levels),
        "split": {"source": work.plan.split_source, "rows": dict(zip(*parts, strict=True))},
        "uncertified": refused,
        "asked": asking and asking.about,
        "seconds": round(seconds, 1),
    }
