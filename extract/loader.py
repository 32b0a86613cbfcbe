"""Decode and encode images in the background, in an order and in batches that depend on the plan alone."""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from commandline import InputError
from taxonomy import pictures

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

Inputs = Mapping[str, "Tensor"]


class Images(Protocol):
    """What the loader needs of `taxonomy.ImageSet`."""

    def read(self, index: int, /) -> bytes: ...


@dataclass(frozen=True)
class Encoded:
    """A sample ready for the model, or the reason why it cannot be."""

    row: int
    sha256: str
    """Of the image file; empty when it could not be read."""
    inputs: Inputs | None
    reason: str | None = None


class Loader:
    """Reads, decodes and encodes samples in `workers` threads, at most `ahead` of them before they are asked for.

    Image decoding and resizing leave the interpreter lock. Every thread works with its own copy of the processor: fast
    tokenizers are not safe to share.
    """

    def __init__(
        self,
        images: Images,
        processor: Any,
        encode: Callable[[Any, Image.Image], Inputs],
        workers: int,
        ahead: int,
    ) -> None:
        self.images = images
        self.encode = encode
        self.ahead = ahead
        self._processors: SimpleQueue[Any] = SimpleQueue()
        for _ in range(workers):
            self._processors.put(copy.deepcopy(processor))
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="loader")

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def stream(self, units: Iterable[Sequence[int]]) -> Iterator[Encoded]:
        """Every row of every unit, unit after unit, while later ones are being prepared."""
        waiting: deque[Future[Encoded]] = deque()
        for unit in units:
            for row in self._by_size(unit):
                waiting.append(self._pool.submit(self.sample, row))
                if len(waiting) > self.ahead:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def sample(self, row: int) -> Encoded:
        """One sample; whatever is wrong with it is in its `reason`."""
        try:
            data = self.images.read(row)
        except OSError as error:
            return Encoded(row, "", None, f"cannot be read: {error.strerror or error}")
        sha256 = hashlib.sha256(data).hexdigest()
        processor = self._processors.get()
        try:
            return Encoded(row, sha256, self.encode(processor, pictures.decode(data)))
        except (pictures.UnreadableImage, InputError) as error:
            return Encoded(row, sha256, None, str(error))
        finally:
            self._processors.put(processor)

    def _by_size(self, unit: Sequence[int]) -> list[int]:
        """A unit's rows with images of equal size next to each other: they will have equal token counts."""
        sizes = self._pool.map(self._size, unit)
        return [row for _, row in sorted(zip(sizes, unit, strict=True))]

    def _size(self, row: int) -> tuple[int, int]:
        try:
            return pictures.size(self.images.read(row))
        except OSError:
            return 0, 0


def batches(
    samples: Iterable[Encoded], signature: Callable[[Inputs], Hashable], batch_size: int, window: int
) -> Iterator[list[Encoded]]:
    """Group samples of equal signature into batches of at most `batch_size`.

    No more than `window` samples wait for others like them: beyond that the largest group goes as it is. The result
    depends on the samples and their order alone, never on timing.
    """
    groups: dict[Hashable, list[Encoded]] = {}
    for sample in samples:
        assert sample.inputs is not None
        kind = signature(sample.inputs)
        groups.setdefault(kind, []).append(sample)
        if len(groups[kind]) == batch_size:
            yield groups.pop(kind)
        elif sum(map(len, groups.values())) >= window:
            yield groups.pop(max(groups, key=lambda kind: len(groups[kind])))
    yield from groups.values()
