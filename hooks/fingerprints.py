"""What makes two models the same: hashes of content, whatever the folder they lie in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def config_hash(config: Any) -> str:
    """sha256 of a transformers configuration, without where it was loaded from."""
    content = {
        key: value for key, value in config.to_dict().items() if key not in ("_name_or_path", "transformers_version")
    }
    return _hash(content)


def weights_hash(model: nn.Module) -> str:
    """sha256 over the name, shape and sixteen evenly spaced values of every parameter.

    Tells a fine-tuned or retrained model from its base under the same name, in milliseconds; not a proof of equality.
    """
    import torch

    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        flat = weight.detach().flatten()
        places = torch.linspace(0, flat.numel() - 1, 16, dtype=torch.float64).long().to(flat.device)
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(flat[places].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def files_stamp(model: str) -> str | None:
    """sha256 over the names, sizes and times of change of a directory's files; None for a hub id.

    While it stays the same, the weights are those of last time, and nothing need be loaded to know it.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return None
    files = [(file.name, file.stat()) for file in sorted(folder.iterdir()) if file.is_file()]
    return _hash([(name, stat.st_size, stat.st_mtime_ns) for name, stat in files])


def processor_hash(processor: Any) -> str:
    """sha256 of everything that turns an image and a prompt into inputs: image settings, tokenizer, chat template."""
    image, tokenizer = getattr(processor, "image_processor", processor), getattr(processor, "tokenizer", processor)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return _hash(
        {
            "image": image.to_dict() if hasattr(image, "to_dict") else None,
            "tokenizer": backend.to_str() if backend is not None else type(tokenizer).__name__,
            "template": getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None),
        }
    )


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
