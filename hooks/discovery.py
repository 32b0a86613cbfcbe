"""Find a model's sites from its structure and a few dry forwards: no names of models, classes or configuration keys.

The forward is recorded as it is, with its pixels changed (twice, in two ways) and with one text token changed. What
moves with the pixels and not with the text is vision; what moves with the text is the LLM. The vision blocks are the
list of modules whose outputs chain into each other on the vision side; the LLM blocks the same on the text side; the
visual positions are the rows of the first LLM block's input that moved with the pixels; and so on. Method and its
measured reach: recordings of 97 image-text models in transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from commandline import InputError
from hooks.inputs import change_pixels, change_text, pixel_names, to_device
from hooks.recording import Call, Recording, Rows, record
from hooks.sites import Axis, Key, Site, SiteMap, Stage


@dataclass(frozen=True)
class _Evidence:
    """What the recordings say: the unchanged forward's calls, and which rows move with the pixels or with the text."""

    calls: tuple[Call, ...]
    pixels: tuple[Mapping[tuple[str, int], Call], ...]
    text: tuple[Mapping[tuple[str, int], Call], ...]

    def first(self, module: str) -> Call:
        return next(call for call in self.calls if call.module == module)

    def moved(self, call: Call, side: str, key: Key, runs: Sequence[Mapping[tuple[str, int], Call]]) -> Tensor:
        """Which rows of a tensor differ in any of `runs`: bool, the tensor's shape without its last axis."""
        here: Rows = getattr(call, side)[key]
        moved = torch.zeros_like(here.hashes, dtype=torch.bool)
        for run in runs:
            other = run.get((call.module, call.index))
            there = getattr(other, side).get(key) if other else None
            if there is not None and there.shape == here.shape:
                moved |= here.hashes != there.hashes
            else:
                moved[...] = True
        return moved

    def sees(self, call: Call) -> bool:
        return any(bool(self.moved(call, "outputs", key, self.pixels).any()) for key in call.outputs)

    def reads(self, call: Call) -> bool:
        return any(bool(self.moved(call, "outputs", key, self.text).any()) for key in call.outputs)


def find_sites(model: nn.Module, inputs: Mapping[str, Any]) -> SiteMap:
    """The sites of any transformers model that takes `inputs` (what its forward takes: one batch, images and text).

    With images: `encoder.*`, `projector`, `llm.*`. Without: `text.*`, on a causal LM or a vision-language model's LLM.

    Raises:
        InputError: no text tokens in the inputs, no stack of LLM blocks, or a model that does not see its pixels.
    """
    if "input_ids" not in inputs:
        raise InputError(f"the inputs have no input_ids (there are {', '.join(inputs)}); give the processor's output")
    weight = next(weight for weight in model.parameters() if weight.is_floating_point())
    inputs = to_device(inputs, weight.device, weight.dtype)
    was_training = model.training
    model.eval()
    try:
        evidence = _gather(model, inputs)
    finally:
        model.train(was_training)
    stacks = _stacks(model, evidence)
    blocks = _llm_blocks(evidence, stacks, inputs["input_ids"].shape)
    if not pixel_names(inputs):
        return SiteMap(_in_order(_residual_sites(model, evidence, blocks, "text")))
    if not evidence.sees(evidence.first("")):
        raise InputError(
            f"{type(model).__name__} does not see its pixels: its output does not change with them. An untrained "
            "model can be blind (zero or tiny initial weights); use trained weights or another initialisation"
        )
    return _vision_language_sites(model, inputs, evidence, stacks, blocks)


def _gather(model: nn.Module, inputs: dict[str, Any]) -> _Evidence:
    base = record(model, inputs)
    changed = [record(model, change_pixels(inputs, kind)) for kind in (0, 1)] if pixel_names(inputs) else []
    spoken = [record(model, change_text(inputs))]
    return _Evidence(base.calls, _keyed(changed), _keyed(spoken))


def _keyed(recordings: Sequence[Recording]) -> tuple[Mapping[tuple[str, int], Call], ...]:
    return tuple(recording.by_key() for recording in recordings)


def _stacks(model: nn.Module, evidence: _Evidence) -> list[list[Call]]:
    """Every list of modules, as its entries' calls in execution order (an entry never called stands for its parts)."""
    first: dict[str, Call] = {}
    for call in evidence.calls:
        first.setdefault(call.module, call)
    canonical = {id(module): name for name, module in model.named_modules()}

    def entries(name: str, module: nn.Module) -> list[Call]:
        name = canonical.get(id(module), name)
        if name in first:
            return [first[name]]
        return [call for child, part in module.named_children() for call in entries(f"{name}.{child}", part)]

    stacks = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            found = {
                call.module: call
                for child, part in module.named_children()
                for call in entries(f"{name}.{child}", part)
            }
            if found:
                stacks.append(sorted(found.values(), key=lambda call: call.entered))
    return stacks


def _keeps_shape(call: Call) -> bool:
    source, target = call.main_input(), call.main_output()
    return source is not None and target is not None and call.inputs[source].shape == call.outputs[target].shape


def _chains(stack: Sequence[Call]) -> bool:
    """Whether some block's output is the next one's input, bit for bit."""
    for before, after in pairwise(stack):
        source, target = before.main_output(), after.main_input()
        if source is not None and target is not None and before.outputs[source].same(after.inputs[target]):
            return True
    return len(stack) == 1


def _outermost(stacks: Sequence[list[Call]]) -> list[list[Call]]:
    """Without the lists that stand inside a block of another list."""

    def inside(stack: list[Call], other: list[Call]) -> bool:
        return any(stack[0].module.startswith(f"{block.module}.") for block in other)

    return [stack for stack in stacks if not any(inside(stack, other) for other in stacks if other is not stack)]


def _llm_blocks(evidence: _Evidence, stacks: Sequence[list[Call]], sequence: Sequence[int]) -> list[Call]:
    """The text side's blocks: the longest outermost stack that maps (sample, token, feature) to itself."""
    found = []
    for stack in stacks:
        spoken = [call for call in stack if evidence.reads(call)]
        shapes = {call.inputs[key].shape for call in spoken if (key := call.main_input())}
        fits = all(len(shape) == 3 and shape[0] == sequence[0] for shape in shapes)
        if spoken and shapes and fits and all(_keeps_shape(call) for call in spoken):
            found.append(spoken)
    found = [stack for stack in _outermost(found) if _chains(stack)]
    if not found:
        raise InputError("no stack of LLM blocks is found: no list of modules maps (sample, token, feature) to itself")
    return max(found, key=lambda stack: (len(stack), -stack[0].entered))


def _residual_sites(model: nn.Module, evidence: _Evidence, blocks: Sequence[Call], stage: Stage) -> list[Site]:
    """Each block's input, the last one's output, and what the final norm makes of it."""
    sites = []
    for layer, block in enumerate(blocks):
        key = _required(block.main_input())
        sites.append(
            Site(
                f"{stage}.{layer}", stage, layer, block.module, "input", key, block.inputs[key].shape[-1], block.entered
            )
        )
    last = blocks[-1]
    key = _required(last.main_output())
    residual = last.outputs[key]
    sites.append(
        Site(f"{stage}.{len(blocks)}", stage, len(blocks), last.module, "output", key, residual.shape[-1], last.left)
    )
    for call in evidence.calls:
        source, target = call.main_input(), call.main_output()
        if call.entered < last.left or source is None or target is None or not residual.same(call.inputs[source]):
            continue
        weights = [weight.ndim for weight in model.get_submodule(call.module).parameters()]
        if weights and max(weights) == 1 and call.outputs[target].shape == residual.shape:
            width = residual.shape[-1]
            sites.append(Site(f"{stage}.final", stage, None, call.module, "output", target, width, call.left))
            break
    return sites


def _vision_language_sites(
    model: nn.Module, inputs: Mapping[str, Any], evidence: _Evidence, stacks: list[list[Call]], blocks: list[Call]
) -> SiteMap:
    sites, missing = [], {}
    encoder = _encoder_blocks(evidence, stacks)
    for layer, block in enumerate(encoder, start=1):
        key = _required(block.main_output())
        width = block.outputs[key].shape[-1]
        sites.append(
            Site(
                f"encoder.{layer}",
                "encoder",
                layer,
                block.module,
                "output",
                key,
                width,
                block.left,
                axes=_axes(block.outputs[key].shape),
            )
        )
    if not encoder:
        missing["encoder"] = "no stack of vision blocks keeps its tokens' shape from one block to the next"
    first = blocks[0]
    positions = evidence.moved(first, "inputs", _required(first.main_input()), evidence.pixels)
    ids = inputs["input_ids"]
    if positions.shape != ids.shape or not positions.any():
        reason = (
            "no position of the LLM's input depends on the pixels: its blocks read the image by cross-attention"
            if positions.shape == ids.shape
            else f"the LLM's sequence has {positions.shape[-1]} positions for {ids.shape[-1]} token ids: not one to one"
        )
        return SiteMap(_in_order(sites), missing={**missing, "projector": reason, "llm": reason})
    fused, key = _fused_input(evidence, first)
    width = fused.inputs[key].shape[-1]
    # The rows are whole once the module they enter begins, a moment before anything inside it does.
    sites.append(Site("projector", "projector", None, fused.module, "input", key, width, fused.entered))
    sites += _residual_sites(model, evidence, blocks, "llm")
    return SiteMap(
        _in_order(sites),
        fusion="tokens",
        entry=next(site for site in sites if site.name == "projector"),
        placeholder_ids=tuple(ids[positions.to(ids.device)].unique().tolist()),
        projector_module=_projector_module(evidence, fused.inputs[key], positions, encoder),
        missing=missing,
    )


def _encoder_blocks(evidence: _Evidence, stacks: Sequence[list[Call]]) -> list[Call]:
    """The vision side's blocks: the longest chained stack whose first input already depends on the pixels.

    That last condition sets towers apart from resamplers, which start from learned queries.
    """
    found = []
    for stack in stacks:
        vision = all(evidence.sees(call) and not evidence.reads(call) for call in stack)
        if len(stack) > 1 and vision and all(_keeps_shape(call) for call in stack) and _chains(stack):
            source = _required(stack[0].main_input())
            if evidence.moved(stack[0], "inputs", source, evidence.pixels).any():
                found.append(stack)
    return max(_outermost(found), key=lambda stack: (len(stack), stack[0].entered), default=[])


def _fused_input(evidence: _Evidence, first_block: Call) -> tuple[Call, Key]:
    """Where text and image rows first stand together: the earliest module input that depends on both."""
    for call in evidence.calls:
        if call.entered > first_block.entered:
            break
        for key, rows in call.inputs.items():
            if (
                len(rows.shape) != 3
                or rows.shape[:2] != first_block.inputs[_required(first_block.main_input())].shape[:2]
            ):
                continue
            if all(evidence.moved(call, "inputs", key, runs).any() for runs in (evidence.pixels, evidence.text)):
                return call, key
    return first_block, _required(first_block.main_input())


def _projector_module(evidence: _Evidence, fused: Rows, positions: Tensor, encoder: Sequence[Call]) -> str | None:
    """The vision module that hands out most of the rows found at the visual positions; of equals, the outermost without
    encoder blocks in it. None when the rows were changed on the way (scaled, or added to)."""
    wanted = fused.hashes[positions]
    best: tuple[float, int, str | None] = (0.0, 0, None)
    for call in evidence.calls:
        if evidence.reads(call) or any(block.module.startswith(f"{call.module}.") for block in encoder):
            continue
        made = [rows.hashes.flatten() for rows in call.outputs.values() if rows.shape[-1] == fused.shape[-1]]
        if made:
            share = float(torch.isin(wanted, torch.cat(made)).float().mean())
            best = max(best, (share, -call.module.count("."), call.module))
    return best[2]


def _axes(shape: Sequence[int]) -> tuple[Axis, ...]:
    by_rank: dict[int, tuple[Axis, ...]] = {
        2: ("row", "feature"),
        3: ("unit", "row", "feature"),
        4: ("unit", "row", "column", "feature"),
    }
    return by_rank[len(shape)]


def _required(key: Key | None) -> Key:
    if key is None:
        raise InputError("a block passes no hidden states that can be read as a tensor")
    return key


def _in_order(sites: Sequence[Site]) -> dict[str, Site]:
    return {site.name: site for site in sorted(sites, key=lambda site: site.order)}
