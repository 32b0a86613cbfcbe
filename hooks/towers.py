"""The vision side: the blocks of its towers, and the tensor that leaves them for the projector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hooks.evidence import Evidence, inside
from hooks.recording import Call
from hooks.sites import Key
from hooks.stacks import Stack, outermost


@dataclass(frozen=True)
class Towers:
    """Stacks of vision blocks: towers start from pixels, resamplers (Q-Formers, perceivers) from learned queries."""

    towers: tuple[Stack, ...]
    """The main one first; the others in the order they run."""
    resamplers: tuple[Stack, ...]

    @property
    def blocks(self) -> tuple[Call, ...]:
        """The main tower's."""
        return self.towers[0].blocks if self.towers else ()


def find_towers(evidence: Evidence, stacks: Sequence[Stack]) -> Towers:
    """Of the stacks that depend on the pixels and not on the text, those that chain blocks which keep their tokens'
    shape; where there is none, the longest that does not keep it (towers that halve their grid as they go)."""
    seeing = [stack for stack in stacks if all(evidence.of_vision(call) for call in stack.blocks)]
    chained = [stack for stack in seeing if stack.keeps_shape and stack.chained and _made_of_parts(evidence, stack)]
    stages = [stack for stack in seeing if stack.listed and not stack.keeps_shape and _alike(evidence, stack)]
    chained = [stack for stack in chained if not any(stage.contains(stack.blocks[0].module) for stage in stages)]
    resamplers = outermost([stack for stack in chained if not _from_pixels(evidence, stack)])
    towers: list[Stack] = []
    for least, listed in ((2, True), (2, False), (1, True)):
        fitting = [stack for stack in chained if len(stack) >= least and (stack.listed or not listed)]
        towers = towers or outermost([stack for stack in fitting if _from_pixels(evidence, stack)])
    if not towers or all(len(tower) == 1 for tower in towers):
        towers = _shrinking(evidence, seeing) or towers
    towers = _joined(evidence, sorted(towers, key=lambda stack: stack.blocks[0].entered))
    main = max(towers, key=lambda stack: (len(stack), stack.blocks[0].entered), default=None)
    ordered = [stack for stack in towers if stack is main] + [stack for stack in towers if stack is not main]
    return Towers(tuple(ordered), tuple(resamplers))


def without(found: Towers, projector: str) -> Towers:
    """Without the stacks that are a part of the projector."""
    kept = tuple(
        tower
        for tower in found.towers
        if not inside(tower.blocks[0].module, projector) or projector in {block.module for block in tower.blocks}
    )
    return replace(found, towers=kept)


def _alike(evidence: Evidence, stack: Stack) -> bool:
    return len(stack) > 1 and stack.links > 0 and len({evidence.kinds[block.module] for block in stack.blocks}) == 1


def _made_of_parts(evidence: Evidence, stack: Stack) -> bool:
    return all(block.module in evidence.parents for block in stack.blocks)


def _from_pixels(evidence: Evidence, stack: Stack) -> bool:
    return evidence.moves(stack.blocks[0], "inputs", evidence.pixels, stack.takes[0])


def _shrinking(evidence: Evidence, seeing: Sequence[Stack]) -> list[Stack]:
    def keeping(stack: Stack) -> int:
        return sum(stack.source(block).shape == stack.target(block).shape for block in range(len(stack)))

    found = [stack for stack in seeing if len(stack) > 1 and _made_of_parts(evidence, stack)]
    found = [stack for stack in found if stack.links or keeping(stack) > len(stack) // 2]
    best = max(outermost(found), key=lambda stack: (len(stack), -stack.blocks[0].entered), default=None)
    return [best] if best else []


def _joined(evidence: Evidence, towers: Sequence[Stack]) -> list[Stack]:
    """A tower that goes on where another one ended, with tokens of the same kind, is its continuation."""
    joined: list[Stack] = []
    for tower in towers:
        before = joined[-1] if joined else None
        if before is not None and _continues(evidence, before, tower):
            joined[-1] = replace(
                before,
                blocks=before.blocks + tower.blocks,
                takes=before.takes + tower.takes,
                hands=before.hands + tower.hands,
            )
        else:
            joined.append(tower)
    return joined


def _continues(evidence: Evidence, before: Stack, tower: Stack) -> bool:
    ended, begun = before.target(len(before) - 1).shape, tower.source(0).shape
    if len(ended) != len(begun) or ended[-1] != begun[-1] or before.blocks[-1].left > tower.blocks[0].entered:
        return False
    root = evidence.calls[0]
    pixels = [rows for key, rows in root.inputs.items() if evidence.moves(root, "inputs", evidence.pixels, key)]
    between = [call for call in evidence.calls if before.blocks[-1].left < call.entered < tower.blocks[0].entered]
    # Reading the pixels afresh makes it a second tower beside the first.
    return not any(rows.same(raw) for call in between for rows in call.inputs.values() for raw in pixels)


def handed_over(evidence: Evidence, found: Towers, projector: str) -> tuple[Call, Key] | None:
    """What the projector reads of the image: the input of the module called so, or of the resampler before it."""
    readers = [call for call in evidence.calls if call.module == projector and evidence.of_vision(call)]
    if not readers:
        return None
    first = readers[0]
    for resampler in found.resamplers:
        around = [
            call
            for call in evidence.calls
            if call.entered <= resampler.blocks[0].entered
            and call.left >= resampler.blocks[-1].left
            and not any(inside(block.module, call.module) for tower in found.towers for block in tower.blocks)
        ]
        if around and around[0].entered < first.entered:
            first = around[0]
    wide = [key for key, rows in first.inputs.items() if len(rows.shape) >= 2]
    moving = [key for key in wide if evidence.moves(first, "inputs", evidence.pixels, key)]
    return (first, moving[0]) if moving else None
