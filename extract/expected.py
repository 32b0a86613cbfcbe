"""What a model will give, foretold from its configuration: its sites, their widths, the bytes of a row."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from commandline import InputError
from extract.config import ExtractConfig, TextConfig
from extract.dtypes import STORED

if TYPE_CHECKING:
    from hooks.outline import Outline


@dataclass(frozen=True)
class ExpectedSite:
    """A site as the configuration alone foretells it."""

    name: str
    stage: str
    width: int


def read_outline(config: ExtractConfig | TextConfig) -> Outline:
    """The model's layers, widths and parameters, from its configuration. Raises InputError."""
    from hooks.outline import outline

    return outline(config.model, revision=config.revision, trust_remote_code=config.trust_remote_code)


def expected_sites(
    config: ExtractConfig | TextConfig, outline: Outline | None = None
) -> tuple[list[ExpectedSite], int]:
    """The sites the settings ask for, and the bytes of a stored number; from the model's configuration alone."""
    outline = outline or read_outline(config)
    sites: list[ExpectedSite] = []
    stages = _text_stage(config, outline) if isinstance(config, TextConfig) else outline.stages
    for stage, (count, width) in stages.items():
        if stage == "encoder":
            names = [f"encoder.{layer}" for layer in range(1, count + 1)]
        elif stage == "projector":
            names = ["projector"]
        else:
            names = [*(f"{stage}.{layer}" for layer in range(count - 1)), f"{stage}.final"]
        sites += [ExpectedSite(name, stage, width) for name in names]
        if stage == "encoder" and outline.encoder_final:
            sites.append(ExpectedSite("encoder.final", stage, outline.encoder_final))
    if config.sites is not None:
        sites = [site for site in sites if any(fnmatch.fnmatch(site.name, pattern) for pattern in config.sites)]
    dtype = config.store_dtype if config.store_dtype != "auto" else dtype_name(config, outline)
    return sites, np.dtype(STORED.get(dtype, "float32")).itemsize


def _text_stage(config: TextConfig, outline: Outline) -> dict[str, tuple[int, int]]:
    for stage in ("text", "llm"):
        if stage in outline.stages:
            return {"text": outline.stages[stage]}
    raise InputError(f"{config.model} encodes images and has no language model to read text with")


def bytes_per_sample(sites: Sequence[ExpectedSite], itemsize: int) -> int:
    """Bytes of a stored row at every one of the sites."""
    return sum(site.width for site in sites) * itemsize


def dtype_name(config: ExtractConfig | TextConfig, outline: Outline) -> str:
    """The dtype the model will have. Raises InputError when the device is not there."""
    from hooks.loading import device_named

    if config.dtype != "auto":
        return config.dtype
    return "float32" if device_named(config.device).type == "cpu" else str(outline.dtype).removeprefix("torch.")
