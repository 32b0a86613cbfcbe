"""The main job whole: a checkpoint assembled from real weights, real photographs, the two commands, and their numbers.

Where the real data is absent the README's own commands do the same on tiny models (tests/test_readme.py).
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

from examples.assemble_llava import Assemble, assemble
from extract import Store

ROOT = Path(__file__).parents[2]
SPECIES = 12
LEVELS = ("order", "family", "genus", "species")


@pytest.fixture(scope="module")
def run(shared: Path | None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(store, probe folder) of a slice of the photographs: every eighth species."""
    if shared is None:
        pytest.skip("no photographs and real weights here")
    folder, data = tmp_path_factory.mktemp("main"), shared / "data"
    assemble(
        Assemble(vision=data / "vit_tiny_patch16_224_in1k", language=data / "stories260k_llama", out=folder / "llava")
    )
    with (data / "cub100_227px/labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    chosen = sorted({row["species"] for row in rows})[::8][:SPECIES]
    (folder / "images").symlink_to(data / "cub100_227px/images")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["file", "split", *LEVELS], extrasaction="ignore")
        table.writeheader()
        table.writerows(row for row in rows if row["species"] in chosen)
    store = folder / "birds.zarr"
    manifest = [f"--dataset={folder / 'labels.csv'}", f"--root={data / 'cub100_227px'}"]
    _python("-m", "extract", f"--model={folder / 'llava'}", *manifest, f"--store={store}", "--device=cpu")
    _python("-m", "probing", str(store), "--device=cpu")
    return store, folder / "birds.probe"


def _python(*words: str) -> None:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_rows_are_the_real_encoders_features_of_their_own_photograph(run: tuple[Path, Path], shared: Path) -> None:
    """Against transformers' ViTModel on the file that the row's id names."""
    store = Store.open(run[0])
    assert store.ok.all()
    folder = shared / "data/vit_tiny_patch16_224_in1k"
    vit = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    rows = [0, 57, len(store) - 1]
    for row in rows:
        image = Image.open(shared / "data/cub100_227px" / store.samples.id[row]).convert("RGB")
        pixels = processor(image, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            states = vit(pixels, output_hidden_states=True).hidden_states
        for layer in (1, 6, 11):
            ours = store.matrix(f"encoder.{layer}", [row])[0]
            np.testing.assert_allclose(ours, states[layer][0].mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_real_encoder_holds_the_tree_and_the_untrained_rest_loses_it(run: tuple[Path, Path]) -> None:
    table = pq.read_table(run[1] / "probes.parquet").to_pylist()
    accuracy = {(row["site"], row["level"]): row["accuracy"] for row in table}
    for level in LEVELS:
        assert accuracy["encoder.12", level] > accuracy["projector", level] > 1 / SPECIES
        assert accuracy["encoder.12", level] > accuracy["encoder.1", level]
    assert accuracy["encoder.12", "species"] > 0.85
    assert accuracy["llm.final", "species"] < accuracy["llm.0", "species"]
    hca = {row["site"]: row["hca"] for row in pq.read_table(run[1] / "hca.parquet").to_pylist()}
    assert hca["encoder.12"] > 0.8 > hca["llm.final"]
