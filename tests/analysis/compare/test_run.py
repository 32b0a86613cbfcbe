"""The command: one page and two tables, of runs and of sites."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analysis.compare.run import run
from analysis.config import CompareConfig
from commandline import InputError
from commandline.parse import parse
from probing.results import ProbeRun
from tests.analysis.report.planted import Outline, answer, harmful_tree
from tests.probing.test_run import planted, probe


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ProbeRun:
    return probe(
        planted(tmp_path_factory.mktemp("compare") / "a.zarr", harmful_tree()),
        sites=["encoder.2", "projector", "llm.final"],
    )


def test_runs_side_by_side(found: ProbeRun, capsys: pytest.CaptureFixture[str]) -> None:
    answer(found, harmful_tree(), found.path.parent / "photos")
    with pytest.raises(InputError, match="is named twice"):
        run(CompareConfig(runs=[str(found.path), str(found.path)]))
    run(CompareConfig(runs=[f"{found.path}@encoder.2", f"{found.path.with_suffix('.zarr')}@projector"], figures=False))
    said = capsys.readouterr().out
    assert "planted at projector against planted at encoder.2: " in said
    assert "paired over 32 samples" in said
    out = found.path.with_name("a.comparison")
    differences = pq.read_table(out / "differences.parquet").to_pylist()
    cells = {(record["site"], record["level"]): record["accuracy"] for record in found.probes}
    levels = [entry["level"] for entry in found.summary["levels"]]
    assert [row["level"] for row in differences] == [*levels, "HCA"]
    for row, level in zip(differences, levels, strict=False):
        assert row["difference"] == pytest.approx(cells["projector", level] - cells["encoder.2", level])
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["paired"]
    page = (out / "compare.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert "<script" not in page
    assert not {tag for tag, _ in outline.tags} & {"script", "iframe"}
    for row in differences:
        assert f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]" in outline.cells
    assert not (out / "figures").exists()


def test_bad_input(found: ProbeRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no site 'llm"):
        run(CompareConfig(runs=[f"{found.path}@encoder.2", f"{found.path}@llm.9"], out=tmp_path / "x"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="holds no comparison"):
        run(CompareConfig(runs=[f"{found.path}@encoder.2", f"{found.path}@projector"], out=tmp_path / "mine"))


def test_the_runs_are_bare_words() -> None:
    from analysis.__main__ import COMMANDS, _all_runs

    command, *words = _all_runs(["compare", "a, b.zarr", "c@llm.2", "d", "--seed", "3"])
    config = parse("analysis", COMMANDS[command], words)
    assert isinstance(config, CompareConfig)
    assert (config.runs, config.seed) == (["a, b.zarr", "c@llm.2", "d"], 3)
    assert _all_runs(["report", "x", "--out", "y"]) == ["report", "x", "--out", "y"]
    with pytest.raises(InputError, match="runs"):
        parse("analysis", COMMANDS["compare"], _all_runs(["compare", "alone"])[1:])
