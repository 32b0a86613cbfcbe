"""What a geometry tells wandb: alignments along the layers, its tables and figures, and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from analysis.geometry.config import GeometryConfig, UnembeddingConfig
from analysis.geometry.table import GIVEN
from extract import Store
from extract.tracked import store_files
from probing.results import SUMMARY, ProbeRun, default_out
from probing.tracked import probe_files
from taxonomy import Taxonomy
from tracking import Files, Record, settings
from tracking.record import Place, along

TABLES = ("verdicts", "geometry", "levels", "siblings", "generalisation", "published")
"""Those that are shown; edges and cosines, which have a row per node, are in the artifact alone."""
SHOWN = {
    "alignment": "alignment",
    "alignment_low": "low",
    "alignment_high": "high",
    "mean_cos": "mean_cos",
    "null_low": "leaves_low",
    "null_high": "leaves_high",
}
"""Of each pair of levels, along the layers, by their columns of verdicts.parquet. The alignment has no null of its own:
the null is that of `mean_cos`, leaves dealt anew."""


def geometry_of(config: GeometryConfig, out: Path, store: Store) -> Record:
    """The record of a store's geometry written to `out`."""
    untrained = [store_files(Store.open(config.random_init))] if config.random_init else []
    leaf = Path(config.leaf_probes) if config.leaf_probes else default_out(config.store, "leaf")
    held_out = [probe_files(ProbeRun.open(leaf))] if (leaf / SUMMARY).is_file() else []
    return _record("geometry", settings(config), out, [store_files(store), *untrained, *held_out])


def unembedding_of(config: UnembeddingConfig, out: Path, tree: Taxonomy) -> Record:
    """The record of a language model's unembedding written to `out`. The model goes by its name and revision: its
    weights are not hashed, so it is no node of an extraction's lineage."""
    about = _summary(out)["store"]
    model = {key: about["model"][key] for key in ("name", "revision", "class", "dtype")}
    text = json.dumps(tree.to_dict(), sort_keys=True, ensure_ascii=False)
    used = [
        Files(f"{model['name']}-unembedding", "model", (), model),
        Files(about["dataset"]["name"], "taxonomy", (), {"sha256": hashlib.sha256(text.encode()).hexdigest()}),
    ]
    used += [Files(Path(config.words).name, "words", (Path(config.words),))] if config.words else []
    return _record("unembedding", settings(config), out, used)


def geometry_files(out: Path) -> Files:
    """A geometry's tables, figures, page and summary as an artifact."""
    return Files(out.name, "geometry", tuple(path for path in sorted(out.iterdir()) if path.is_file()))


def _record(job: str, config: Mapping[str, Any], out: Path, used: Sequence[Files]) -> Record:
    summary = _summary(out)
    sites = {site["site"]: {"stage": site["stage"], "layer": site["layer"]} for site in summary["sites"]}
    tables = {name: _rows(out / f"{name}.parquet", sites) for name in TABLES}
    curves, alone = along(
        Place(
            row["site"], row["stage"], row["layer"], {f"{_pair(row)}/{name}": row[key] for name, key in SHOWN.items()}
        )
        for row in tables["verdicts"]
    )
    counts = Counter("/".join((row["directions"], row["inner_product"], row["verdict"])) for row in tables["verdicts"])
    return Record(
        job=job,
        config=config,
        summary={**alone, **counts, "rows": summary["rows"], "seconds": summary["seconds"]},
        curves=curves,
        tables=tables,
        pages={path.stem: path.read_text(encoding="utf-8") for path in sorted(out.glob("*.html"))},
        figures={path.stem: path for path in sorted(out.glob("*.png"))},
        used=used,
        made=[geometry_files(out)],
    )


def _pair(row: Mapping[str, Any]) -> str:
    """`genus given family/mean/euclidean`."""
    return "/".join((GIVEN.format(**row), row["directions"], row["inner_product"]))


def _rows(file: Path, sites: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A table's rows with the stage and layer of their sites; none where there is no such table."""
    rows = pq.read_table(file).to_pylist() if file.is_file() else []
    return [{**row, **sites.get(row.get("site"), {})} for row in rows]


def _summary(out: Path) -> dict[str, Any]:
    return json.loads((out / SUMMARY).read_text(encoding="utf-8"))
