"""Find a model's sites from its structure and a few dry forwards: no names of models, classes or configuration keys.

The forward is recorded as it is, with its pixels changed (twice, in two ways) and with one text token changed. What
moves with the pixels and not with the text is vision; what moves with the text is the LLM. The vision blocks are the
list of modules whose outputs chain into each other on the vision side; the LLM blocks the same on the text side; the
visual positions are the rows of the LLM's sequence that moved with the pixels; the projector is the vision module that
made those rows. docs/architectures.md shows what this finds on every family of models that is tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, cast

from torch import Tensor, nn

from commandline import InputError
from hooks.axes import sequence_axes, vision_axes
from hooks.evidence import Evidence, Side, gather
from hooks.fusion import Llm, added_before, find_llm
from hooks.inputs import pixel_names, to_model, token_name
from hooks.matching import Maker, find_adders, find_maker
from hooks.positions import sample_count
from hooks.recording import Call, in_evaluation
from hooks.sites import Axis, Key, Site, SiteMap, Stage
from hooks.stacks import stacks
from hooks.tail import find_head, find_norm
from hooks.towers import Towers, find_towers, handed_over, without

_MOST_PLACEHOLDERS = 4
"""Different token ids under the image: more than these are ordinary words, and the places come from elsewhere."""


def find_sites(model: nn.Module, inputs: Mapping[str, Any]) -> SiteMap:
    """The sites of any transformers model that takes `inputs` (what its forward takes: one batch, images and text).

    Of a vision-language model: `encoder.*`, `projector`, `llm.*`, as far as they exist (`SiteMap.missing` says which do
    not, and why). Without text in the inputs or without an LLM that reads the image: `encoder.*`. Without images:
    `text.*`, on a causal LM or a vision-language model's LLM.

    Raises:
        InputError: neither text nor pixels in the inputs, no stack of blocks, or a model that does not see its pixels.
    """
    samples = sample_count(inputs)
    inputs = to_model(model, inputs)
    with in_evaluation(model):
        return _sites(model, inputs, gather(model, inputs), samples)


def _sites(model: nn.Module, inputs: Mapping[str, Any], evidence: Evidence, samples: int) -> SiteMap:
    found, ids = stacks(model, evidence), inputs.get(token_name(inputs) or "")
    length = ids.shape[1] if ids is not None else 0
    llm = find_llm(evidence, found, samples, length) if ids is not None else None
    if not pixel_names(inputs):
        if llm is None:
            raise InputError(
                "no stack of LLM blocks is found: no list of modules maps (sample, token, feature) to itself"
            )
        return SiteMap(_in_order(_residual_sites(model, evidence, llm, "text")), head=find_head(model, evidence))
    if not evidence.sees(evidence.calls[0]):
        raise InputError(
            f"{type(model).__name__} does not see its pixels: its output does not change with them. An untrained "
            "model can be blind (zero or tiny initial weights); use trained weights or another initialisation"
        )
    towers = find_towers(evidence, found)
    maker = find_maker(model, inputs, evidence, _wanted(evidence, llm), towers.blocks) if llm else None
    if maker:
        towers = without(towers, maker.module)
    sites, missing = _encoder_sites(model, evidence, towers, maker)
    if llm is None or llm.positions is None:
        return _unfused(model, evidence, llm, maker, sites, missing)
    return _fused(model, inputs, evidence, llm, towers, maker, sites, missing)


def _wanted(evidence: Evidence, llm: Llm) -> list[tuple[Call, Side, Key, Tensor]]:
    """Where rows that the projector made stand: where image and text first meet, and on the way to the blocks."""
    places = [place for place in (llm.entry, llm.states) if place is not None]
    if llm.entry is not None:
        block = llm.stack.blocks[llm.first]
        places.append((block, llm.stack.takes[llm.first]))
    return [(call, "inputs", key, evidence.moved(call, "inputs", key, evidence.pixels)) for call, key in places]


def _site(
    evidence: Evidence, name: str, layer: int | None, call: Call, side: Side, key: Key, axes: tuple[Axis, ...]
) -> Site:
    stage = cast(Stage, name.partition(".")[0].rstrip("0123456789"))
    sizes = zip(axes, getattr(call, side)[key].shape, strict=True)
    width = prod(size for axis, size in sizes if axis in ("stream", "feature"))
    # A vision module that runs once per image or view is read every time it runs.
    calls = [other for other in evidence.calls if other.module == call.module and evidence.of_vision(other)]
    ranks = {len(rows.shape) for other in calls if (rows := getattr(other, side).get(key)) is not None}
    repeated = len(calls) > 1 or evidence.repeats_with_samples(call.module)
    which = None if "token" not in axes and repeated and len(ranks) == 1 else call.index
    # An input stands whole once the module it enters begins, a moment before anything inside it does.
    order = call.entered if side == "inputs" else call.left
    reads = "input" if side == "inputs" else "output"
    return Site(name, stage, layer, call.module, reads, key, width, order, which, axes)


def _encoder_sites(
    model: nn.Module, evidence: Evidence, towers: Towers, maker: Maker | None
) -> tuple[list[Site], dict[str, str]]:
    sites, missing = [], {}
    for number, tower in enumerate(towers.towers, start=1):
        stage = "encoder" if number == 1 else f"encoder{number}"
        for layer, (block, key) in enumerate(zip(tower.blocks, tower.hands, strict=True), start=1):
            axes = vision_axes(model, evidence, block, "outputs", key)
            if axes is not None:
                sites.append(_site(evidence, f"{stage}.{layer}", layer, block, "outputs", key, axes))
    read = _leaving(model, evidence, towers, maker)
    if not sites:
        missing["encoder"] = (
            "no list of vision blocks: the projector reads the pixels, or what one module makes of them"
        )
    elif read is None:
        missing["encoder.final"] = (
            f"{maker.module} reads no rows of numbers (codes of a quantiser)"
            if maker
            else "no projector is recognised, and no norm after the last block"
        )
    else:
        call, side, key = read
        axes = vision_axes(model, evidence, call, side, key)
        if axes is not None:
            sites.append(_site(evidence, "encoder.final", None, call, side, key, axes))
    return sites, missing


def _leaving(
    model: nn.Module, evidence: Evidence, towers: Towers, maker: Maker | None
) -> tuple[Call, Side, Key] | None:
    """What the projector reads; of a tower that stands alone, what its last norm hands on."""
    if maker is not None:
        read = handed_over(evidence, towers, maker.module)
        return (read[0], "inputs", read[1]) if read else None
    return find_norm(model, evidence, towers.towers[0]) if towers.towers else None


def _unfused(
    model: nn.Module,
    evidence: Evidence,
    llm: Llm | None,
    maker: Maker | None,
    sites: list[Site],
    missing: dict[str, str],
) -> SiteMap:
    """Models without visual tokens: the LLM reads the image by cross-attention, or there is no LLM that reads it."""
    if llm is None or llm.states is None:
        reason = (
            "no language model reads the image"
            if llm is None
            else "the text is read by a tower that never reads the image"
        )
        return SiteMap(_in_order(sites), missing={**missing, "projector": reason, "llm": reason})
    call, key = llm.states
    axes = vision_axes(model, evidence, call, "inputs", key)
    projects = maker is not None and any(weight.ndim > 1 for weight in model.get_submodule(maker.module).parameters())
    if projects and axes is not None:
        sites.append(_site(evidence, "projector", None, call, "inputs", key, axes))
    else:
        missing["projector"] = "the LLM reads the encoder's output as it is"
        missing.pop("encoder.final", None)
        if axes is not None:
            sites = [site for site in sites if site.name != "encoder.final"]
            sites.append(_site(evidence, "encoder.final", None, call, "inputs", key, axes))
    missing["llm"] = "no position of the LLM's sequence holds the image: its blocks read it by cross-attention"
    return SiteMap(
        _in_order(sites),
        projector_module=maker.module if maker and projects else None,
        missing=missing,
        fusion="cross-attention",
        head=find_head(model, evidence),
    )


def _fused(
    model: nn.Module,
    inputs: Mapping[str, Any],
    evidence: Evidence,
    llm: Llm,
    towers: Towers,
    maker: Maker | None,
    sites: list[Site],
    missing: dict[str, str],
) -> SiteMap:
    """Models with visual tokens in the LLM's sequence."""
    assert llm.entry is not None and llm.positions is not None
    ids = inputs[token_name(inputs) or "input_ids"]
    call, key = llm.entry
    axes = llm.axes if len(call.inputs[key].shape) == len(llm.axes) else ("sample", "token", "feature")
    entry = _site(evidence, "projector", None, call, "inputs", key, axes)
    residual = _residual_sites(model, evidence, llm, "llm")
    adders = find_adders(model, inputs, evidence, llm.stack, added_before(evidence, llm.stack), towers.blocks)
    if llm.first:
        for block in range(llm.first):
            missing[f"llm.{block}"] = f"the image is added to the residual stream only before block {llm.first + 1}"
        residual = [site for site in residual if site.name not in missing]
    positions = llm.positions.to(ids.device)
    in_place = positions.shape == ids.shape
    under = ids[positions].unique().tolist() if in_place else []
    return SiteMap(
        _in_order([*sites, entry, *residual]),
        placeholder_ids=tuple(under) if 0 < len(under) <= _MOST_PLACEHOLDERS else (),
        projector_module=maker.module if maker else None,
        missing=missing,
        fusion="tokens" if in_place else "sequence",
        added={f"llm.{block}": module or "?" for block, module in adders.items()},
        entry=entry,
        head=find_head(model, evidence),
    )


def _residual_sites(model: nn.Module, evidence: Evidence, llm: Llm, stage: Stage) -> list[Site]:
    """Each block's input, the last one's output, and what the final norm makes of it."""
    stack, axes = llm.stack, llm.axes
    sites = [
        _site(evidence, f"{stage}.{layer}", layer, block, "inputs", key, axes)
        for layer, (block, key) in enumerate(zip(stack.blocks, stack.takes, strict=True))
    ]
    last, key = stack.blocks[-1], stack.hands[-1]
    sites.append(_site(evidence, f"{stage}.{len(stack)}", len(stack), last, "outputs", key, axes))
    samples, length = (stack.source(0).shape[axes.index(axis)] for axis in ("sample", "token"))
    norm = find_norm(model, evidence, stack, (samples, length))
    if norm is not None:
        call, side, key = norm
        final = sequence_axes(evidence, call, side, key, samples, length)
        if final is not None:
            sites.append(_site(evidence, f"{stage}.final", None, call, side, key, final))
    return sites


def _in_order(sites: Sequence[Site]) -> dict[str, Site]:
    return {site.name: site for site in sorted(sites, key=lambda site: site.order)}
