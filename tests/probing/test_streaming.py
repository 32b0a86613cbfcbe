"""Features read in chunks against the same features in memory: the same probes, in a bounded memory, measured."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from commandline import InputError
from extract import Store
from probing import fit_grid, grid, memory
from probing.basis import spectral_basis, streamed_basis
from probing.config import ProbeConfig
from probing.grid import as_features, resolve_device
from probing.results import ProbeRun
from probing.run import run
from probing.streaming import ArrayChunks, RowChunks, SiteChunks, StreamedFeatures
from taxonomy import Taxonomy
from tests.probing.planted import clusters
from tests.probing.planted import write_store as planted_store

PENALTIES = [1e-1, 1e-3]


@pytest.fixture
def X() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.normal(size=(700, 24)) @ rng.normal(size=(24, 24)) * np.exp(rng.normal(size=24)) + 5 * rng.normal(
        size=24
    )


@pytest.fixture
def labels(X: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    Z = (X - X.mean(0)) / X.std(0)
    finest = (Z @ rng.normal(size=(24, 6)) + rng.normal(size=(700, 6))).argmax(1)
    return {"two": finest // 3, "six": finest, "part": np.where(np.arange(700) % 3, finest, -1)}


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The streamed bases that were made: a test of streaming should know that it streamed."""
    made: list[object] = []

    def record(*args, **kwargs):
        made.append(streamed_basis(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(grid, "streamed_basis", record)
    return made


def budget_of(X: np.ndarray) -> int:
    """The most at which chunks of X are not gathered."""
    return 8 * X.nbytes - 1


@pytest.mark.parametrize(("standardize", "intercept"), [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize("samples", [700, 15])
def test_the_same_probes_in_float64(X, labels, streams, standardize: bool, intercept: bool, samples: int) -> None:
    X, labels = X[:samples], {level: y[:samples] for level, y in labels.items()}
    options = {"tol": 1e-8, "standardize": standardize, "fit_intercept": intercept}
    dense = fit_grid(X, labels, PENALTIES, **options)
    chunked = fit_grid(ArrayChunks(X, 64), labels, PENALTIES, **options, memory_budget=max(budget_of(X), 1 << 19))
    assert len(streams) == (8 * X.nbytes > 1 << 19)
    for level in labels:
        for penalty in PENALTIES:
            assert chunked.converged(level, penalty)
            for part in ("coef", "intercept"):
                expected = getattr(dense, part)(level, penalty)
                scale = max(np.abs(expected).max(), 1e-12)
                assert np.abs(getattr(chunked, part)(level, penalty) - expected).max() <= 1e-5 * scale


def test_the_same_products(X: np.ndarray) -> None:
    """Logits and gradients are those of the features turned by hand."""
    x_NF = as_features(X, None, resolve_device("cpu"))
    basis = streamed_basis(ArrayChunks(X, 100), standardize=True, intercept=True, dtype=x_NF.dtype, device=x_NF.device)
    dense = spectral_basis(x_NF, standardize=True, intercept=True)
    assert isinstance(basis.features, StreamedFeatures)
    np.testing.assert_allclose(basis.spectrum_D, dense.spectrum_D, atol=1e-9)
    turned = np.hstack([(X - X.mean(0)) / X.std(0) @ basis.turn_FD.numpy(), np.ones((700, 1))])
    w = np.random.default_rng(0).normal(size=(5, 25))
    r = np.random.default_rng(1).normal(size=(5, 700))
    as_tensor = x_NF.new_tensor
    np.testing.assert_allclose(basis.features.logits(as_tensor(w)), w @ turned.T, atol=1e-9)
    np.testing.assert_allclose(basis.features.gradient(as_tensor(r)), r @ turned, atol=1e-9)


def test_chunks_that_fit_are_gathered(X, labels, streams) -> None:
    gathered = fit_grid(ArrayChunks(X, 64), labels, [1e-2], memory_budget=budget_of(X) + 1)
    assert not streams
    assert np.array_equal(gathered.coef("six", 1e-2), fit_grid(X, labels, [1e-2]).coef("six", 1e-2))


@pytest.mark.parametrize("budget", [None, 1 << 19])
def test_nan_in_a_chunk_is_told_by_its_row(X, labels, budget: int | None) -> None:
    X[130, 2] = np.nan
    with pytest.raises(InputError, match="the first is row 130"):
        fit_grid(ArrayChunks(X, 64), labels, [1e-2], memory_budget=budget)


def test_a_budget_that_is_too_small_is_told_before_any_solving(X, labels) -> None:
    with pytest.raises(InputError, match=r"level '\w+' \(\d classes, 700 samples\) takes .* MiB more"):
        fit_grid(ArrayChunks(X, 64), labels, [1e-2], memory_budget=40_000)


def test_rows_of_a_site_are_those_of_the_store(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.zarr", rows=100, width=6, chunk_rows=16)
    rows = np.flatnonzero(np.arange(100) % 3 != 1)
    source = SiteChunks(store, "llm.0", rows)
    assert isinstance(source, RowChunks)
    pieces = list(source.chunks())
    assert len(pieces) == 7
    assert np.array_equal(np.concatenate([np.arange(len(rows))[part] for part, _ in pieces]), np.arange(len(rows)))
    assert np.array_equal(np.concatenate([matrix for _, matrix in pieces]), store.matrix("llm.0", rows))
    with pytest.raises(InputError, match="ascending"):
        SiteChunks(store, "llm.0", np.array([3, 2]))


BUDGET = 128 << 20
RUN = """
import json, resource, sys, threading
import numpy as np, pandas, torch
import probing.run, probing.protocol
from commandline import main
from probing.__main__ import COMMANDS
from probing.basis import spectral_basis
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
probes, probe_draws = {}, probing.protocol.probe_draws
def kept(X, draws, settings):
    found = probe_draws(X, draws, settings)
    for level, probe in found[0].levels.items():
        probes[level] = np.hstack([probe.fit.coef, probe.fit.intercept[:, None]])
    print("streamed" if not isinstance(X, np.ndarray) else "in memory", file=sys.stderr)
    return found
probing.run.probe_draws = kept
spectral_basis(torch.randn(64, 8), standardize=True, intercept=True)
before, peak, done = resident(), [0], threading.Event()
def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], resident())
thread = threading.Thread(target=watch); thread.start()
status = main("python -m probing", COMMANDS, "run", sys.argv[2:])
done.set(); thread.join()
np.savez(sys.argv[1], **probes)
print(json.dumps({"status": status, "grown": peak[0] - before}))
"""


@pytest.mark.slow
def test_a_whole_run_stays_within_the_budget(tmp_path: Path) -> None:
    """`python -m probing` on 123 MB of features a site, under 128 MB and in memory: the same probes, real memory."""
    path = tmp_path / "s.zarr"
    write_store(path, rows=30_000, width=1024, chunk_rows=1024, classes=8, split=["train", "train", "test", "train"])
    options = ["--allow_uncertified=true", "--penalties=[0.1,0.01]", "--shuffles=1", "--controls=0", "--tol=1e-6"]
    grown, probes = {}, {}
    for name, budget in (("streamed", BUDGET >> 20), ("in memory", 20 << 10)):
        out = tmp_path / f"{name}.npz"
        command = [sys.executable, "-c", RUN, str(out), str(path), *options, f"--memory_budget={budget}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        report = json.loads(done.stdout.splitlines()[-1])
        assert report["status"] == 0, done.stderr
        assert name in done.stderr
        grown[name] = report["grown"]
        probes[name] = dict(np.load(out))
    size = sum(array.nbytes for array in probes["streamed"].values())
    assert grown["streamed"] <= 1.3 * (BUDGET + size)
    assert grown["in memory"] > 2 * grown["streamed"]
    for key, expected in probes["in memory"].items():
        assert np.abs(probes["streamed"][key] - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.slow
def test_a_run_that_streams_has_the_same_tables(tmp_path: Path, capsys, streams: list[object]) -> None:
    store = planted_wide(tmp_path)
    streamed, made = probe(store, tmp_path / "2", memory_budget=2), len(streams)
    held = probe(store, tmp_path / "100", memory_budget=200)
    assert (made, len(streams)) == (2, 2), "one basis for the penalties, one for the refit, and none in memory"
    assert (streamed.summary["memory_budget"], streamed.summary["streamed"]) == (2, ["llm.0"])
    assert (held.summary["memory_budget"], held.summary["streamed"]) == (200, [])
    assert "only files were compared: the features at llm.0 do not fit the memory budget" in capsys.readouterr().out
    for mine, expected in zip([*streamed.probes, *streamed.hca], [*held.probes, *held.hca], strict=True):
        for key, value in expected.items():
            if isinstance(value, float) and key not in ("grad_norm", "n_iter"):
                assert mine[key] == pytest.approx(value, abs=1e-5, nan_ok=True), key
    assert streamed.predictions().equals(held.predictions())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"description": True}, "--description needs features in memory, which takes 0.6 MiB of llm.0, more than an"),
        ({"random_init": "s.zarr"}, "--random_init needs features in memory"),
        ({"pixel_shuffled": "s.zarr"}, "--pixel_shuffled needs features in memory"),
        ({"conditional": ["llm.0+llm.1"]}, r"--conditional needs features in memory, .* of llm.0\+llm.1, .*budget=5$"),
        ({"duplicates": "drop"}, "--duplicates drop compares pictures at llm.0, whose features do not fit"),
        ({"baselines": True, "sites": ["llm.1"]}, "--baselines needs features in memory"),
        (
            {"split": "image", "levels": ["leaf"], "leaves": 300},
            r"probe of leaf \(300 classes, 450 samples\) alone takes",
        ),
    ],
)
def test_what_a_budget_does_not_allow_is_told_before_any_work(tmp_path: Path, changes: dict, message: str) -> None:
    store = planted_wide(tmp_path, changes.pop("leaves", 8))
    with pytest.raises(InputError, match=message):
        probe(store, tmp_path / "out", memory_budget=2, **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_streams_by_default_is_decided_by_the_free_memory(
    tmp_path: Path, streams: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = planted_wide(tmp_path)
    plenty = probe(store, tmp_path / "plenty").summary
    assert plenty["memory_budget"] > 5
    assert (plenty["streamed"], plenty["config"]["memory_budget"], streams) == ([], None, [])
    monkeypatch.setattr(memory, "machine_memory", lambda: 4 << 20)
    little = probe(store, tmp_path / "little").summary
    assert (little["memory_budget"], little["streamed"], len(streams)) == (2, ["llm.0"], 2)


def test_nan_in_a_streamed_site_is_told_by_its_sample(tmp_path: Path) -> None:
    store = planted_wide(tmp_path)
    Store.open(store, mode="r+").arrays["llm"][0, 7] = np.nan
    with pytest.raises(InputError, match=r"1 rows marked ok hold NaN or infinity at llm\.0, the first is sample 's7'"):
        probe(store, tmp_path / "out", memory_budget=2)


def planted_wide(folder: Path, leaves: int = 8) -> Path:
    """1,200 rows, 128 wide at llm.0, half of which do not fit 2 MB, and 8 at llm.1, which do."""
    tree = Taxonomy.from_paths([(f"parent {leaf // 2}", f"leaf {leaf}") for leaf in range(leaves)], ["parent", "leaf"])
    leaf = np.repeat(np.arange(leaves, dtype=np.int32), 1200 // leaves)
    split = np.array(["train", "train", "validation", "test"])[np.arange(1200) % 4]
    if leaves > 8:
        leaf = np.tile(np.arange(leaves, dtype=np.int32), 2)
        split = np.repeat(["train", "validation", "test"], [300, 150, 150])
    X = clusters(tree, leaf, 1.0, width=128)[0]
    return planted_store(folder / "s.zarr", {"llm.0": X, "llm.1": X[:, :8]}, leaf, split, tree)


def probe(store: Path, out: Path, **changes) -> ProbeRun:
    options = {"sites": ["llm.0"], "penalties": [1.0, 0.01], "shuffles": 1, "bootstrap": 1000, "tol": 1e-6}
    run(ProbeConfig(store=str(store), out=str(out), **(options | changes)))
    return ProbeRun.open(out)


def write_store(
    path: Path, rows: int, width: int, chunk_rows: int, classes: int = 4, split: Sequence[str] = ("train",)
) -> Store:
    """A store of one site, correlated features whose means follow the leaves; nothing larger than a chunk is held."""
    from types import SimpleNamespace

    import torch

    from extract.writer import Writer

    site = SimpleNamespace(name="llm.0", stage="llm", layer=0, module="", reads="output", width=width)
    tree = Taxonomy.from_paths([("root", str(leaf)) for leaf in range(classes)])
    ids = [str(row) for row in range(rows)]
    leaf = np.random.default_rng(0).integers(0, classes, rows).astype(np.int32)
    options = {
        "sites": [site],
        "ids": ids,
        "leaf": leaf,
        "split": [split[row % len(split)] for row in range(rows)],
        "taxonomy": tree,
    }
    writer = Writer(Store.create(path, **options, chunk_rows=chunk_rows))
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, width, generator=generator)
    scale = torch.arange(1, width + 1) ** -0.3
    for unit in writer.pending:
        part = slice(unit.start, unit.stop)
        noise = 8 * torch.randn(len(unit), width, generator=generator)
        writer.put(unit, unit, {site.name: (centres[leaf[part]] + noise).mul_(scale).bfloat16()})
        writer.commit(unit, [""] * len(unit), ["ok"] * len(unit))
    return Store.open(path)
