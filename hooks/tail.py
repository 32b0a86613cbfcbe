"""The end of an LLM: its final norm and its unembedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from hooks.evidence import Evidence, Side, inside
from hooks.recording import Call, Rows
from hooks.sites import Key
from hooks.stacks import Stack


def find_head(model: nn.Module, evidence: Evidence) -> str | None:
    """The unembedding: what transformers says it is where it ran, else the last matrix that made the output."""
    ran = {call.module for call in evidence.calls}
    names = {id(module): name for name, module in model.named_modules()}
    for module in model.modules():
        named: Any = getattr(module, "get_output_embeddings", None)
        said = named() if named is not None else None
        if said is not None and names.get(id(said)) in ran:
            return names[id(said)]
    outputs = [rows for rows in evidence.calls[0].outputs.values() if len(rows.shape) == 3]
    for call in reversed(evidence.calls):
        own = any(weight.ndim > 1 for weight in model.get_submodule(call.module).parameters(recurse=False))
        if own and any(made.same(rows) for made in call.outputs.values() for rows in outputs):
            return call.module
    return None


def find_norm(
    model: nn.Module, evidence: Evidence, stack: Stack, tokens: tuple[int, int] | None = None
) -> tuple[Call, Side, Key] | None:
    """What the final norm hands on: of the module without matrices that reads the last block's output, or, where it is
    another one that makes what the unembedding reads out of that (mixing streams, say), of that one. Where something
    is written into the last output on the way, what the unembedding reads. None where it reads that output itself.

    `tokens`: samples and sequence length of what the unembedding reads; None for a stack that has none (a tower).
    """
    last, residual = stack.blocks[-1], stack.target(len(stack) - 1)
    after = [call for call in evidence.calls if call.entered > last.left]
    norm = _norm(model, after, residual)
    head = find_head(model, evidence) if tokens else None
    reader = next((call for call in after if call.module == head), None)
    key = reader.main_input() if reader else None
    if reader is None or key is None or reader.inputs[key].shape[:2] != tokens:
        return norm
    read = reader.inputs[key]
    if read.same(residual):
        return None
    for call in after:
        made = [name for name, rows in call.outputs.items() if rows.same(read)]
        if call.module == head or call.left > reader.entered or not made:
            continue
        plain = all(weight.ndim < 2 for weight in model.get_submodule(call.module).parameters())
        if norm is None or inside(norm[0].module, call.module) or (plain and _feeds(norm, call)):
            return call, "outputs", made[0]
    return norm or (reader, "inputs", key)


def _norm(model: nn.Module, after: Sequence[Call], residual: Rows) -> tuple[Call, Side, Key] | None:
    for call in after:
        target = call.main_output()
        weights = [weight.ndim for weight in model.get_submodule(call.module).parameters()]
        if target is None or not weights or max(weights) > 1 or call.outputs[target].shape != residual.shape:
            continue
        if any(residual.same(rows) for rows in call.inputs.values()):
            return call, "outputs", target
    return None


def _feeds(norm: tuple[Call, Side, Key], call: Call) -> bool:
    return any(norm[0].outputs[norm[2]].same(rows) for rows in call.inputs.values())
