"""Which prompts are read together: those of one image behind one prefix, by length, halved where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from evaluation.backends.prefix import common, per_token, split
from evaluation.backends.rendering import Prompt
from hooks.inputs import signature

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Cluster:
    """Prompts that begin alike, in one image as well, where there is one."""

    prompts: tuple[Prompt, ...]
    shared: int
    """How many first tokens they share: the image is among them."""


def clusters(prompts: Sequence[Prompt]) -> list[Cluster]:
    """Prompts of one image (or of none), by what stands up to the end of the image, as system messages may differ; of
    text, by their first token."""
    found: dict[Hashable, list[Prompt]] = {}
    for prompt in prompts:
        names = per_token(prompt.inputs)
        start = tuple(prompt.inputs[name][0, : max(prompt.image_end, 1)].numpy().tobytes() for name in names)
        found.setdefault(start, []).append(prompt)
    return [Cluster(tuple(alike), common([prompt.inputs for prompt in alike])) for alike in found.values()]


def together(found: Sequence[Cluster], images: int) -> list[list[Cluster]]:
    """Clusters whose prefixes are encoded in one batch: of one shape, at most `images` of them.

    Their prefix is the shortest one's, so that all have one shape.
    """
    batches: dict[Hashable, list[list[Cluster]]] = {}
    for cluster in found:
        prompt = cluster.prompts[0]
        end = max(prompt.image_end, 1)
        rows = batches.setdefault((end, signature(split(prompt.inputs, end)[0])), [])
        if not rows or len(rows[-1]) == images:
            rows.append([])
        rows[-1].append(cluster)
    return [batch for rows in batches.values() for batch in rows]


def by_length(lengths: Sequence[int], rows: int, equal: bool = False) -> list[list[int]]:
    """Indices in batches of at most `rows`, ascending in length; `equal`: each batch of one length."""
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    batches: list[list[int]] = []
    for index in order:
        full = not batches or len(batches[-1]) == rows
        if full or (equal and lengths[batches[-1][0]] != lengths[index]):
            batches.append([])
        batches[-1].append(index)
    return batches


def halving(
    work: Callable[[Sequence[T]], list[R]],
    items: Sequence[T],
    alone: Callable[[T, Exception], list[R]],
    shrink: Callable[[int], None],
) -> Iterator[R]:
    """What `work` makes of the items, in one go; of halves of them where memory runs out (`shrink` is told their size);
    of one by `alone`, if even that is too much."""
    try:
        made = work(items)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        shortage = error.with_traceback(None)  # the frames hold the tensors that filled the memory
    else:
        yield from made
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(items) == 1:
        yield from alone(items[0], shortage)
        return
    half = (len(items) + 1) // 2
    shrink(half)
    for part in (items[:half], items[half:]):
        yield from halving(work, part, alone, shrink)


def out_of_memory(error: Exception) -> bool:
    """Whether the device, or the host, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
