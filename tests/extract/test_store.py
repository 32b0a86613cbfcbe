"""The store: written and read back bit for bit, by us, by plain zarr and by xarray alone."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from commandline import InputError
from extract import Store
from extract.dtypes import bits, decode
from extract.writer import Writer
from taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_paths([("animal", "dog"), ("animal", "cat"), ("plant", "oak")], levels=("kingdom", "species"))


@dataclass(frozen=True)
class Place:
    name: str
    stage: str
    layer: int | None
    width: int
    module: str = "model.somewhere"
    reads: str = "output"


SITES = [
    *(Place(f"encoder.{layer}", "encoder", layer, 6) for layer in (1, 2)),
    Place("projector", "projector", None, 8),
    *(Place(f"llm.{layer}", "llm", layer, 8) for layer in (0, 1, 2)),
    Place("llm.final", "llm", None, 8),
]


def create(path: Path, n: int = 10, sites=SITES, **options) -> Store:
    settings = {
        "ids": [f"image {i}" for i in range(n)],
        "leaf": np.arange(n) % 3,
        "split": ["train"] * n,
        "taxonomy": TAXONOMY,
        "attrs": {"prompt": "Describe this image."},
        "chunk_rows": 4,
    }
    return Store.create(path, sites=sites, **(settings | options))


def values(store: Store, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {s.name: torch.randn(len(store), s.width, generator=generator) * 100 for s in store.sites.values()}


def fill(store: Store, data: dict[str, torch.Tensor], bad: dict[int, str] | None = None) -> None:
    writer = Writer(store)
    for unit in writer.pending:
        writer.put(unit, unit, {name: rows[unit.start : unit.stop] for name, rows in data.items()})
        writer.commit(unit, [f"hash {row}" for row in unit], [(bad or {}).get(row, "ok") for row in unit])


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_damaged_metadata_is_one_clear_error(tmp_path: Path, content: str) -> None:
    path = create(tmp_path / "s.zarr").path
    (path / "zarr.json").write_text(content)
    with pytest.raises(InputError, match=r"s\.zarr: not a readable zarr v3 group .*; remove it and extract again"):
        Store.open(path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_what_was_written_is_read_back_exactly(tmp_path: Path, dtype: str) -> None:
    store = create(tmp_path / "s.zarr", logical_dtype=dtype)
    data = values(store)
    fill(store, data)
    again = Store.open(tmp_path / "s.zarr")
    assert list(again.sites) == [site.name for site in SITES]
    for name, rows in data.items():
        np.testing.assert_array_equal(again.matrix(name), rows.to(getattr(torch, dtype)).float().numpy())
    assert again.ok.all()
    assert again.samples.sha256[3] == "hash 3"
    assert again.taxonomy == TAXONOMY
    assert again.attrs["prompt"] == "Describe this image."


def test_rows_are_picked_in_the_order_asked(tmp_path: Path) -> None:
    store = create(tmp_path / "s.zarr")
    fill(store, values(store))
    whole = store.matrix("llm.2")
    for rows in ([9, 0, 0, 5], slice(2, 9, 3), np.arange(10) % 2 == 0, [-1], []):
        np.testing.assert_array_equal(store.matrix("llm.2", rows), whole[rows])


def test_final_is_the_last_index_of_llm_and_projector_has_no_layer(tmp_path: Path) -> None:
    store = create(tmp_path / "s.zarr")
    fill(store, values(store))
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")
    assert group["encoder"].shape == (2, 10, 6)
    assert group["projector"].shape == (10, 8)
    assert group["llm"].shape == (4, 10, 8)
    final = decode(np.asarray(group["llm"][-1]), group["llm"].attrs["logical_dtype"])
    np.testing.assert_array_equal(final, store.matrix("llm.final"))


def test_layers_of_different_width_get_an_array_each(tmp_path: Path) -> None:
    sites = [
        Place("encoder.1", "encoder", 1, 6),
        Place("encoder.2", "encoder", 2, 12),
        Place("encoder.3", "encoder", 3, 12),
    ]
    store = create(tmp_path / "s.zarr", sites=sites)
    data = values(store)
    fill(store, data)
    assert {name: (s.array, s.index) for name, s in store.sites.items()} == {
        "encoder.1": ("encoder_6", 0),
        "encoder.2": ("encoder", 0),
        "encoder.3": ("encoder", 1),
    }
    np.testing.assert_array_equal(store.matrix("encoder.3"), data["encoder.3"].bfloat16().float().numpy())


def test_xarray_alone_reads_it_without_a_warning(tmp_path: Path) -> None:
    store = create(tmp_path / "s.zarr")
    data = values(store)
    fill(store, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xarray.open_zarr(tmp_path / "s.zarr", consolidated=False)
        same = xarray.open_dataset(tmp_path / "s.zarr", engine="zarr", consolidated=False)
        table = xarray.open_zarr(tmp_path / "s.zarr", group="sample", consolidated=False).load()
        tree = xarray.open_datatree(tmp_path / "s.zarr", engine="zarr", consolidated=False)
    assert opened["llm"].dims == ("llm_layer", "sample", "llm_feature")
    assert same["llm"].sel(llm_layer="llm.final").dtype == np.uint16
    np.testing.assert_array_equal(same["llm"].sel(llm_layer="llm.1").values, store.bits("llm.1"))
    words = same["llm"].sel(llm_layer="llm.1").values
    np.testing.assert_array_equal((words.astype(np.uint32) << 16).view(np.float32), store.matrix("llm.1"))
    assert list(table["status"].values) == ["ok"] * 10
    assert table["leaf"].dtype == np.int32
    assert tree["sample"]["id"].values[2] == "image 2"


def test_plain_zarr_lists_it_without_a_warning(tmp_path: Path) -> None:
    fill(create(tmp_path / "s.zarr"), values(create(tmp_path / "t.zarr")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        members = dict(zarr.open_group(tmp_path / "s.zarr", mode="r").members())
    assert set(members) == {"encoder", "encoder_layer", "projector", "llm", "llm_layer", "sample"}


def test_quarantined_and_pending_rows_are_nan_never_zero(tmp_path: Path) -> None:
    store = create(tmp_path / "s.zarr")
    writer, data = Writer(store), values(store)
    unit = writer.pending[0]
    writer.put(unit, [0, 2, 3], {name: rows[[0, 2, 3]] for name, rows in data.items()})
    writer.commit(unit, ["a", "", "c", "d"], ["ok", "truncated JPEG", "ok", "NaN at llm.1"])
    store = Store.open(tmp_path / "s.zarr")
    assert store.ok.tolist() == [True, False, True, False] + [False] * 6
    assert store.samples.status.tolist() == ["ok", "truncated JPEG", "ok", "NaN at llm.1"] + ["pending"] * 6
    for name in store.sites:
        assert np.isnan(store.matrix(name)[~store.ok]).all()
        np.testing.assert_array_equal(store.matrix(name, [0, 2]), data[name][[0, 2]].bfloat16().float().numpy())


def test_rows_that_are_not_finite_are_named_with_their_site(tmp_path: Path) -> None:
    store = create(tmp_path / "s.zarr", logical_dtype="float16")
    writer, data = Writer(store), values(store)
    data["llm.1"][2, 3] = float("nan")
    data["llm.2"][2, 0] = float("inf")
    data["encoder.2"][3, 5] = 70_000.0  # beyond float16
    unit = writer.pending[0]
    assert writer.put(unit, unit, {name: rows[:4] for name, rows in data.items()}) == {2: "llm.1", 3: "encoder.2"}


def test_a_row_marked_ok_must_have_been_put(tmp_path: Path) -> None:
    store = create(tmp_path / "s.zarr")
    writer, data = Writer(store), values(store)
    unit = writer.pending[0]
    writer.put(unit, [0, 1], {name: rows[:2] for name, rows in data.items()})
    with pytest.raises(ValueError, match="never put"):
        writer.commit(unit, [""] * 4, ["ok"] * 4)
    for status in (["ok", "ok", "pending", "bad"], ["ok"] * 2):
        with pytest.raises(ValueError, match="one final status"):
            writer.commit(unit, [""] * 4, status)


def test_large_numbers_are_numbers(tmp_path: Path) -> None:
    """Their sum is beyond float32, and they are not."""
    store = create(tmp_path / "s.zarr", logical_dtype="float32")
    writer, data = Writer(store), values(store)
    data["llm.1"][1] = 3e38
    unit = writer.pending[0]
    assert writer.put(unit, unit, {name: rows[:4] for name, rows in data.items()}) == {}


@given(hnp.arrays(np.uint16, 64, elements=st.integers(0, 2**16 - 1)))
def test_bfloat16_bits_survive_decoding(words: np.ndarray) -> None:
    """Oracle: torch's own view of the bits. NaN payloads included."""
    ours = decode(words, "bfloat16")
    theirs = torch.from_numpy(words).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))
    finite = ours[np.isfinite(ours)]
    np.testing.assert_array_equal(bits(torch.from_numpy(finite).bfloat16()), words[np.isfinite(ours)])


def test_frozen(tmp_path: Path) -> None:
    store = create(tmp_path / "s.zarr")
    for array in (store.samples.id, store.samples.leaf, store.samples.status, store.ok):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ids": ["a", "b", "a"], "n": 3}, "'a' occurs more than once"),
        ({"ids": [], "n": 0}, "no samples"),
        ({"sites": []}, "at least one site"),
        ({"split": ["train"]}, "one of each per sample"),
        ({"logical_dtype": "float8"}, "not one of bfloat16"),
        ({"chunk_rows": 0}, "1 or more"),
    ],
)
def test_bad_layouts_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create(tmp_path / "s.zarr", **options)
    assert not list(tmp_path.iterdir())


def test_no_store_and_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store here"):
        Store.open(tmp_path / "none.zarr")
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(InputError, match="not a readable zarr v3 group"):
        Store.open(tmp_path)
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(InputError, match="schema version None"):
        Store.open(tmp_path / "other.zarr")
    create(tmp_path / "s.zarr")
    with pytest.raises(InputError, match="exists already"):
        create(tmp_path / "s.zarr")
    with pytest.raises(InputError, match=r"no site 'llm.9'; it has encoder.1"):
        Store.open(tmp_path / "s.zarr").matrix("llm.9")
