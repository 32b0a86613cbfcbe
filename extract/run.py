"""`python -m extract`: images through a model into a store, from the first check to the last row."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from commandline import InputError
from extract import identity, space
from extract.config import ExtractConfig
from extract.dtypes import STORED
from extract.fill import Model, Tally, fill
from extract.identity import absolute, basename, file_name, merged, model_attributes
from extract.layout import OK
from extract.loader import Loader
from extract.lock import lock
from extract.progress import bar
from extract.store import Store
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
            if complete(store) and store.attrs.get("asked") == settings["asked"]:
                print(f"{path} is complete already")
                return _report(store)
        rows = settings["chunk_rows"]
        space.require(path.parent, space.left(store) if store else space.foretold(config, len(images), rows))
        loaded = load_model(config)
        with Loader(
            images,
            loaded.processor,
            encoder(config),
            workers=config.workers,
            ahead=2 * max(config.workers, config.batch_size),
        ) as loader:
            sites = _sites(config, images, loaded, loader)
            header = merged(settings, model_attributes(loaded, config.store_dtype))
            store = _resume(store, header, sites) if store else _create(path, images, sites, header)
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


def settings_of(config: ExtractConfig, images: ImageSet) -> dict[str, Any]:
    """What is known of an extraction's identity before the model is loaded (see `extract.identity`)."""
    rows = config.chunk_rows or default_chunk_rows(len(images), config.batch_size)
    return {
        "model": {
            "name": basename(config.model),
            "random_init": config.random_init,
            "seed": config.seed if config.random_init else None,
        },
        "asked": {
            "dtype": config.dtype,
            "store_dtype": config.store_dtype,
            "sites": config.sites,
            "revision": config.revision,
            "files": identity.files_stamp(config.model),
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


def complete(store: Store) -> bool:
    """Whether every unit is committed."""
    return sum(map(len, committed_units(store))) == len(store)


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


def encoder(config: ExtractConfig) -> Any:
    """(processor, RGB image) -> the inputs of one sample, with the settings' prompt."""
    from hooks.inputs import encode

    return lambda processor, image: encode(processor, image, config.prompt, config.system)


def _sites(config: ExtractConfig, images: ImageSet, loaded: Loaded, loader: Loader) -> SiteMap:
    """The sites wanted, found on the first image that can be used, and read from it once: what cannot be read is an
    error before there is a store."""
    from hooks import capture, find_sites

    reason = ""
    for row in range(len(images)):
        sample = loader.sample(row)
        if sample.inputs is not None:
            sites = find_sites(loaded.model, sample.inputs).select(config.sites)  # pyright: ignore[reportArgumentType]
            capture(loaded.model, sample.inputs, sites, config.pool)
            return sites
        reason = reason or f"{images.ids[row]}: {sample.reason}"
    raise InputError(f"none of the {len(images):,} images of {images.name} can be used; {reason}")


def _create(path: Path, images: ImageSet, sites: SiteMap, header: dict[str, Any]) -> Store:
    itemsize = np.dtype(STORED.get(header["store_dtype"], "float32")).itemsize
    per_sample = itemsize * sum(site.width for site in sites.values())
    space.require(path.parent, space.of_store(len(images), header["chunk_rows"], per_sample))
    return Store.create(
        path,
        sites=sites.values(),
        ids=images.ids,
        leaf=images.leaf,
        split=images.split,
        taxonomy=images.taxonomy,
        attrs=header,
        logical_dtype=header["store_dtype"],
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
