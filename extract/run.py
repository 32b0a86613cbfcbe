"""`python -m extract`: images through a model into a store, from the first check to the last row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from commandline import InputError
from extract import resume, space
from extract.certified import certificate_of, takes_batches
from extract.config import ExtractConfig
from extract.dtypes import STORED
from extract.fill import Model, Tally, fill
from extract.identity import merged, model_attributes
from extract.loader import Loader
from extract.lock import lock
from extract.progress import bar
from extract.settings import check_model, encoder, read_images, settings_of, store_path
from extract.store import Store
from extract.tracked import record_of
from extract.writer import Writer
from taxonomy.report import images_notes
from tracking import track

if TYPE_CHECKING:
    from tqdm import tqdm

    from hooks import Loaded, SiteMap
    from taxonomy import ImageSet


TRIED = 64
"""Images, spread over the dataset, of which one has to be good."""
OTHER = 8
"""As many of them are looked at for an image of other shapes."""


def run(config: ExtractConfig) -> None:
    """Extract, or go on with an extraction. Every check that can be made before the model is loaded is made before.

    Raises InputError for what the user can mend, among it a store of other settings and a dataset without a good image.
    """
    check_model(config)
    images = read_images(config)
    print("\n".join(images_notes(images)))
    path, settings = store_path(config, images), settings_of(config, images)
    with lock(path):
        store = resume.reopen(path, settings)
        if store is not None and resume.finished(store, settings):
            print(f"{path} is complete already")
            resume.report(store, "sample")
            track(config.wandb, lambda: record_of(config, store))
            return
        space.require(path.parent, space.needed(store, config, len(images), settings["chunk_rows"]))
        loaded = load_model(config)
        with Loader(
            images,
            loaded.processor,
            encoder(config),
            workers=config.workers,
            ahead=2 * max(config.workers, config.batch_size),
        ) as loader:
            sites, samples = _sites(config, images, loaded, loader)
            header = merged(settings, model_attributes(loaded, config.store_dtype))
            if store is None:
                certificate = certificate_of(loaded.model, samples, sites) if config.certify else None
                store = _create(path, images, sites, header | {"certificate": certificate})
            else:
                store = resume.go_on(store, header, sites)
            batch_size = config.batch_size
            if batch_size > 1 and not takes_batches(loaded.model, samples[0], sites):
                print("this model does not take images put after each other; each one goes through alone")
                batch_size = 1
            writer = Writer(store)
            resume.record_run(store, header)
            with bar(len(store), "image", path.name, space.done(store)) as progress:
                tally = fill(
                    writer,
                    loader.stream(writer.pending),
                    _model(config, loaded, sites),
                    batch_size,
                    lambda tally: _advance(progress, store, tally),
                )
    if tally.smallest_batch:
        print(f"memory ran out: some images went through in batches of {tally.smallest_batch}, not {config.batch_size}")
    resume.report(Store.open(path), "sample")
    track(config.wandb, lambda: record_of(config, Store.open(path)))


def load_model(config: ExtractConfig) -> Loaded:
    """The vision-language model the settings name."""
    from hooks import load

    return load(
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


def _sites(
    config: ExtractConfig, images: ImageSet, loaded: Loaded, loader: Loader
) -> tuple[SiteMap, Sequence[Mapping[str, Any]]]:
    """The sites wanted, found on an image that can be used, and read from it once: what cannot be read is an error
    before there is a store. With them that image's inputs, and another one's of other shapes where one turns up."""
    from hooks import capture, find_sites
    from hooks.inputs import signature

    tried = np.unique(np.linspace(0, len(images) - 1, min(TRIED, len(images))).astype(int)).tolist()
    reason, sites, good = "", None, []
    for place, row in enumerate(tried):
        sample = loader.sample(row)
        if sample.inputs is None:
            reason = reason or f"{images.ids[row]}: {sample.reason}"
        elif sites is None:
            sites = find_sites(loaded.model, sample.inputs).select(config.sites)  # pyright: ignore[reportArgumentType]
            capture(loaded.model, sample.inputs, sites, config.pool)
            good = [sample.inputs]
        elif signature(sample.inputs) != signature(good[0]):
            good.append(sample.inputs)
        if sites is not None and (len(good) > 1 or place >= OTHER):
            break
    if sites is not None:
        return sites, good
    which = f"the {len(tried):,} images" if len(tried) == len(images) else f"{len(tried)} images tried among the images"
    raise InputError(f"none of {which} of {images.name} can be used; {reason}")


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


def _model(config: ExtractConfig, loaded: Loaded, sites: SiteMap) -> Model:
    from hooks import capture
    from hooks.inputs import collate, signature

    return Model(
        read=lambda inputs: capture(loaded.model, collate(inputs), sites, config.pool, alike=True),
        signature=signature,
        # Where no token marks the image, none can be missing.
        sees=lambda inputs: not sites.placeholder_ids or bool(sites.visual_positions(inputs).any()),
    )


def _advance(progress: tqdm[Any], store: Store, tally: Tally) -> None:
    if tally.smallest_batch:
        resume.record_batch_size(store, tally.smallest_batch)
    progress.set_postfix(quarantined=tally.quarantined.total(), refresh=False)
    progress.update(progress.initial + tally.done - progress.n)
