"""`python -m hooks MODEL`: where a model's sites are."""

from __future__ import annotations

import sys
from typing import Literal

from commandline import Command, Config, main


class SitesConfig(Config):
    """Find the sites of a model by running it on one image (or, without vision, on one sentence) and print them."""

    model: str
    """A directory written by save_pretrained, or a hub id."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    dtype: str = "auto"
    """auto (the checkpoint's own on a GPU, float32 on a CPU), float32, bfloat16, float16."""
    revision: str | None = None
    """The hub commit, branch or tag."""
    random_init: bool = False
    """The same architecture with untrained weights."""
    seed: int = 0
    """Of the untrained weights."""
    trust_remote_code: bool = False
    """Run model code from the hub: read it first."""
    image_backend: Literal["pil", "torchvision"] = "pil"
    """What resizes images."""


def show(config: SitesConfig) -> None:
    """Print one line a site."""
    import numpy as np
    from PIL import Image

    from hooks import capture, find_sites, load, text_sites
    from hooks.inputs import encode

    settings = config.model_dump()
    loaded = load(settings.pop("model"), **settings)
    if loaded.processor is None:
        sites, tokens = text_sites(loaded), {}
    else:
        # Noise: an image on which no two patches are alike.
        pixels = np.random.default_rng(0).integers(0, 256, (336, 448, 3), dtype=np.uint8)
        inputs = encode(loaded.processor, Image.fromarray(pixels), "Describe this image.")
        sites = find_sites(loaded.model, inputs)
        tokens = {name: len(rows[0]) for name, rows in capture(loaded.model, inputs, sites, "tokens").items()}
    rows = [("site", "width", "tokens", "read from")]
    rows += [
        (name, str(site.width), str(tokens.get(name, "-")), f"{site.reads} of {site.module}")
        for name, site in sites.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3]]))
    if sites.projector_module:
        print(f"the rows at the visual positions come from {sites.projector_module}")
    for stage, reason in sites.missing.items():
        print(f"no {stage} sites: {reason}")


if __name__ == "__main__":
    sys.exit(main("python -m hooks", {"sites": Command(SitesConfig, show, "model")}, "sites"))
