"""`python -m extract info`: what a store holds."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

from extract.config import InfoConfig
from extract.layout import OK, PENDING, SiteInfo
from extract.store import Store
from hooks.certificate import Certificate, summary
from taxonomy.splits import SPLITS


def run(config: InfoConfig) -> None:
    """Print a store's model, dataset, sites and samples."""
    print(describe(Store.open(config.store)))


def describe(store: Store) -> str:
    """A few lines for a reader; every line but the first is `key   value`."""
    attrs, samples = store.attrs, store.samples
    model, dataset = attrs.get("model", {}), attrs.get("dataset", {})
    counts = Counter("quarantined" if status not in (OK, PENDING) else status for status in samples.status)
    lines = [
        ("model", f"{model.get('id', '?')} ({model.get('class', '?')}, {model.get('dtype', '?')}{_variant(model)})"),
        ("dataset", f"{dataset.get('name', '?')}: {len(store):,} samples, {', '.join(_counted(counts))}"),
        ("splits", _splits(store)),
        ("split by", str(dataset.get("split_source", "?"))),
        ("taxonomy", ", ".join(f"{len(store.taxonomy.nodes(level)):,} {level}" for level in store.taxonomy.levels)),
        ("prompt", f"{attrs.get('prompt')!r}" + (f", system {attrs['system']!r}" if attrs.get("system") else "")),
        ("pool", str(attrs.get("pool"))),
        *((stage, _sites(list(sites))) for stage, sites in groupby(store.sites.values(), lambda site: site.stage)),
        ("certificate", _certificate(attrs.get("certificate"))),
        ("created", str(attrs.get("created"))),
    ]
    reasons = Counter(status for status in samples.status if status not in (OK, PENDING))
    lines += [("quarantined", f"{count:,}: {reason}") for reason, count in reasons.most_common()]
    return "\n".join([str(store.path), *(f"  {key:<12} {value}" for key, value in lines)])


def _certificate(found: dict[str, Any] | None) -> str:
    return "none: probes need --allow_uncertified" if found is None else summary(Certificate.from_dict(found))


def _splits(store: Store) -> str:
    """Samples of each split, and beside them those that are done where that is not all."""
    every, done = Counter(store.samples.split), Counter(store.samples.split[store.ok])
    return ", ".join(
        f"{every[name]:,} {name}" + (f" ({done[name]:,} done)" if done[name] < every[name] else "")
        for name in SPLITS
        if every[name]
    )


def _variant(model: dict) -> str:
    return f", untrained with seed {model.get('seed')}" if model.get("random_init") else ""


def _counted(counts: Counter[str]) -> list[str]:
    return [f"{count:,} {name}" for name, count in counts.most_common()]


def _sites(sites: list[SiteInfo]) -> str:
    span = sites[0].name if len(sites) == 1 else f"{sites[0].name} ... {sites[-1].name} ({len(sites)})"
    widths = sorted({site.width for site in sites})
    return f"{span}, width {' or '.join(map(str, widths))}, {sites[0].logical_dtype}"
