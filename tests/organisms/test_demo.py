import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commandline import InputError
from extract import Store
from organisms.architectures import build
from organisms.calibrate import CalibrateConfig, calibrate
from organisms.check import SHIPPED, there
from organisms.demo import DemoConfig, demo
from organisms.measuring import MADE_FROM, made_from

ROOT = Path(__file__).parents[2]


def test_help_answers_without_loading_torch():
    code = "import sys, organisms.__main__; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_organisms_that_are_not_there_are_named_before_any_work(tmp_path):
    with pytest.raises(InputError, match="no organism 'sick'"):
        there(SHIPPED, ["healthy", "sick"])
    with pytest.raises(InputError, match="has no healthy; make it: python -m organisms train healthy"):
        there(tmp_path, None)


@pytest.mark.slow
def test_demo_goes_all_the_way(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert demo(DemoConfig(n=5, organisms=["healthy"])) == 0
    printed = capsys.readouterr().out
    assert "planted" in printed
    assert "make extract MODEL=Qwen/" in printed
    out = tmp_path / "runs/demo"
    assert Store.open(out / "healthy/store.zarr").ok.sum() == 36 * 5
    assert "healthy" in (out / "table.txt").read_text(encoding="utf-8")
    assert list((out / "healthy").rglob("*.html"))
    verdict = json.loads((out / "healthy/store.verdict/verdict.json").read_text(encoding="utf-8"))
    assert verdict["judged"] == ["encoder", "projector", "llm", "answers"]
    assert verdict["missing"] == []
    assert [level["stage"] for level in verdict["levels"]] == ["none"] * 3
    row = next(line for line in printed.splitlines() if line.startswith("healthy"))
    assert row.split()[-2:] == ["none", "none"]
    what_was_measured_is_calibrated_as_it_is(out, tmp_path / "calibrated", capsys)


def what_was_measured_is_calibrated_as_it_is(out, calibrated, capsys):
    """The demo's results where calibrate would have put them: nothing is measured again."""
    world, place = calibrated / "world-0-5", calibrated / "world-0-5/trained/healthy"
    place.parent.mkdir(parents=True)
    for name in ("world", "questions.parquet"):
        (out / name).rename(world / name)
    (out / "healthy").rename(place)
    sources = made_from(SHIPPED / "healthy", world / "world/manifest.jsonl", world / "questions.parquet")
    (place / MADE_FROM).write_text(json.dumps(sources))
    before = (place / "store.zarr/zarr.json").stat().st_mtime_ns
    assert calibrate(CalibrateConfig(organisms=["healthy"], seeds=[0], n=5, out=calibrated)) == 0
    assert "right: 3 of 3" in capsys.readouterr().out
    assert (place / "store.zarr/zarr.json").stat().st_mtime_ns == before
    assert json.loads((calibrated / "calibration.json").read_text(encoding="utf-8"))["holds"]


@pytest.mark.slow
def test_demo_stops_at_the_step_that_fails_and_says_what_was_said(tmp_path, capsys):
    broken = tmp_path / "weights/healthy"
    shutil.copytree(build("qwen2_5_vl", tmp_path / "model"), broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    assert demo(DemoConfig(out=tmp_path / "out", weights=tmp_path / "weights", n=5)) != 0
    said = capsys.readouterr().err
    assert "$ python -m extract" in said
    assert "log.txt" in said
    assert not (tmp_path / "out/healthy/store.probe").exists()
