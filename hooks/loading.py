"""Load a model and what makes its inputs, through transformers or OpenCLIP, trained or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commandline import InputError, first_line
from hooks.configs import Kind, config_dtype, dtype_named, load_config, model_class, model_kind, source_name, untrained
from hooks.openclip import is_open_clip, load_open_clip
from hooks.processors import ImageBackend, load_processor

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Loaded:
    """A model ready for forward passes (evaluation mode, no gradients) and what makes its inputs of images and text."""

    model: torch.nn.Module
    processor: Any
    """Images, and text where the model takes it, to inputs; None for a language model without vision."""
    tokenizer: Any
    """transformers' tokenizer; None for a model without text."""
    source: str
    """The directory or hub id it came from."""
    revision: str | None
    """The hub commit; None for a directory."""
    image_backend: ImageBackend
    """What resizes images: PIL's and torchvision's pixels differ slightly, so the choice is recorded."""
    random_init: bool
    kind: Kind

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.model.parameters() if p.is_floating_point())


def load(
    source: str | Path,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    revision: str | None = None,
    random_init: bool = False,
    seed: int = 0,
    trust_remote_code: bool = False,
    image_backend: ImageBackend = "pil",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> Loaded:
    """Load a vision-language model, a causal LM, a pair of encoders of images and texts, or an image encoder.

    `source` is a directory written by `save_pretrained` or a hub id; or an OpenCLIP checkpoint:
    `hf-hub:owner/name`, or a directory with open_clip_config.json, which need the extra `clip`.

    Args:
        device: "auto" is the first GPU if there is one; otherwise anything `torch.device` takes.
        dtype: "auto" is the checkpoint's own on a GPU, and float32 on a CPU, where half precision is slow.
        random_init: the same architecture with untrained weights drawn from `seed`: a control for what probes find.
        image_backend: "pil" works everywhere; "torchvision" needs it installed.
        min_pixels, max_pixels: the budget of image processors that resize to one; None leaves the checkpoint's.

    Raises:
        InputError: the source does not exist, is not a model transformers knows, or the device is not there.
    """
    import torch
    from safetensors import SafetensorError

    name, where = source_name(source), device_named(device)
    if is_open_clip(name):
        if revision or min_pixels or max_pixels:
            raise InputError(f"{name} is an OpenCLIP checkpoint, which takes no revision and no pixel budget")
        model, processor = load_open_clip(name, None if dtype == "auto" else dtype_named(dtype), random_init, seed)
        return Loaded(_ready(model, where), processor, None, name, None, "torchvision", random_init, "vision")
    config = load_config(name, revision=revision, trust_remote_code=trust_remote_code)
    cls, kind = model_class(name, config), model_kind(name, config)
    if isinstance(dtype, str) and dtype == "auto":
        precision = config_dtype(config) if where.type != "cpu" else torch.float32
    else:
        precision = dtype_named(dtype)
    processor = load_processor(
        name,
        revision=revision,
        trust_remote_code=trust_remote_code,
        image_backend=image_backend,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        config=config,
    )
    if random_init:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = untrained(name, config, dtype=precision, trust_remote_code=trust_remote_code)
    else:
        try:
            model = cls.from_pretrained(
                name, config=config, dtype=precision, revision=revision, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"{name}: its weights cannot be loaded: {first_line(error)}") from error
    return Loaded(
        model=_ready(model, where),
        processor=processor if kind != "text" else None,
        tokenizer=processor if kind == "text" else getattr(processor, "tokenizer", None),
        source=name,
        revision=getattr(config, "_commit_hash", None) or revision,
        image_backend=image_backend,
        random_init=random_init,
        kind=kind,
    )


def _ready(model: Any, where: torch.device) -> torch.nn.Module:
    return model.to(where).eval().requires_grad_(False)


def device_named(device: str) -> torch.device:
    """The torch device; "auto" is the first GPU if there is one, else the CPU. Raises InputError if it is not there."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is not known to torch; use auto, cpu, cuda or cuda:N") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    return found
