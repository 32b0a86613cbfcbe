"""TransformerLens as a second reader of text activations, over the same weights: an independent check of the first."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from commandline import InputError
from hooks.loading import Loaded
from hooks.rows import Ownership, pool_rows, sample_rows
from hooks.sites import Site, SiteMap

Reader = Callable[[Mapping[str, Any], Ownership, Literal["mean", "last"]], dict[str, Any]]


def bridge_reader(loaded: Loaded, sites: SiteMap) -> Reader:
    """A function like `hooks.tracing.trace` that reads `text.*` sites through a TransformerBridge.

    The bridge rewrites the module it is given, so it gets a second module tree that shares the loaded model's weights.

    Raises:
        InputError: TransformerLens, or transformers' causal-LM classes, do not know this model's language model.
    """
    # Importing it takes some ten seconds and turns transformers' warnings off, so it is imported only when asked for.
    from transformer_lens.model_bridge import TransformerBridge

    shell = _shell(loaded)
    try:
        bridge = TransformerBridge.boot_transformers(
            loaded.source,
            hf_model=shell,
            tokenizer=copy.deepcopy(loaded.tokenizer),
            device=str(loaded.device),
            dtype=loaded.dtype,
        )
    except (ValueError, NotImplementedError, ImportError) as error:
        raise InputError(f"TransformerLens does not support {type(shell).__name__}; use backend=nnsight") from error
    hooks = {name: _hook(site) for name, site in sites.items()}

    def read(inputs: Mapping[str, Tensor], owner: Ownership, pool: Literal["mean", "last"]) -> dict[str, Any]:
        wanted = set(hooks.values())
        with torch.no_grad():
            _, cache = bridge.run_with_cache(
                inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                names_filter=lambda name: name in wanted,
                return_type=None,
            )
        return {name: pool_rows(*sample_rows(sites[name], [cache[hook]], owner), pool) for name, hook in hooks.items()}

    return read


def _hook(site: Site) -> str:
    if site.layer is None:
        return "ln_final.hook_out"
    return "blocks.0.hook_resid_pre" if site.layer == 0 else f"blocks.{site.layer - 1}.hook_resid_post"


def _shell(loaded: Loaded) -> nn.Module:
    """A causal LM of transformers that holds the loaded model's own weight tensors (nothing is copied)."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    model: Any = loaded.model
    # A copy: the bridge writes into it (attention becomes eager), and the loaded model reads the original.
    config = copy.deepcopy(model.config.get_text_config())
    try:
        with init_empty_weights(include_buffers=False):
            shell = AutoModelForCausalLM.from_config(config)
    except ValueError as error:
        raise InputError(
            f"transformers has no causal-LM class for {type(config).__name__}, so TransformerLens cannot read it; "
            "use backend=nnsight"
        ) from error
    decoder = shell.get_decoder()
    decoder.load_state_dict(model.get_decoder().state_dict(), assign=True)
    shell.get_output_embeddings().load_state_dict(model.get_output_embeddings().state_dict(), assign=True)
    return shell.to(loaded.device).eval().requires_grad_(False)
