"""The sweeps as they are: expanded as `wandb agent` does it, every command parsed, and some of each run offline."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb.sdk.lib.config_util import save_config_file_from_dict

from commandline import InputError, main
from commandline.parse import parse
from extract import Store
from extract.config import ExtractConfig
from extract.settings import read_images, store_path
from probing.__main__ import COMMANDS
from probing.config import ProbeConfig
from probing.results import ProbeRun
from probing.rows import at_depth, open_store
from tests.tracking.offline import read
from tests.tracking.stores import planted
from tracking import own_folder

SWEEPS = sorted((Path(__file__).parents[2] / "configs/sweeps").glob("*.yaml"))
KEYS = {"program", "project", "name", "method", "metric", "command", "parameters"}
OPENED: Counter[str] | None = None
"""Files of numbers that are opened, while it is a counter."""


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and OPENED is not None and isinstance(arguments[0], str) and ".zarr/" in arguments[0]:
        store, _, inside = arguments[0].rpartition(".zarr/")
        array, _, chunk = inside.partition("/")
        if chunk.startswith("c.") and array != "sample":
            layer = chunk.split(".")[1] if chunk.count(".") == 3 else ""
            OPENED[f"{Path(store).name} {array} {layer}".strip()] += 1


sys.addaudithook(_watch)


def expanded(sweep: Path) -> list[dict[str, Any]]:
    """The settings of a grid's runs, as the server deals them out."""
    parameters = yaml.safe_load(sweep.read_text())["parameters"]
    choices = [given["values"] if "values" in given else [given["value"]] for given in parameters.values()]
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*choices)]


def command(sweep: Path, settings: dict[str, Any]) -> list[str]:
    """The words of a run's command, as `wandb agent` puts them together."""
    given = yaml.safe_load(sweep.read_text())
    words = create_sweep_command_args({"args": {name: {"value": value} for name, value in settings.items()}})
    macros = words | {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [given["program"]]}
    found: list[str] = []
    for word in create_sweep_command(given["command"]):
        found += macros[word[2:-1]] if word.startswith("${") else [word]
    return found


def words_of(sweep: Path, settings: dict[str, Any]) -> list[str]:
    """What follows `python -m probing`."""
    words = command(sweep, settings)
    assert words[:4] == ["/usr/bin/env", "python", "-m", "probing"]
    return words[4:]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tiny stores under the names that the sweeps have."""
    named = {run["store"] for sweep in SWEEPS for run in expanded(sweep)}
    for name in named:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        planted(tmp_path / name, "mean")
        for pool in {run.get("pool", "mean") for run in expanded(SWEEPS[0])} - {"mean"}:
            planted((tmp_path / name).with_name(f"{Path(name).stem}-{pool}.zarr"), pool)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    return tmp_path


def agent(monkeypatch: pytest.MonkeyPatch, sweep: Path, number: int, settings: dict[str, Any]) -> str:
    """What an agent puts into the environment of a run; the run's id."""
    run = f"run{number}"
    file = Path(f"wandb/sweep-{sweep.stem}/config-{run}.yaml").absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    save_config_file_from_dict(str(file), {name: {"value": value} for name, value in settings.items()})
    for name, value in {"SWEEP_ID": sweep.stem, "RUN_ID": run, "SWEEP_PARAM_PATH": str(file)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    return run


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.stem)
def test_every_run_is_a_command_that_parses(sweep: Path) -> None:
    given = yaml.safe_load(sweep.read_text())
    assert set(given) == KEYS
    assert given["method"] == "grid"
    assert set(given["metric"]) == {"name", "goal"}
    runs = expanded(sweep)
    assert len(runs) > 3
    assert len({tuple(words_of(sweep, settings)) for settings in runs}) == len(runs)
    for settings in runs:
        if sum(settings[name] != value for name, value in runs[0].items()) > 1:
            continue  # every value of every parameter is met in those that differ in one thing only
        config = parse("p", COMMANDS["run"], words_of(sweep, settings))
        assert isinstance(config, ProbeConfig)
        assert (config.wandb.project, config.wandb.group) == ("taxoprobe", sweep.stem)
        for name, value in settings.items():
            there = getattr(config, name)
            assert there == value or there == [value], name


def test_layers_is_layers_by_pooling_by_penalty() -> None:
    runs = expanded(next(sweep for sweep in SWEEPS if sweep.stem == "layers"))
    assert len({run["store"] for run in runs}) == 1
    assert {(run["sites"], run["pool"]) for run in runs} >= set(
        itertools.product(["encoder.*", "llm.*"], ["mean", "max"])
    )
    assert all(len(run["penalties"]) > 3 for run in runs)


@pytest.mark.slow
@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.stem)
def test_runs_of_a_sweep_read_each_layer_once_and_leave_one_another_alone(
    sweep: Path, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run and the last; of protocols at one stage only, the published one for a few epochs."""
    global OPENED
    runs = expanded(sweep)
    before = {path: path.stat().st_mtime_ns for path in desk.glob("runs/*.zarr/**/*")}
    folders = set()
    for number in (0, len(runs) - 1):
        settings = runs[number]
        words = words_of(sweep, settings) + ([] if "sites" in settings else ["--sites=encoder.*"])
        words += ["--epochs=3"] if settings.get("protocol") == "paper" else []
        config = parse("p", COMMANDS["run"], words)
        assert isinstance(config, ProbeConfig)
        run = agent(monkeypatch, sweep, number, settings)
        OPENED = Counter()
        try:
            assert main("python -m probing", COMMANDS, "run", words) == 0
        finally:
            opened, OPENED = OPENED, None
        out = own_folder(Path(settings["store"]))
        assert out.parent.name == f"sweep-{sweep.stem}"
        (folder,) = out.parent.glob(f"{run}-*")
        found = ProbeRun.open(folder)
        sites = [record["site"] for record in found.hca]
        if "depth" in settings:
            (site,) = sites
            stage = settings["sites"].partition(".")[0]
            assert site in at_depth(
                [name for name in open_store(config).sites if name.startswith(stage)], settings["depth"]
            )
            assert list(opened.values()) == [1]  # a chunk holds all rows of these stores
        assert found.summary["store"]["pool"] == settings.get("pool", "mean")
        (logged,) = [read(path) for path in Path("wandb").glob(f"offline-run-*-{run}")]
        assert (logged.run.run_id, logged.run.sweep_id) == (run, sweep.stem)
        for name, value in settings.items():
            assert logged.config[name] == value or logged.config[name] == [value], name
        metric = yaml.safe_load(sweep.read_text())["metric"]["name"]
        assert 0 <= logged.summary[metric] <= 1
        assert logged.table("hca")
        assert set(logged.used) == {"store"}
        assert set(logged.made) == {"run_table", "probes"}
        folders.add(folder)
    assert len(folders) == 2
    assert not list(desk.glob("runs/*.probe*"))
    assert before == {path: path.stat().st_mtime_ns for path in desk.glob("runs/*.zarr/**/*")}


def test_outside_a_sweep_results_lie_beside_their_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert own_folder(Path("runs/a.probe")) == Path("runs/a.probe")
    monkeypatch.setenv("WANDB_RUN_ID", "../../r")
    assert own_folder(Path("runs/a.probe")) == Path("runs/a.probe")
    monkeypatch.setenv("WANDB_SWEEP_ID", "s/..")
    assert own_folder(Path("runs/a.probe")) == Path("runs/sweep-s_/_r-a.probe")


def test_a_pooling_is_that_of_the_store_or_of_the_one_beside_it(tmp_path: Path) -> None:
    store = planted(tmp_path / "a.zarr", "mean")
    config = ProbeConfig(store=str(store))
    assert open_store(config).path == store
    assert open_store(config.model_copy(update={"pool": "mean"})).path == store
    wanted = config.model_copy(update={"pool": "max"})
    with pytest.raises(InputError, match=r"pooled by mean, and there is no .*a-max\.zarr either; extract once more"):
        open_store(wanted)
    beside = planted(tmp_path / "a-max.zarr", "max")
    assert open_store(wanted).path == beside
    Store.open(beside, "r+").group.attrs["pool"] = "last"
    with pytest.raises(InputError, match="was pooled by last, whatever its name says"):
        open_store(wanted)


def test_extraction_names_a_store_as_probing_looks_for_it(world: Path) -> None:
    given = {"model": "owner/model", "dataset": str(world), "limit": 9}
    mean, last = (ExtractConfig.model_validate(given | {"pool": pool}) for pool in ("mean", "last"))
    images = read_images(mean)
    assert store_path(last, images).name == f"{store_path(mean, images).stem}-last.zarr"


@pytest.mark.parametrize(
    ("depth", "at"), [(None, "abcde"), (0, "a"), (1, "e"), (0.5, "c"), (0.3, "b"), (0.9, "e"), (0.1, "a")]
)
def test_depth_is_a_share_of_the_way(depth: float | None, at: str) -> None:
    assert at_depth(list("abcde"), depth) == list(at)
