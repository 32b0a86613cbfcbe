"""How the image reaches the LLM: its blocks, where in their sequence the image stands, what hands it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from hooks.axes import sequence_axes
from hooks.evidence import Evidence, inside
from hooks.recording import Call
from hooks.rows import by_position
from hooks.sites import Axis, Key
from hooks.stacks import Stack, outermost, part

Place = tuple[Call, Key]
"""An input of a call."""


@dataclass(frozen=True)
class Llm:
    """The LLM's blocks and how the image comes into them."""

    stack: Stack
    axes: tuple[Axis, ...]
    entry: Place | None
    """Where image and text rows first stand together in the sequence."""
    first: int
    """The block whose input is the first that holds the image."""
    positions: Tensor | None
    """Rows of the sequence that depend on the pixels, bool (sample, token); None without such rows."""
    states: Place | None = None
    """What cross-attention reads of the image."""


def find_llm(evidence: Evidence, stacks: Sequence[Stack], samples: int, length: int) -> Llm | None:
    """The LLM: of the stacks that read the text, the longest one the image stands in; else the longest.

    `length`: token ids per sample.
    """
    found: list[tuple[Stack, tuple[Axis, ...]]] = []
    for stack in _text_stacks(evidence, stacks):
        axes = sequence_axes(evidence, stack.blocks[0], "inputs", stack.takes[0], samples, length)
        if axes is not None:
            found.append((stack, axes))
    if not found:
        return None
    fused = [llm for stack, axes in found if (llm := _fused(evidence, stack, axes)) is not None]
    if fused:
        return max(fused, key=lambda llm: _size(llm.stack))
    stack, axes = max(found, key=lambda pair: _size(pair[0]))
    return Llm(stack, axes, None, 0, None, _cross_states(evidence))


def _size(stack: Stack) -> tuple[int, int]:
    return len(stack), -stack.blocks[0].entered


def _text_stacks(evidence: Evidence, stacks: Sequence[Stack]) -> list[Stack]:
    found = []
    for stack in stacks:
        speaks = [evidence.reads(call) for call in stack.blocks]
        spoken = part(stack, speaks)
        if any(speaks) and spoken.keeps_shape and all(call.module in evidence.parents for call in spoken.blocks):
            found.append(spoken)
    listed = outermost([stack for stack in found if stack.listed])
    chained = [stack for stack in listed if stack.chained]
    if any(len(stack) > 1 for stack in chained):
        return chained
    return chained + outermost([stack for stack in found if not stack.listed and len(stack) > 1 and stack.links])


def _fused(evidence: Evidence, stack: Stack, axes: tuple[Axis, ...]) -> Llm | None:
    """The stack with the image in its sequence, from its first block on or added before a later one."""
    for block, call in enumerate(stack.blocks):
        moved = by_position(evidence.moved(call, "inputs", stack.takes[block], evidence.pixels), axes)
        if moved.any():
            shape = stack.source(0).shape
            sequence = (shape[axes.index("sample")], shape[axes.index("token")])
            entry = _entry(evidence, call, stack.takes[block], sequence) if block == 0 else None
            if block == 0 and entry is not None and _computed(evidence, entry):
                return None
            return Llm(stack, axes, entry or (call, stack.takes[block]), block, moved)
        if evidence.moves(call, "outputs", evidence.pixels, stack.hands[block]):
            return None
    return None


def _entry(evidence: Evidence, first: Call, taken: Key, sequence: tuple[int, int]) -> Place:
    """The earliest module input that depends on both, as long as the LLM's sequence; not of a module that asks no more
    of it than its shape (positions, rotary angles), where a change would change nothing."""
    for call in evidence.calls:
        if call.entered >= first.entered:
            break
        for key, rows in call.inputs.items():
            alike = len(rows.shape) == 3 and rows.shape[:2] == sequence and evidence.sees(call)
            if alike and all(evidence.moves(call, "inputs", runs, key) for runs in (evidence.pixels, evidence.text)):
                return call, key
    return first, taken


def _computed(evidence: Evidence, entry: Place) -> bool:
    """Whether the fused rows come out of a computation on text states (a cross-attention block before the first one of
    the stack), rather than from putting image rows among the text's."""
    when = entry[0].entered
    around = [call for call in evidence.calls if call.entered < when < call.left]
    for outer in reversed(around):
        spoken = [key for key, rows in outer.inputs.items() if len(rows.shape) >= 3]
        spoken = [key for key in spoken if evidence.moves(outer, "inputs", evidence.text, key)]
        if not spoken:
            continue
        if any(evidence.moves(outer, "inputs", evidence.pixels, key) for key in spoken):
            return False
        within = [call for call in evidence.calls if outer.entered < call.entered and call.left < when]
        return any(
            inside(call.module, outer.module) and evidence.reads(call) and evidence.moves(call, "inputs", evidence.text)
            for call in within
        )
    return False


def _cross_states(evidence: Evidence) -> Place | None:
    """The image's rows that text modules read beside their own states: of several, those that most modules read."""
    places: list[Place] = []
    readers: list[int] = []
    for call in evidence.calls:
        if not call.module or not evidence.reads(call):
            continue
        for key, rows in call.inputs.items():
            if len(rows.shape) < 3 or not evidence.moves(call, "inputs", evidence.pixels, key):
                continue
            if evidence.moves(call, "inputs", evidence.text, key):
                continue
            known = [number for number, (other, name) in enumerate(places) if rows.same(other.inputs[name])]
            if known:
                readers[known[0]] += 1
            else:
                places.append((call, key))
                readers.append(1)
    return places[readers.index(max(readers))] if places else None


def added_before(evidence: Evidence, stack: Stack) -> list[int]:
    """The blocks whose input is not what the block before them handed on, and differs with the pixels (DeepStack)."""
    found = []
    for block, (before, after) in enumerate(pairwise(range(len(stack))), start=1):
        handed, taken = stack.target(before), stack.source(after)
        if handed.shape != taken.shape or handed.same(taken):
            continue
        changed = handed.hashes != taken.hashes
        moved = evidence.moved(stack.blocks[after], "inputs", stack.takes[after], evidence.pixels)
        if (changed & moved).any():
            found.append(block)
    return found
