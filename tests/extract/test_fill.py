"""The loop over units, with a small torch function in the place of a model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from commandline import InputError
from extract import Store
from extract.fill import Model, Tally, fill
from extract.loader import Encoded
from extract.writer import Writer
from tests.extract.test_store import SITES, create

N = 11
WIDTH = {site.name: site.width for site in SITES}


def sample(row: int, kind: int = 0) -> Encoded:
    return Encoded(row, f"hash {row}", {"row": torch.tensor([[float(row)]]), "kind": torch.zeros(1, 1 + kind)})


def rows_of(inputs) -> torch.Tensor:
    return torch.cat([one["row"] for one in inputs])


def values(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the model of these tests gives: a site's feature j of row r is r + j / 8."""
    return {name: rows + torch.arange(width) / 8 for name, width in WIDTH.items()}


def model(read=lambda inputs: values(rows_of(inputs)), sees=lambda inputs: True) -> Model:
    return Model(read, lambda inputs: inputs["kind"].shape, sees)


def extract(path: Path, samples, model: Model = model(), batch_size: int = 3) -> tuple[Store, Tally]:  # noqa: B008
    tally = fill(Writer(create(path, N)), iter(samples), model, batch_size, lambda tally: None)
    return Store.open(path), tally


def expect_rows(store: Store, good: list[int]) -> None:
    """Every good row holds its own values and every other one NaN."""
    for name in store.sites:
        expected = values(torch.arange(N)[:, None].float())[name].numpy()
        expected[np.setdiff1d(np.arange(N), good)] = np.nan
        np.testing.assert_array_equal(store.matrix(name), expected)
    assert np.flatnonzero(store.ok).tolist() == good


def test_rows_land_in_their_place_whatever_the_batches(tmp_path: Path) -> None:
    samples = [sample(row, kind=row % 3) for unit in ([3, 0, 2, 1], [7, 5, 6, 4], [8, 10, 9]) for row in unit]
    store, tally = extract(tmp_path / "s.zarr", samples)
    expect_rows(store, list(range(N)))
    assert store.samples.sha256.tolist() == [f"hash {row}" for row in range(N)]
    assert (tally.done, tally.quarantined.total()) == (N, 0)


def test_bad_samples_are_quarantined_and_nothing_shifts(tmp_path: Path) -> None:
    def read(inputs):
        out = values(rows_of(inputs))
        out["llm.1"][rows_of(inputs)[:, 0] == 6, 2] = float("nan")
        return out

    samples = [sample(row) for row in range(N)]
    samples[1] = Encoded(1, "", None, "cannot be read: no")
    samples[9] = Encoded(9, "hash 9", None, "truncated JPEG: half of it")
    store, tally = extract(tmp_path / "s.zarr", samples, model(read, sees=lambda inputs: inputs["row"].item() != 4))
    expect_rows(store, [0, 2, 3, 5, 7, 8, 10])
    reasons = {1: "cannot be read: no", 9: "truncated JPEG: half of it", 6: "NaN or infinity at llm.1"}
    reasons[4] = "no visual token: the prompt has no place for the image"
    assert {row: store.samples.status[row] for row in reasons} == reasons
    assert (tally.done, tally.quarantined.total()) == (N, 4)


def test_out_of_memory_halves_the_batch(tmp_path: Path) -> None:
    sizes: list[int] = []

    def read(inputs):
        sizes.append(len(inputs))
        if len(inputs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return values(rows_of(inputs))

    store, tally = extract(tmp_path / "s.zarr", [sample(row) for row in range(N)], model(read), batch_size=4)
    expect_rows(store, list(range(N)))
    assert tally.smallest_batch == 1  # the last three went as one and two
    assert sizes == [4, 2, 2, 4, 2, 2, 3, 1, 2]


def test_one_image_too_large_for_memory_is_quarantined(tmp_path: Path) -> None:
    def read(inputs):
        if 5 in rows_of(inputs):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return values(rows_of(inputs))

    store, _ = extract(tmp_path / "s.zarr", [sample(row) for row in range(N)], model(read))
    expect_rows(store, [row for row in range(N) if row != 5])
    assert "max_pixels" in store.samples.status[5]


def test_a_sample_the_model_refuses_does_not_take_its_batch_with_it(tmp_path: Path) -> None:
    def read(inputs):
        if 2 in rows_of(inputs):
            raise ValueError("Image features and image tokens do not match: 3 and 4\nmore")
        return values(rows_of(inputs))

    store, _ = extract(tmp_path / "s.zarr", [sample(row) for row in range(N)], model(read))
    expect_rows(store, [row for row in range(N) if row != 2])
    assert store.samples.status[2] == "the model refuses it: Image features and image tokens do not match: 3 and 4"


@pytest.mark.parametrize("error", [ValueError("no"), torch.OutOfMemoryError("no")])
def test_a_model_that_takes_nothing_is_an_error_and_no_quarantine(tmp_path: Path, error: Exception) -> None:
    def read(inputs):
        raise error

    with pytest.raises(InputError, match="the model takes none of the first 4 images: "):
        extract(tmp_path / "s.zarr", [sample(row) for row in range(N)], model(read))
    assert (Store.open(tmp_path / "s.zarr").samples.status == "pending").all()


@pytest.mark.parametrize("error", [ValueError("no"), torch.OutOfMemoryError("no")])
@pytest.mark.parametrize("refused", [{4}, {4, 5, 6, 7}])
def test_going_on_at_a_sample_the_model_refuses_equals_never_having_stopped(
    tmp_path: Path, error: Exception, refused: set[int]
) -> None:
    """Rows 4 to 7 are a unit: its first sample is refused, or every one of it."""
    interrupted = False

    def read(inputs):
        rows = rows_of(inputs)[:, 0].tolist()
        if interrupted and min(rows) >= 4:
            raise RuntimeError("device-side assert")
        if refused & set(rows):
            raise error
        return values(rows_of(inputs))

    samples = [sample(row) for row in range(N)]
    whole, _ = extract(tmp_path / "whole.zarr", samples, model(read))
    interrupted = True
    with pytest.raises(RuntimeError):
        extract(tmp_path / "s.zarr", samples, model(read))
    interrupted = False
    writer = Writer(Store.open(tmp_path / "s.zarr", mode="r+"))
    assert writer.pending[0] == range(4, 8)
    fill(writer, iter(samples[4:]), model(read), 3, lambda tally: None)
    resumed = Store.open(tmp_path / "s.zarr")
    expect_rows(resumed, [row for row in range(N) if row not in refused])
    assert resumed.samples.status.tolist() == whole.samples.status.tolist()


def test_a_defect_stops_the_run_and_keeps_what_was_committed(tmp_path: Path) -> None:
    def read(inputs):
        if 6 in rows_of(inputs):
            raise RuntimeError("device-side assert")
        return values(rows_of(inputs))

    with pytest.raises(RuntimeError):
        extract(tmp_path / "s.zarr", [sample(row) for row in range(N)], model(read))
    status = Store.open(tmp_path / "s.zarr").samples.status
    assert status.tolist() == ["ok"] * 4 + ["pending"] * 7
