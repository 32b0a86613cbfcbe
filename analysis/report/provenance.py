"""Where a report comes from: what was measured, with what, and the commands that do it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from analysis.report.material import Material


def provenance(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What a reader needs to repeat the run, as (name, value)."""
    store, versions = summary["store"], summary["versions"]
    model, dataset = store.get("model") or {}, store.get("dataset") or {}
    rows = [
        ("model", _items(model, ("id", "revision", "class", "dtype", "random_init", "config_hash", "weights_hash"))),
        ("dataset", _items(dataset, ("name", "fingerprint", "split_source"))),
        ("prompt", f"{store.get('prompt')!r}" + (f", system {store['system']!r}" if store.get("system") else "")),
        ("pooling", str(store.get("pool"))),
        ("store", f"{store['name']}, attributes sha256 {store['attributes_sha256']}, rows {_items(store['rows'])}"),
        ("split", f"{summary['split']['source']}; rows {_items(summary['split']['rows'])}"),
        ("protocol", summary["protocol"]),
        ("settings", _items(summary["config"])),
        ("device", summary["device"]),
        ("versions", _items(versions)),
        ("made", f"{summary['created']}, in {summary['seconds']:g} s"),
    ]
    return [(name, value) for name, value in rows if value and value != "None"]


def commands(material: Material) -> list[str]:
    """What was typed, or would have been, to get here; only settings that are not their defaults."""
    summary = material.probes.summary
    store = summary["config"]["store"]
    model = (summary["store"].get("model") or {}).get("id") or "MODEL"
    arguments = ((summary["store"].get("dataset") or {}).get("arguments")) or {}
    dataset = arguments.get("dataset") or (summary["store"].get("dataset") or {}).get("name") or "DATASET"
    if summary["store"].get("kind", "images") == "images":
        lines = [_line("extract", model=model, dataset=dataset, store=store, levels=_list(arguments.get("levels")))]
    else:
        lines = [_line("extract text", model=model, taxonomy="TAXONOMY", store=store)]
    lines.append(_line("probing", store, **_changed(summary["config"], summary["protocol"])))
    if material.verdict and "leaf" in material.verdict.sources:
        lines.append(_line("probing", store, split="leaf"))
    for run, extra in ((material.images, {}), (material.names, {"text_only": "true"})):
        if run is not None:
            about = run.record["about"]
            shown = {} if extra else {"images": about.get("images")}
            asked = {"model": model, "questions": about.get("questions"), **shown, "out": str(run.path), **extra}
            lines.append(_line("evaluation", **asked))
    if material.geometry is not None:
        lines.append(_line("analysis geometry", store))
    if material.verdict:
        lines.append(_line("analysis verdict", store))
    return [*lines, _line("analysis report", store)]


def missing(material: Material) -> list[tuple[str, str]]:
    """What a report like this can also show, and the command that measures it, as (what, command)."""
    store = material.probes.summary["config"]["store"]
    config = material.probes.summary["config"]
    has_llm = [record["site"] for record in material.model_sites if record["stage"] == "llm"]
    found = []
    if material.published:
        return [("the verdict, controls and nulls of the strict protocol", _line("probing", store))]
    if material.images is None:
        found.append(("the model's own answers", "python -m evaluation --model MODEL --questions BANK --images FOLDER"))
    if material.names is None:
        found.append(("its answers by name", "python -m evaluation --model MODEL --questions BANK --text_only true"))
    elif material.images is not None and not config.get("questions"):
        bank = f"{material.images.path}/strict_v1/answers-{next(iter(material.images.settings['prompts']))}.parquet"
        found.append(("probes among the options of the questions", _line("probing", store, questions=bank)))
    if not (material.verdict and "leaf" in material.verdict.sources) and config["split"] != "leaf":
        found.append(("probes of unseen leaves", _line("probing", store, split="leaf")))
    if not material.probes.extra("conditional") and has_llm:
        earlier = [record["site"] for record in material.model_sites if record["stage"] == "projector"] or ["projector"]
        pair = f"{has_llm[-1]}+{earlier[-1]}"
        found.append(("what a later site adds (losses inside the LLM)", _line("probing", store, conditional=pair)))
    if material.geometry is None:
        found.append(("orthogonality by layer", _line("analysis geometry", store)))
    if material.store is None:
        name = material.probes.summary["store"]["name"]
        found.append(("leaf means", f"the store itself: put {name} beside {material.probes.path.name}"))
    if not config.get("random_init"):
        found.append(("the same architecture untrained", _line("probing", store, random_init="STORE")))
    return found


def _changed(config: dict[str, Any], protocol: str) -> dict[str, Any]:
    """The settings of a probe run that are not what a new run would have."""
    from probing.config import ProbeConfig

    fields = ProbeConfig.model_fields
    changed = {}
    for name, value in config.items():
        field = fields.get(name)
        if name == "store" or value is None or name == "wandb" or field is None:
            continue
        if value != field.get_default(call_default_factory=True):
            changed[name] = _list(value)
    return ({"protocol": protocol} if protocol != "strict" else {}) | changed


def _line(command: str, *positional: str, **settings: Any) -> str:
    words: list[str] = []
    for name, value in settings.items():
        if value is not None:
            words += [f"--{name}", str(value).lower() if isinstance(value, bool) else str(value)]
    return f"python -m {command} {shlex.join([*map(str, positional), *words])}"


def _list(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value)) or None
    return value


def _items(values: dict[str, Any], keys: Sequence[str] | None = None) -> str:
    chosen = {key: values.get(key) for key in (keys or values)}
    return ", ".join(f"{key} {value}" for key, value in chosen.items() if value not in (None, "", False))
