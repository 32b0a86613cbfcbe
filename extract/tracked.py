"""What an extraction tells wandb: counts, what was checked at each site, and the store as an artifact."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from extract.config import ExtractConfig, TextConfig
from extract.layout import OK
from extract.store import Store
from tracking import Files, Record, settings
from tracking.record import Place, along


def record_of(config: ExtractConfig | TextConfig, *stores: Store) -> Record:
    """The record of one extraction, into one store or (of texts) one for each template."""
    places, summary = along(point for store in stores for point in _noise(store))
    reasons = Counter(reason for store in stores for reason in store.samples.status if reason != OK)
    samples = sum(len(store) for store in stores)
    return Record(
        job="extract",
        config=settings(config),
        summary=summary | {"samples": samples, "quarantined": reasons.total(), "sites": len(stores[0].sites)},
        curves=places,
        tables={
            "sites": [_site(store, name) for store in stores for name in store.sites],
            "quarantine": [{"reason": reason, "samples": count} for reason, count in reasons.most_common()],
        },
        used=[*_sources(stores[0])],
        made=[store_files(store) for store in stores],
    )


def store_files(store: Store) -> Files:
    """A store as an artifact: what it is made of and from, by hashes. Its activations stay where they are."""
    attrs = dict(store.attrs)
    identity = {
        "attributes_sha256": _sha256(json.dumps(attrs, sort_keys=True, ensure_ascii=False, default=str)),
        "samples_sha256": _sha256("\n".join(map(repr, zip(store.samples.id, store.samples.status, strict=True)))),
        "sites": {name: site.width for name, site in store.sites.items()},
        "rows": len(store),
    }
    about = {key: attrs.get(key) for key in ("kind", "template", "prompt", "system", "pool", "store_dtype", "created")}
    about |= {"model": attrs.get("model"), "dataset": (attrs.get("dataset") or {}).get("name")}
    about |= {"path": str(store.path.absolute())}
    name = store.path.name.removesuffix(".zarr")
    return Files(name, "store", (store.path,), identity, {k: v for k, v in about.items() if v is not None}, large=True)


def _sources(store: Store) -> list[Files]:
    """The model and the images, by their hashes: no file of theirs is read again."""
    model, dataset = store.attrs.get("model"), store.attrs.get("dataset")
    parts = (
        ("model", model, ("name", "revision", "class", "config_hash", "weights_hash", "random_init")),
        ("dataset", dataset, ("name", "n", "fingerprint", "split_source")),
    )
    return [
        Files(str(found["name"]), kind, (), {key: found.get(key) for key in keys})
        for kind, found, keys in parts
        if isinstance(found, Mapping) and found.get("name")
    ]


def _noise(store: Store) -> list[Place]:
    """Of each site, how far its rows are off for reasons that are not the image (`hooks.certificate.Noise`)."""
    noise = _certificate(store).get("noise") or {}
    return [
        Place(name, site.stage, site.layer, {f"noise_{kind}": value for kind, value in (noise.get(name) or {}).items()})
        for name, site in store.sites.items()
    ]


def _site(store: Store, name: str) -> dict[str, Any]:
    site, noise = store.sites[name], (_certificate(store).get("noise") or {}).get(name) or {}
    return {
        **{"store": store.path.name, "site": name, "stage": site.stage, "layer": site.layer, "width": site.width},
        **{"module": site.module, "reads": site.reads},
        **{f"noise_{kind}": noise.get(kind) for kind in ("batch", "dtype")},
    }


def _certificate(store: Store) -> Mapping[str, Any]:
    found: Any = store.attrs.get("certificate")
    return found or {}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
