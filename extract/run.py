"""`python -m extract`: images through a model into a store, from the first check to the last row."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from commandline import InputError
from extract import identity
from extract.config import ExtractConfig
from extract.fill import Model, Tally, fill
from extract.loader import Loader
from extract.lock import lock
from extract.progress import bar
from extract.store import OK, Store
from extract.writer import Writer, committed_units
from taxonomy import ImageSet, load_images

if TYPE_CHECKING:
    from tqdm import tqdm

    from hooks import Loaded, SiteMap

DATASET_OPTIONS = (
    *("taxonomy", "root", "levels", "image_column", "label_column", "split_column", "id_column"),
    *("split", "fractions", "seed", "unmatched", "missing", "drop_root", "subset"),
)


def run(config: ExtractConfig) -> None:
    """Extract, or go on with an extraction. Every check that can be made before the model is loaded is made before.

    Raises InputError for what the user can mend, among it a store of other settings and a dataset without a good image.
    """
    images = read_images(config)
    path = store_path(config, images)
    settings = settings_of(config, images)
    with lock(path):
        store = Store.open(path, mode="r+") if path.exists() else None
        if store is not None:
            identity.require_same(store, settings)
            if len(committed_units(store)) == -(-len(store) // store.chunk_rows):
                print(f"{path} is complete already")
                return _report(store)
        check_space(path, config, settings["chunk_rows"], images, store)
        loaded = load_model(config)
        with Loader(
            images,
            loaded.processor,
            encoder(config),
            workers=config.workers,
            ahead=2 * max(config.workers, config.batch_size),
        ) as loader:
            sites = _sites(config, images, loaded, loader)
            header = merged(settings, model_attributes(loaded))
            store = _resume(store, header, sites) if store else _create(path, config, images, sites, header)
            writer = Writer(store)
            done = len(store) - sum(map(len, writer.pending))
            with bar(len(store), "image", path.name, done) as progress:
                tally = fill(
                    writer,
                    loader.stream(writer.pending),
                    _model(config, loaded, sites),
                    config.batch_size,
                    lambda tally: _advance(progress, tally),
                )
    if tally.smallest_batch:
        print(f"memory ran out: some images went through in batches of {tally.smallest_batch}, not {config.batch_size}")
    return _report(Store.open(path))


def read_images(config: ExtractConfig) -> ImageSet:
    """The dataset the settings name; with `limit`, an even random draw of it in its own order (10 is a part of 20)."""
    images = load_images(config.dataset, **{name: getattr(config, name) for name in DATASET_OPTIONS})
    if config.limit is not None and config.limit < len(images):
        drawn = np.random.default_rng(config.seed).permutation(len(images))[: config.limit]
        images = images.select(np.sort(drawn))
    if not len(images):
        raise InputError(f"the dataset {config.dataset!r} has no images")
    return images


def store_path(config: ExtractConfig, images: ImageSet) -> Path:
    """Where the activations go: `store`, or runs/<model>-<dataset>.zarr."""
    return Path(config.store or Path("runs") / f"{basename(config.model)}-{file_name(images.name)}.zarr")


def basename(model: str) -> str:
    """The last part of a directory or hub id: a model's name wherever it lies."""
    return file_name(Path(model).expanduser().resolve().name if Path(model).exists() else model.split("/")[-1])


def absolute(path: str | None) -> str | None:
    """A path that exists, from the root; anything else (an id, a preset) as it is."""
    return str(Path(path).expanduser().resolve()) if path is not None and Path(path).expanduser().exists() else path


def file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text)


def settings_of(config: ExtractConfig, images: ImageSet) -> dict[str, Any]:
    """What is known of an extraction's identity before the model is loaded (see `extract.identity`)."""
    rows = config.chunk_rows or default_chunk_rows(len(images), config.batch_size)
    return {
        "model": {
            "name": basename(config.model),
            "random_init": config.random_init,
            "seed": config.seed if config.random_init else None,
        },
        "prompt": config.prompt,
        "system": config.system,
        "pool": config.pool,
        "pixels": {"min": config.min_pixels, "max": config.max_pixels},
        "image_backend": config.image_backend,
        "batch_size": config.batch_size,
        "chunk_rows": rows,
        "dataset": {
            "name": images.name,
            "n": len(images),
            "fingerprint": images.fingerprint,
            "split_source": images.split_source,
            "arguments": {
                name: absolute(getattr(config, name))
                if name in ("dataset", "taxonomy", "root")
                else getattr(config, name)
                for name in ("dataset", "limit", *DATASET_OPTIONS)
            },
        },
    }


def default_chunk_rows(n: int, batch_size: int) -> int:
    """A 20th of the rows, from 64 to 1,024, in whole batches.

    An interruption loses at most that many; zarr writes and reads chunks of 1,024 rows as fast as a single file.
    """
    rows = min(1024, max(64, -(-n // 20)))
    return -(-rows // batch_size) * batch_size


def load_model(config: ExtractConfig) -> Loaded:
    """The vision-language model the settings name."""
    from hooks import load

    loaded = load(
        config.model,
        config.device,
        config.dtype,
        revision=config.revision,
        random_init=config.random_init,
        seed=config.seed,
        trust_remote_code=config.trust_remote_code,
        image_backend=config.image_backend,
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
    )
    if loaded.processor is None:
        raise InputError(f"{config.model} is a language model without vision; `python -m extract text` reads those")
    return loaded


def model_attributes(loaded: Loaded) -> dict[str, Any]:
    """What is known of an extraction's identity once the model is there."""
    source = Path(loaded.source)
    return {
        "model": {
            "id": str(source.resolve()) if source.is_dir() else loaded.source,
            "revision": loaded.revision,
            "class": type(loaded.model).__name__,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "config_hash": identity.config_hash(loaded.model.config),
            "weights_hash": identity.weights_hash(loaded.model),
        },
        "processor_hash": identity.processor_hash(loaded.processor or loaded.tokenizer),
        "device": str(loaded.device),
        "versions": identity.versions(),
    }


def encoder(config: ExtractConfig) -> Any:
    """(processor, RGB image) -> the inputs of one sample, with the settings' prompt."""
    from hooks.inputs import encode

    return lambda processor, image: encode(processor, image, config.prompt, config.system)


def check_space(path: Path, config: ExtractConfig, chunk_rows: int, images: ImageSet, store: Store | None) -> None:
    """Raise InputError when the disk cannot hold what is still to be written; the sizes come from the configuration."""
    from extract.plan import bytes_per_sample, expected_sites

    if store is None:
        per_sample, left = bytes_per_sample(*expected_sites(config)), len(images)
    else:
        per_sample = sum(array.dtype.itemsize * array.size for array in store.arrays.values()) // len(store)
        left = len(store) - sum(map(len, committed_units(store)))
    whole_chunks = -(-left // chunk_rows) * chunk_rows if store is None and left > chunk_rows else left
    needed, free = per_sample * whole_chunks, shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"the disk of {path.parent} has {free / 1e9:.2f} GB free and {needed / 1e9:.2f} GB are needed: "
            "free some, or choose fewer --sites or another --store"
        )


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Dictionaries joined, and dictionaries inside them too."""
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            whole[key] = {**whole[key], **value} if isinstance(value, Mapping) and key in whole else value
    return whole


def _sites(config: ExtractConfig, images: ImageSet, loaded: Loaded, loader: Loader) -> SiteMap:
    """The sites wanted, found on the first image that can be used."""
    from hooks import find_sites

    reason = ""
    for row in range(len(images)):
        sample = loader.sample(row)
        if sample.inputs is not None:
            return find_sites(loaded.model, sample.inputs).select(config.sites)  # pyright: ignore[reportArgumentType]
        reason = reason or f"{images.ids[row]}: {sample.reason}"
    raise InputError(f"none of the {len(images):,} images of {images.name} can be used; {reason}")


def _create(path: Path, config: ExtractConfig, images: ImageSet, sites: SiteMap, header: dict[str, Any]) -> Store:
    return Store.create(
        path,
        sites=sites.values(),
        ids=images.ids,
        leaf=images.leaf,
        split=images.split,
        taxonomy=images.taxonomy,
        attrs=header,
        logical_dtype=header["model"]["dtype"] if config.store_dtype == "auto" else config.store_dtype,
        chunk_rows=header["chunk_rows"],
    )


def _resume(store: Store, header: dict[str, Any], sites: SiteMap) -> Store:
    identity.require_same(store, header)
    identity.require_same_sites(store, sites)
    there, here = ({"device": attrs["device"], **attrs["versions"]} for attrs in (store.attrs, header))
    for key, value in here.items():
        if there.get(key) != value:
            print(
                f"note: {store.path} was begun with {key} {there.get(key)}, and goes on with {value}", file=sys.stderr
            )
    return store


def _model(config: ExtractConfig, loaded: Loaded, sites: SiteMap) -> Model:
    from hooks import capture
    from hooks.inputs import collate, signature

    return Model(
        read=lambda inputs: capture(loaded.model, collate(inputs), sites, config.pool),
        signature=signature,
        sees=lambda inputs: bool(sites.visual_positions(inputs).any()),
    )


def _advance(progress: tqdm[Any], tally: Tally) -> None:
    progress.set_postfix(quarantined=tally.quarantined.total(), refresh=False)
    progress.update(progress.initial + tally.done - progress.n)


def _report(store: Store) -> None:
    """Print the counts and the reasons of quarantine. Raises InputError when no sample is good."""
    reasons = Counter(reason for reason in store.samples.status if reason != OK)
    good = int(store.ok.sum())
    print(f"{store.path}: {good:,} of {len(store):,} samples at {len(store.sites)} sites")
    for reason, count in reasons.most_common():
        example = store.samples.id[np.flatnonzero(store.samples.status == reason)[0]]
        print(f"  quarantined {count:,}: {reason} (such as {example})")
    if not good:
        raise InputError(f"{store.path}: not one sample is good; the reasons are above")
