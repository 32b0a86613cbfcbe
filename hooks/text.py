"""Read a language model's activations on text: a causal LM's, or those of the LLM inside a vision-language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from commandline import InputError
from hooks.discovery import find_sites
from hooks.loading import Loaded
from hooks.rows import Ownership
from hooks.sites import SiteMap
from hooks.tracing import trace

TextPool = Literal["mean", "name", "last"]
Backend = Literal["nnsight", "transformer_lens"]

_DRY_RUN = "The quick brown fox jumps over a lazy dog."


@dataclass(frozen=True)
class TextPrompt:
    """A prompt and, for `pool="name"`, the part of it whose tokens are read (its first occurrence)."""

    text: str
    name: str | None = None


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt's token ids and which of them are the prompt's own (no BOS, no chat template), and which the name's."""

    ids: tuple[int, ...]
    own: tuple[bool, ...]
    name: tuple[bool, ...]


def capture_text(
    loaded: Loaded,
    prompts: Sequence[TextPrompt | str],
    sites: SiteMap | Sequence[str] | None = None,
    pool: TextPool = "mean",
    *,
    chat: bool = False,
    system: str | None = None,
    batch_size: int = 32,
    backend: Backend = "nnsight",
) -> dict[str, Tensor]:
    """Run prompts through the LLM and return one row per prompt at each `text.*` site.

    Prompts are padded on the right, which a causal model's earlier tokens cannot see. What is pooled are the prompt's
    own tokens: special tokens and the chat template are read by the model but left out of the row (the first token of
    a sequence often carries an activation hundreds of times the others').

    Args:
        sites: a `SiteMap` from `text_sites`, names or patterns, or None for all.
        pool: `mean` over the prompt's tokens, `name` for the mean over those of `TextPrompt.name`, or `last`.
        chat: put each prompt into the tokenizer's chat template as the user's turn, `system` before it.
        backend: `transformer_lens` runs TransformerLens' bridge over the same weights, where it supports the model.

    Returns:
        {site name: float32 (prompt, feature)}, on the model's device.

    Raises:
        InputError: no prompts, an empty one, a name that its prompt does not contain, an unknown site, or a model that
            the backend does not support.
    """
    asked = [prompt if isinstance(prompt, TextPrompt) else TextPrompt(prompt) for prompt in prompts]
    if not asked:
        raise InputError("no prompts to read; give at least one")
    tokenized = [_tokenize(loaded.tokenizer, prompt, pool, chat, system) for prompt in asked]
    if not isinstance(sites, SiteMap):
        sites = text_sites(loaded).select(sites)
    if backend == "transformer_lens":
        from hooks.bridge import bridge_reader

        read = bridge_reader(loaded, sites)
    else:
        read = partial(trace, loaded.model, sites)
    reduce = "last" if pool == "last" else "mean"
    parts = [read(inputs, owner, reduce) for inputs, owner in _batches(tokenized, pool, batch_size, loaded.device)]
    return {name: torch.cat([part[name] for part in parts]) for name in sites.names}


def text_sites(loaded: Loaded) -> SiteMap:
    """The `text.*` sites of a causal LM, or of a vision-language model's LLM. Raises InputError without either."""
    if loaded.kind == "vision":
        raise InputError(f"{loaded.source} encodes images and has no language model to read text with")
    return find_sites(loaded.model, text_sample(loaded))


def text_sample(loaded: Loaded, texts: Sequence[str] = (_DRY_RUN,)) -> dict[str, Tensor]:
    """The inputs of an ordinary sentence, or of these texts in one batch."""
    prompts = [_tokenize(loaded.tokenizer, TextPrompt(text), "mean", False, None) for text in texts]
    return next(_batches(prompts, "mean", len(prompts), loaded.device))[0]


def _tokenize(tokenizer: Any, prompt: TextPrompt, pool: TextPool, chat: bool, system: str | None) -> TokenizedPrompt:
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{type(tokenizer).__name__} does not say which characters a token covers; a fast one is needed"
        )
    text = prompt.text
    if not text.strip():
        raise InputError("a prompt is empty; give every prompt some text")
    if chat:
        if not tokenizer.chat_template:
            raise InputError("this tokenizer has no chat template; leave chat out")
        turns = [{"role": "system", "content": system}] if system is not None else []
        turns.append({"role": "user", "content": text})
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    encoded = tokenizer(text, add_special_tokens=not chat, return_offsets_mapping=True)
    start = text.rfind(prompt.text)
    if start < 0:
        raise InputError(
            f"the chat template changes the prompt {prompt.text!r}: its tokens cannot be told; leave chat out"
        )
    own = _covered(encoded["offset_mapping"], start, start + len(prompt.text))
    name: tuple[bool, ...] = ()
    if pool == "name":
        place = prompt.text.find(prompt.name) if prompt.name else -1
        if place < 0 or not prompt.name:
            raise InputError(
                f"pool=name needs a name that its prompt contains; {prompt.name!r} is not in {prompt.text!r}"
            )
        name = _covered(encoded["offset_mapping"], start + place, start + place + len(prompt.name))
    return TokenizedPrompt(tuple(encoded["input_ids"]), own, name)


def _covered(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[bool, ...]:
    return tuple(first < end and last > start and last > first for first, last in offsets)


def _batches(
    prompts: Sequence[TokenizedPrompt], pool: TextPool, batch_size: int, device: torch.device
) -> Iterator[tuple[dict[str, Tensor], Ownership]]:
    for begin in range(0, len(prompts), batch_size):
        batch = prompts[begin : begin + batch_size]
        length = max(len(prompt.ids) for prompt in batch)

        def padded(rows: Sequence[Sequence[int | bool]], length: int = length) -> Tensor:
            return torch.tensor([[*map(int, row), *[0] * (length - len(row))] for row in rows], device=device)

        ids = padded([prompt.ids for prompt in batch])
        mask = padded([[1] * len(prompt.ids) for prompt in batch])
        read = padded([prompt.name if pool == "name" else prompt.own for prompt in batch]).bool()
        yield {"input_ids": ids, "attention_mask": mask}, Ownership.of(read)
