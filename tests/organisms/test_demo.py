import subprocess
import sys
from pathlib import Path

import pytest

from extract import Store
from organisms.demo import DemoConfig, demo

ROOT = Path(__file__).parents[2]


def test_help_answers_without_loading_torch():
    code = "import sys, organisms.__main__; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.slow
def test_demo_goes_all_the_way_and_says_that_the_model_is_untrained(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert demo(DemoConfig(n=5, architecture="internvl")) == 0
    printed = capfd.readouterr().out
    assert "The model above is untrained (internvl, random weights): it knows nothing." in printed
    assert "make extract MODEL=Qwen/" in printed
    store = Store.open(tmp_path / "runs/demo/untrained.zarr")
    assert store.ok.sum() == 36 * 5
    for level in ("family", "genus", "species"):
        assert level in printed
    assert "HCA" in printed


@pytest.mark.slow
def test_demo_stops_at_the_step_that_fails(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "untrained.zarr").write_text("not a store")
    assert demo(DemoConfig(out=tmp_path, n=1)) != 0
    printed = capfd.readouterr()
    assert "$ python -m probing" not in printed.out
    assert "untrained.zarr" in printed.err
