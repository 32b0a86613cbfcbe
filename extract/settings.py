"""What an extraction's settings amount to, before any model is loaded: which images, which store, which identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from commandline import InputError
from extract.config import ExtractConfig, TextConfig
from extract.identity import absolute, basename, file_name
from hooks.fingerprints import files_stamp
from taxonomy import ImageSet, load_images

DATASET_OPTIONS = (
    *("taxonomy", "root", "levels", "image_column", "label_column", "split_column", "id_column"),
    *("split", "fractions", "seed", "unmatched", "missing", "drop_root", "subset"),
)


def check_model(config: ExtractConfig) -> None:
    """Raise InputError when the device is not there, or the model's configuration is none of a model that sees."""
    from hooks.configs import load_config, model_kind
    from hooks.loading import device_named
    from hooks.openclip import is_open_clip

    device_named(config.device)
    if is_open_clip(config.model):
        return
    found = load_config(config.model, revision=config.revision, trust_remote_code=config.trust_remote_code)
    if model_kind(config.model, found) == "text":
        raise InputError(f"{config.model} is a language model without vision; `python -m extract text` reads those")


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
    """Where the activations go: `store`, or runs/<model>-<dataset>.zarr, with -<limit> where there is one, and -<pool>
    where it is not the mean: `python -m probing --pool` finds it by that name."""
    apart = f"-{config.limit}" if config.limit == len(images) else ""
    apart += f"-{config.pool}" if config.pool != "mean" else ""
    return Path(config.store or Path("runs") / f"{basename(config.model)}-{file_name(images.name)}{apart}.zarr")


def settings_of(config: ExtractConfig, images: ImageSet) -> dict[str, Any]:
    """What is known of an extraction's identity before the model is loaded (see `extract.identity`)."""
    rows = config.chunk_rows or default_chunk_rows(len(images), config.batch_size)
    return {
        **model_settings(config),
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


def model_settings(config: ExtractConfig | TextConfig) -> dict[str, Any]:
    """The part of an identity that is the model's: its name, and what was asked of it."""
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
            "files": files_stamp(config.model),
        },
    }


def default_chunk_rows(n: int, batch_size: int) -> int:
    """A 20th of the rows, from 64 to 1,024, in whole batches.

    An interruption loses at most that many; zarr writes and reads chunks of 1,024 rows as fast as a single file.
    """
    rows = min(1024, max(64, -(-n // 20)))
    return -(-rows // batch_size) * batch_size


def encoder(config: ExtractConfig) -> Any:
    """(processor, RGB image) -> the inputs of one sample, with the settings' prompt."""
    from hooks.encoding import encode

    return lambda processor, image: encode(processor, image, config.prompt, config.system)
