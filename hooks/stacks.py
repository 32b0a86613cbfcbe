"""Stacks of blocks: the lists of modules that hand their hidden states from one to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import nn

from hooks.evidence import Evidence, inside
from hooks.recording import Call, Rows
from hooks.sites import Key


@dataclass(frozen=True)
class Stack:
    """Blocks in the order they run, and where each one takes its hidden states and hands them out."""

    name: str
    blocks: tuple[Call, ...]
    takes: tuple[Key, ...]
    hands: tuple[Key, ...]
    listed: bool
    """Whether the model itself holds the blocks in a list; else they are children of one class."""
    links: int
    """Neighbours of which the first hands the second exactly what it takes."""

    def __len__(self) -> int:
        return len(self.blocks)

    def source(self, block: int) -> Rows:
        return self.blocks[block].inputs[self.takes[block]]

    def target(self, block: int) -> Rows:
        return self.blocks[block].outputs[self.hands[block]]

    @property
    def keeps_shape(self) -> bool:
        return all(self.source(block).shape == self.target(block).shape for block in range(len(self)))

    @property
    def chained(self) -> bool:
        return self.links > 0 or len(self) == 1

    def contains(self, module: str) -> bool:
        return any(inside(module, block.module) for block in self.blocks)


def stacks(model: nn.Module, evidence: Evidence) -> list[Stack]:
    """Every list of modules, and as a fallback the children of one class that a module numbers by itself; an entry that
    is never called stands for the parts of it that are."""
    calls: dict[str, list[Call]] = {}
    for call in evidence.calls:
        calls.setdefault(call.module, []).append(call)
    # A module that hangs in two places is called by one name.
    canonical = {id(module): name for name, module in model.named_modules()}

    def entries(name: str, module: nn.Module) -> list[str]:
        name = canonical.get(id(module), name)
        if name in calls:
            return [name]
        return [entry for child, part in module.named_children() for entry in entries(_join(name, child), part)]

    groups: list[tuple[str, bool, list[str]]] = []
    for name, module in model.named_modules():
        children = list(module.named_children())
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            parts = [entry for child, part in children for entry in entries(_join(name, child), part)]
            groups.append((name, True, parts))
            continue
        kinds = Counter(type(part) for _, part in children)
        for kind in (kind for kind, count in kinds.items() if count > 1):
            alike = [_join(name, child) for child, part in children if type(part) is kind]
            groups.append((name, False, [entry for entry in alike if entry in calls and entry in evidence.parents]))
    found = [
        _stack(name, listed, [calls[entry] for entry in dict.fromkeys(group)])
        for name, listed, group in groups
        if group
    ]
    return [stack for stack in found if stack is not None]


def _join(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def _stack(name: str, listed: bool, entries: Sequence[list[Call]]) -> Stack | None:
    """The stack of some modules' calls: the first of each, or every one where the last hands the first its states
    again (a stack whose weights are run through several times)."""
    first = sorted((calls[0] for calls in entries), key=lambda call: call.entered)
    if len({len(calls) for calls in entries}) == 1 and len(entries[0]) > 1:
        every = sorted((call for calls in entries for call in calls), key=lambda call: call.entered)
        around = every[len(entries) - 1 : len(entries) + 1]
        if _link(*around) is not None:
            first = every
    links = [_link(before, after) for before, after in pairwise(first)]
    takes = Counter(link[1] for link in links if link).most_common(1)
    hands = Counter(link[0] for link in links if link).most_common(1)
    ins = [takes[0][0] if takes and takes[0][0] in call.inputs else call.main_input() for call in first]
    outs = [hands[0][0] if hands and hands[0][0] in call.outputs else call.main_output() for call in first]
    sources = tuple(key for key in ins if key is not None)
    targets = tuple(key for key in outs if key is not None)
    if len(sources) < len(first) or len(targets) < len(first):
        return None
    return Stack(name, tuple(first), sources, targets, listed, sum(link is not None for link in links))


def _link(before: Call, after: Call) -> tuple[Key, Key] | None:
    """Where one call hands out exactly what the next one takes."""
    for handed, rows in before.outputs.items():
        for taken, others in after.inputs.items():
            if len(rows.shape) >= 2 and rows.same(others):
                return handed, taken
    return None


def part(stack: Stack, keep: Sequence[bool]) -> Stack:
    """The stack of some of its blocks."""
    kept = [place for place, wanted in enumerate(keep) if wanted]
    blocks, takes = tuple(stack.blocks[place] for place in kept), tuple(stack.takes[place] for place in kept)
    hands = tuple(stack.hands[place] for place in kept)
    return replace(stack, blocks=blocks, takes=takes, hands=hands)


def outermost(found: Sequence[Stack]) -> list[Stack]:
    """Without the stacks that stand inside a block of another one."""
    return [
        stack
        for stack in found
        if not any(
            other is not stack
            and other.blocks != stack.blocks
            and other.contains(stack.blocks[0].module)
            and stack.blocks[0].module not in {block.module for block in other.blocks}
            for other in found
        )
    ]
