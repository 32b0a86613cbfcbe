"""`python -m extract plan`: what an extraction will take, before any weights are loaded."""

from __future__ import annotations

import fnmatch
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from commandline import InputError
from extract import resume, space
from extract.config import ExtractConfig
from extract.expected import bytes_per_sample, dtype_name, expected_sites, read_outline
from extract.fill import WINDOW
from extract.loader import Loader
from extract.settings import check_model, encoder, read_images, settings_of, store_path
from extract.space import readable
from taxonomy.report import images_notes
from taxonomy.splits import SPLITS

if TYPE_CHECKING:
    import torch

    from hooks.outline import Outline
    from taxonomy import ImageSet

EFFICIENCY = 0.5
"""A forward's share of the speed of bare matrix products: norms, attention and memory take the rest (0.47 measured)."""
TRIED = 8
"""Images that are encoded to learn tokens per image."""


def run(config: ExtractConfig) -> None:
    """Print samples, sites, bytes, memory and time. Raises InputError as the extraction would."""
    check_model(config)
    images = read_images(config)
    outline = read_outline(config)
    sites, itemsize = expected_sites(config, outline)
    for pattern in config.sites or ():
        if not fnmatch.filter([site.name for site in sites], pattern):
            whole = ", ".join(f"{count} {stage}" for stage, (count, _) in outline.stages.items())
            raise InputError(f"no site matches {pattern!r}; {config.model} is expected to have {whole} sites")
    path, settings = store_path(config, images), settings_of(config, images)
    store = resume.reopen(path, settings, mode="r")
    there = f" (there already, with {space.done(store):,} of its {len(store):,} samples)" if store else ""
    per_sample, chunk_rows = bytes_per_sample(sites, itemsize), settings["chunk_rows"]
    sides = Counter(map(str, images.split))
    splits = ", ".join(f"{sides[name]:,} {name}" for name in SPLITS if sides[name])
    stages = Counter(site.stage for site in sites)
    print(f"store        {path}{there}")
    print(f"samples      {len(images):,} ({splits})")
    for note in images_notes(images):
        print(f"             {note}")
    print(f"sites        {len(sites)} ({', '.join(f'{count} {stage}' for stage, count in stages.items())})")
    total = readable(space.of_store(len(images), chunk_rows, per_sample))
    print(f"on disk      {total}, {readable(per_sample)} a sample, flushed every {chunk_rows:,} samples")
    estimate = _estimate(config, images, outline)
    weights = outline.total_parameters * estimate.itemsize
    buffers = chunk_rows * per_sample
    pixels = estimate.input_bytes * (2 * max(config.workers, config.batch_size) + (WINDOW + 1) * config.batch_size)
    print(
        f"memory       {readable(buffers + pixels)} on the host: {readable(buffers)} for a flush unit, "
        f"{readable(pixels)} for images under way; and {readable(weights)} for weights on {estimate.device}"
    )
    print(
        f"tokens       {estimate.patches:,.0f} patches"
        f"{f' and {estimate.tokens:,.0f} LLM tokens' if estimate.tokens else ''} an image, "
        f"the mean of {estimate.tried}"
    )
    bound = (
        "the model" if estimate.model_seconds >= estimate.loader_seconds else "decoding images; more --workers may help"
    )
    seconds = len(images) * max(estimate.model_seconds, estimate.loader_seconds)
    print(
        f"time         about {_duration(seconds)}, set by {bound}; an estimate from "
        f"{estimate.flops_per_second / 1e9:,.0f} GFLOP/s on {estimate.device}, half of what matrix products reach here"
    )


@dataclass(frozen=True)
class _Estimate:
    """Seconds are per image."""

    device: str
    itemsize: int
    tried: int
    tokens: float
    patches: float
    input_bytes: float
    flops_per_second: float
    model_seconds: float
    loader_seconds: float


def _estimate(config: ExtractConfig, images: ImageSet, outline: Outline) -> _Estimate:
    """Encode a few images and time matrix products of the model's own shape: 2 x parameters x tokens operations."""
    from hooks.configs import dtype_named, load_config
    from hooks.loading import device_named
    from hooks.processors import load_processor

    options: dict[str, Any] = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    processor = load_processor(
        config.model,
        **options,
        image_backend=config.image_backend,
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
    )
    rows = np.unique(np.linspace(0, len(images) - 1, min(TRIED, len(images))).astype(int))
    with Loader(images, processor, encoder(config), workers=1, ahead=0) as loader:
        loader.sample(int(rows[0]))  # the first call warms caches up
        start = time.perf_counter()
        samples = [loader.sample(int(row)) for row in rows]
        loader_seconds = (time.perf_counter() - start) / len(rows) / config.workers
    inputs = [sample.inputs for sample in samples if sample.inputs is not None]
    if not inputs:
        raise InputError(f"none of {len(rows)} images tried can be used; {images.ids[rows[0]]}: {samples[0].reason}")
    speaks = "llm" in outline.parameters
    tokens = float(np.mean([one["input_ids"].shape[-1] for one in inputs])) if speaks else 0.0
    patch = _patch_size(load_config(config.model, **options))
    patches = float(np.mean([_patches(one, patch, tokens) for one in inputs]))
    device, dtype = device_named(config.device), dtype_named(dtype_name(config, outline))
    speed = _flops_per_second(device, dtype, outline.stages["llm"][1] if "llm" in outline.stages else 1024)
    speed *= EFFICIENCY
    operations = 2 * (outline.parameters.get("encoder", 0) * patches + outline.parameters.get("llm", 0) * tokens)
    size = float(np.mean([sum(value.numel() * value.element_size() for value in one.values()) for one in inputs]))
    itemsize = dtype.itemsize
    return _Estimate(
        str(device), itemsize, len(inputs), tokens, patches, size, speed, operations / speed, loader_seconds
    )


def _flops_per_second(device: torch.device, dtype: torch.dtype, width: int) -> float:
    """Of (1024, width) x (width, 4 width) products, as in a block's feed-forward part; the best of a few."""
    import torch

    a = torch.ones(1024, width, device=device, dtype=dtype)
    b = torch.ones(width, 4 * width, device=device, dtype=dtype)
    best, started = math.inf, time.perf_counter()
    while time.perf_counter() - started < 0.5 or best == math.inf:
        start = time.perf_counter()
        torch.matmul(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * 1024 * width * 4 * width / best


def _patches(inputs: Any, patch: int | None, tokens: float) -> float:
    """Rows of the encoder: already patches, (patch, value) or a list of those for each image, or pictures to be cut,
    (tile, channel, height, width)."""
    pixels = inputs.get("pixel_values")
    if pixels is None:
        return tokens
    if pixels.ndim <= 3:
        return math.prod(pixels.shape[:-1])
    return pixels.numel() / pixels.shape[-3] / patch**2 if patch else tokens


def _patch_size(config: Any) -> int | None:
    found = getattr(getattr(config, "vision_config", config), "patch_size", None)
    return int(found[0]) if isinstance(found, list | tuple) else found


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
