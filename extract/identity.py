"""What makes two extractions the same: recorded in the store, compared before a single row is added to it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commandline import InputError
from hooks.fingerprints import config_hash, processor_hash, weights_hash

if TYPE_CHECKING:
    from extract.store import Store
    from hooks import Loaded

LIBRARIES = ("taxoprobe", "torch", "transformers", "nnsight", "zarr", "numpy", "pillow")
INFORMATION = frozenset(
    {"asked", "device", "versions", "certificate", "created", "model.id", "dataset.arguments", "schema_version"}
)
"""Attributes that are recorded and not compared: a store may go on elsewhere, with the model in another folder."""

FOLLOWERS = {
    "dataset.n": ("chunk_rows", "dataset.fingerprint"),
    "dataset.split_source": ("dataset.fingerprint",),
    "batch_size": ("chunk_rows",),
}
"""Attributes that are bound to differ where another does."""
REMEDY = "use those settings, give another --store (STORE=), or remove it"


def require_same(store: Store, here: Mapping[str, Any]) -> None:
    """Raise InputError naming every difference between a store's attributes and those of the extraction at hand.

    Only the keys of `here` are compared: settings can be checked before the model is loaded, its hashes after. Of a
    difference that follows from another, only the other is said.
    """
    there, wanted = dict(_flat(store.attrs)), dict(_flat(here))
    differing = [key for key, value in wanted.items() if key not in INFORMATION and there.get(key) != value]
    implied = {follower for key in differing for follower in FOLLOWERS.get(key, ())}
    differences = [_difference(key, there, wanted) for key in differing if key not in implied]
    if differences:
        raise InputError(f"{store.path} was made with other settings ({'; '.join(differences)}); {REMEDY}")


def require_same_sites(store: Store, here: Mapping[str, Any]) -> None:
    """Raise InputError when a store's sites are not the sites (name -> anything with a `width`) about to be read."""
    there = {name: site.width for name, site in store.sites.items()}
    wanted = {name: site.width for name, site in here.items()}
    if list(there.items()) != list(wanted.items()):
        only_there = [name for name in there if there[name] != wanted.get(name)]
        only_here = [name for name in wanted if wanted[name] != there.get(name)]
        raise InputError(
            f"{store.path} was made with other sites (only there: {', '.join(only_there) or 'none'}; "
            f"only here: {', '.join(only_here) or 'none'}); {REMEDY}"
        )


def model_attributes(loaded: Loaded, store_dtype: str) -> dict[str, Any]:
    """What is known of an extraction's identity once the model is there; `store_dtype` "auto" is the model's."""
    source = Path(loaded.source)
    dtype = str(loaded.dtype).removeprefix("torch.")
    return {
        "model": {
            "id": str(source.resolve()) if source.is_dir() else loaded.source,
            "revision": loaded.revision,
            "class": type(loaded.model).__name__,
            "dtype": dtype,
            "config_hash": config_hash(loaded.model.config),
            "weights_hash": weights_hash(loaded.model),
        },
        "store_dtype": dtype if store_dtype == "auto" else store_dtype,
        "processor_hash": processor_hash(loaded.processor or loaded.tokenizer),
        "device": str(loaded.device),
        "versions": versions(),
    }


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Dictionaries joined, and dictionaries inside them too."""
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            whole[key] = {**whole[key], **value} if isinstance(value, Mapping) and key in whole else value
    return whole


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries whose numbers these are."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def basename(model: str) -> str:
    """The last part of a directory or hub id: a model's name wherever it lies."""
    return file_name(Path(model).expanduser().resolve().name if Path(model).exists() else model.split("/")[-1])


def absolute(path: str | None) -> str | None:
    """A path that exists, from the root; anything else (an id, a preset) as it is."""
    return str(Path(path).expanduser().resolve()) if path is not None and Path(path).expanduser().exists() else path


def file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text)


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested dictionaries under dotted keys, as JSON would give them back."""
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and name not in INFORMATION:
            yield from _flat(value, f"{name}.")
        else:
            yield name, list(value) if isinstance(value, tuple) else value


def _difference(key: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    if key != "dataset.n" or key not in there:
        return f"{key}: there {_brief(there.get(key))}, here {_brief(here[key])}"
    limits = [(attrs.get("dataset.arguments") or {}).get("limit") for attrs in (there, here)]
    why = "limit" if limits[0] != limits[1] else "the dataset has changed"
    noun = "prompts" if there.get("kind") == "text" else "images"
    return f"it holds {there[key]:,} {noun}, this is {here[key]:,} ({why})"


def _brief(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return value[:8]
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
