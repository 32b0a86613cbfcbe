"""What every test may ask for: tiny checkpoints, a rendered world, and real data where it is present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before any library reads them: no test goes to the network, and two workers do not fight over two cores.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first, those of the whole project before all: begun last, they leave a worker idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, len(item.path.parts) if item.path in slow else 0))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the four tiny untrained VLMs by name, each like a hub checkpoint. Do not write into them."""
    from organisms.architectures import ARCHITECTURES, build

    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: build(name, folder / name) for name in ARCHITECTURES}


@pytest.fixture(scope="session")
def causal_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny untrained Llama with its tokenizer."""
    from organisms.architectures import build_causal_lm

    return build_causal_lm(tmp_path_factory.mktemp("causal_lm"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest (JSON lines) of a small rendered world: 36 species of 3 levels, 6 images each, beside it."""
    from organisms.world import render_world

    return render_world(tmp_path_factory.mktemp("world"), n_per_species=6)


@pytest.fixture(scope="session")
def shared() -> Path | None:
    """The folder of real data (photographs, real weights), or None where there is none."""
    folder = Path(os.environ.get("TAXOPROBE_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "data").is_dir() else None
