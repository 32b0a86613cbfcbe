"""`python -m hooks MODEL`: where a model's sites are, and `python -m hooks certify MODEL`: the proof."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, Literal

from commandline import Command, Config, InputError, main

if TYPE_CHECKING:
    from hooks import Loaded

SIZES = ((448, 336), (672, 224))
"""Width and height of the images that are run, where two are wanted: different shapes, different numbers of tokens."""
PROMPT = "Describe this image."


# `--json` is what people type; pydantic's method of that name is long deprecated.
warnings.filterwarnings("ignore", message='Field name "json"')


class ModelConfig(Config):
    """What a model is loaded with."""

    model: str
    """A directory written by save_pretrained, a hub id, or hf-hub:owner/name for an OpenCLIP checkpoint."""
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
    json: bool = False  # pyright: ignore[reportIncompatibleMethodOverride]
    """Print JSON."""


class SitesConfig(ModelConfig):
    """Find the sites of a model by running it on two images (or, without vision, on one sentence) and print them."""

    tree: bool = False
    """Draw them in the tree of the model's modules."""


class CertifyConfig(ModelConfig):
    """Check every claim about a model's sites on that very model. Exits with 1 if one does not hold."""


def show(config: SitesConfig) -> None:
    """Print the site map, as a table, a tree or JSON."""
    import json

    from hooks import find_sites, text_sites
    from hooks.table import site_json, site_table

    loaded = _load(config)
    if loaded.kind == "text":
        sites, tokens = text_sites(loaded), {}
    else:
        samples = _samples(loaded)
        sites = find_sites(loaded.model, next(iter(samples.values())))
        tokens = {name: _count(loaded, inputs, sites) for name, inputs in samples.items()}
    about = _about(loaded)
    if config.json:
        print(json.dumps(site_json(sites, tokens, about), indent=2))
        return
    if config.tree:
        from hooks.tree import site_tree

        print(site_tree(loaded.model, sites))
        return
    known = loaded.tokenizer.convert_ids_to_tokens(list(sites.placeholder_ids)) if loaded.tokenizer else []
    print(f"{about['class']}, {about['parameters']:,} parameters, {about['dtype']} on {about['device']}\n")
    print(site_table(sites, tokens, dict(zip(sites.placeholder_ids, known, strict=False))))


def prove(config: CertifyConfig) -> int:
    """Print the certificate."""
    import json

    from hooks.certificate import certificate_table
    from hooks.certifying import certify
    from hooks.text import text_sample

    loaded = _load(config)
    texts = ("Describe what a terrier looks like.", PROMPT)
    inputs = [text_sample(loaded, texts)] if loaded.kind == "text" else list(_samples(loaded).values())
    certificate = certify(loaded.model, inputs)
    print(json.dumps(certificate.to_dict(), indent=2) if config.json else certificate_table(certificate))
    return 0 if certificate.ok else 1


def _load(config: ModelConfig) -> Loaded:
    from hooks import load

    return load(**config.model_dump(exclude={"json", "tree", "model"}), source=config.model)


def _about(loaded: Loaded) -> dict[str, Any]:
    return {
        "source": loaded.source,
        "class": type(loaded.model).__name__,
        "parameters": sum(weight.numel() for weight in loaded.model.parameters()),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "device": str(loaded.device),
    }


def _samples(loaded: Loaded) -> dict[str, Any]:
    """Inputs of one image each, of noise: no two of its patches are alike. A processor may refuse the second shape."""
    import numpy as np
    from PIL import Image

    from hooks.encoding import encode

    rng = np.random.default_rng(0)
    pixels = {f"{w}×{h}": rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for w, h in SIZES}
    samples: dict[str, Any] = {}
    for name, value in pixels.items():
        try:
            samples[name] = encode(loaded.processor, Image.fromarray(value), PROMPT)
        except InputError:
            if not samples:
                raise
    return samples


def _count(loaded: Loaded, inputs: Any, sites: Any) -> dict[str, int]:
    from hooks import capture

    return {name: len(rows[0]) for name, rows in capture(loaded.model, inputs, sites, "tokens").items()}


COMMANDS = {
    "sites": Command(SitesConfig, show, "model"),
    "certify": Command(CertifyConfig, prove, "model"),
}

if __name__ == "__main__":
    sys.exit(main("python -m hooks", COMMANDS, "sites"))
