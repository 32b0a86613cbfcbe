"""The summary of a run: where its numbers come from, and how they were made."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from extract import Store
from probing.calibration import BINS
from probing.config import ProbeConfig, unused
from probing.nulls import NULL_DRAWS
from probing.paper import CHOICES, published_levels
from probing.plan import Plan
from probing.protocol import Settings

STATISTICS = {
    "intervals": "95 %, percentiles of a bootstrap over leaf classes, the same draws at every site",
    "multiple_comparisons": "p_adjusted: step-down max-T (Westfall & Young 1993) over every accuracy and HCA of the "
    "run, test paths dealt anew against the probes' own predictions",
    "null_draws": NULL_DRAWS,
    "ece_bins": BINS,
}


def summarise(config: ProbeConfig, store: Store, plan: Plan, settings: Settings, seconds: float) -> dict[str, Any]:
    """Where the numbers come from."""
    attrs = dict(store.attrs)
    text = json.dumps(attrs, sort_keys=True, ensure_ascii=False, default=str)
    status = Counter("quarantined" if s not in ("ok", "pending") else s for s in store.samples.status)
    return {
        "protocol": config.protocol,
        **published(config, plan),
        "store": {
            "name": store.path.name,
            "attributes_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "kind": attrs.get("kind", "images"),
            **{key: attrs.get(key) for key in ("model", "dataset", "prompt", "system", "pool", "template", "created")},
            "rows": dict(status),
        },
        "levels": [
            {"level": level, "nodes": len(plan.taxonomy.nodes(level)), "unscored": plan.unscored.get(level)}
            for level in plan.levels
        ],
        "split": {
            "kind": config.split,
            "source": plan.split_source,
            "rows": dict(Counter(plan.split.tolist())),
            "leaves": {part: len(set(plan.leaf[plan.unit[plan.split == part]].tolist())) for part in set(plan.split)},
        },
        "statistics": STATISTICS | {"bootstrap_draws": config.bootstrap},
        "config": config.model_dump(mode="json", exclude={*unused(config), "wandb"}),
        "device": settings.device,
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "zarr", "pyarrow")}
        | {"taxoprobe": _own_version(), "python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
    }


def published(config: ProbeConfig, plan: Plan) -> dict[str, Any]:
    """What is to be said of a run of the published protocol; nothing of another."""
    if config.protocol != "paper":
        return {}
    return {"choices": [asdict(choice) for choice in CHOICES], "published_levels": published_levels(plan.taxonomy)}


def _own_version() -> str:
    try:
        return metadata.version("taxoprobe")
    except metadata.PackageNotFoundError:
        return "not installed"
