"""The loader: everything once, in an order and in batches that depend on the plan alone."""

import copy
import hashlib
import io
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from commandline import InputError
from extract.loader import Encoded, Loader, batches


def picture(row: int, width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (row, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


class Files:
    """Bytes by row; an exception among them is raised."""

    def __init__(self, content) -> None:
        self.content = content

    def read(self, index: int) -> bytes:
        if isinstance(self.content[index], Exception):
            raise self.content[index]
        return self.content[index]


def encode(processor, image: Image.Image) -> dict[str, torch.Tensor]:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    return {"pixel_values": pixels, "input_ids": torch.ones(1, 3, dtype=torch.long)}


def shape(inputs):
    return tuple(inputs["pixel_values"].shape)


SIZES = [(4, 4), (8, 4), (4, 4), (4, 8), (8, 4), (4, 4), (4, 4), (4, 8)]
FILES = Files([picture(row, *size) for row, size in enumerate(SIZES)])


def test_every_row_comes_once_unit_by_unit_and_equal_sizes_together() -> None:
    with Loader(FILES, None, encode, workers=3, ahead=2) as loader:
        samples = list(loader.stream([range(5), range(5, 8)]))
    assert [sample.row for sample in samples] == [0, 2, 3, 1, 4, 5, 6, 7]
    for sample in samples:
        assert sample.inputs["pixel_values"][0, 0, 0, 0] == sample.row
        assert sample.sha256 == hashlib.sha256(FILES.content[sample.row]).hexdigest()


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_order_does_not_depend_on_timing(workers: int) -> None:
    def slow(processor, image):
        time.sleep(0.002 * (image.getpixel((0, 0))[0] % 3))
        return encode(processor, image)

    with Loader(FILES, None, slow, workers, ahead=4) as loader:
        assert [sample.row for sample in loader.stream([range(8)])] == [0, 2, 5, 6, 3, 7, 1, 4]


def test_no_more_than_ahead_are_prepared() -> None:
    made = []

    def counting(processor, image):
        made.append(1)
        return encode(processor, image)

    with Loader(Files([picture(0, 4, 4)] * 100), None, counting, workers=2, ahead=5) as loader:
        stream = loader.stream([range(100)])
        for taken in range(1, 20):
            next(stream)
            time.sleep(0.002)
            assert len(made) <= taken + 5


def test_what_is_wrong_is_the_samples_reason_and_nothing_else_moves() -> None:
    content = [picture(0, 4, 4), OSError(5, "Input/output error"), b"junk", picture(3, 4, 4), picture(4, 1, 1)]

    def strict(processor, image):
        if image.width == 1:
            raise InputError("the image is too small (1 x 1)")
        return encode(processor, image)

    with Loader(Files(content), None, strict, workers=2, ahead=2) as loader:
        samples = {sample.row: sample for sample in loader.stream([range(5)])}
    assert {row: sample.reason for row, sample in samples.items()} == {
        0: None,
        1: "cannot be read: Input/output error",
        2: "not an image of a format PIL knows",
        3: None,
        4: "the image is too small (1 x 1)",
    }
    assert samples[1].sha256 == ""
    assert samples[2].sha256 == hashlib.sha256(b"junk").hexdigest()
    assert samples[3].inputs["pixel_values"][0, 0, 0, 0] == 3


def test_a_defect_of_ours_is_raised_and_not_quarantined() -> None:
    def broken(processor, image):
        raise AttributeError("no such thing")

    with Loader(FILES, None, broken, workers=1, ahead=0) as loader, pytest.raises(AttributeError):
        list(loader.stream([range(2)]))


def test_no_two_threads_use_one_processor_at_a_time() -> None:
    class Fragile:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __deepcopy__(self, memo):
            return Fragile()

    def using(processor, image):
        assert processor.lock.acquire(blocking=False), "two threads at once"
        time.sleep(0.001)
        processor.lock.release()
        return encode(processor, image)

    original = Fragile()
    original.lock.acquire()  # the caller's own is never used
    with Loader(Files([picture(0, 4, 4)] * 60), original, using, workers=4, ahead=8) as loader:
        assert len(list(loader.stream([range(60)]))) == 60
    assert copy.deepcopy(original) is not original


@given(
    kinds=st.lists(st.integers(0, 6), max_size=60),
    batch_size=st.integers(1, 8),
    window=st.integers(1, 20),
)
def test_batches_keep_every_sample_once_by_shape_within_the_window(kinds, batch_size: int, window: int) -> None:
    taken = 0

    def samples():
        nonlocal taken
        for row, kind in enumerate(kinds):
            taken += 1
            yield Encoded(row, "", {"kind": kind})  # type: ignore[dict-item]

    given_back: list[int] = []
    sizes: list[int] = []
    for batch in batches(samples(), lambda inputs: inputs["kind"], batch_size, window):
        assert 1 <= len(batch) <= batch_size
        assert len({kinds[sample.row] for sample in batch}) == 1
        assert [s.row for s in batch] == sorted(s.row for s in batch)
        assert taken - len(given_back) <= max(window, 1)
        given_back += [sample.row for sample in batch]
        sizes.append(len(batch))
    assert sorted(given_back) == list(range(len(kinds)))
    if len(set(kinds)) == 1:  # nothing to wait for: only the last batch may be short, unless the window is
        assert all(size == min(batch_size, window) for size in sizes[:-1])
