"""`python -m extract` on real model classes and rendered images, judged by transformers itself."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from PIL import Image

from commandline import main
from extract import Store
from extract.__main__ import COMMANDS
from extract.resume import record_batch_size
from hooks import load
from hooks.certificate import Certificate
from hooks.encoding import encode
from taxonomy import load_images

PROMPT = "Describe this image."


def extract(*argv: object) -> int:
    return main("python -m extract", COMMANDS, "images", [str(arg) for arg in argv])


@pytest.fixture(scope="module")
def stores(checkpoints: dict[str, Path], world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A store of 24 images from each architecture."""
    folder = tmp_path_factory.mktemp("stores")
    for name, model in checkpoints.items():
        argv = [
            "--model",
            model,
            "--dataset",
            world,
            "--limit",
            24,
            "--batch_size",
            3,
            "--store",
            folder / f"{name}.zarr",
        ]
        assert extract(*argv) == 0
    return {name: folder / f"{name}.zarr" for name in checkpoints}


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "llava_onevision", "internvl"])
def test_rows_are_what_transformers_computes(
    stores: dict[str, Path], checkpoints: dict[str, Path], world: Path, name: str
) -> None:
    """Oracle: `output_hidden_states` of one plain forward per image, averaged over the image's tokens."""
    store, images = Store.open(stores[name]), load_images(str(world))
    loaded = load(checkpoints[name])
    assert store.ok.all()
    place = {image: row for row, image in enumerate(images.ids)}
    for row in range(0, len(store), 5):
        image = Image.open(io.BytesIO(images.read(place[store.samples.id[row]]))).convert("RGB")
        inputs = encode(loaded.processor, image, PROMPT)
        with torch.no_grad():
            states = loaded.model(**inputs, output_hidden_states=True).hidden_states
        visual = inputs["input_ids"][0] == loaded.model.config.image_token_id
        for site, state in (("llm.0", states[0]), ("llm.final", states[-1])):
            np.testing.assert_allclose(store.matrix(site, [row])[0], state[0, visual].mean(0), rtol=2e-4, atol=2e-5)
        assert store.samples.leaf[row] == images.leaf[place[store.samples.id[row]]]
        assert store.samples.split[row] == images.split[place[store.samples.id[row]]]


def test_the_store_says_what_it_was_made_of(stores: dict[str, Path], checkpoints: dict[str, Path]) -> None:
    attrs = Store.open(stores["qwen2_5_vl"]).attrs
    assert attrs["model"]["id"] == str(checkpoints["qwen2_5_vl"])
    assert attrs["model"]["class"] == "Qwen2_5_VLForConditionalGeneration"
    assert attrs["model"]["dtype"] == "float32"
    assert attrs["prompt"] == PROMPT
    assert attrs["dataset"]["n"] == 24
    assert attrs["batch_size"] == 3
    certificate = Certificate.from_dict(dict(attrs["certificate"]))
    assert certificate.ok
    assert set(certificate.sites) == set(attrs["sites"])
    assert {"torch", "transformers", "nnsight", "zarr", "python"} <= set(attrs["versions"])
    for key in ("config_hash", "weights_hash"):
        assert len(attrs["model"][key]) == 64


def test_batches_change_nothing_but_float_noise(
    stores: dict[str, Path], checkpoints: dict[str, Path], world: Path, tmp_path: Path
) -> None:
    model = checkpoints["qwen2_5_vl"]
    argv = ["--model", model, "--dataset", world, "--limit", 24, "--batch_size", 1, "--store", tmp_path / "s.zarr"]
    assert extract(*argv) == 0
    one, three = Store.open(tmp_path / "s.zarr"), Store.open(stores["qwen2_5_vl"])
    assert one.samples.id.tolist() == three.samples.id.tolist()
    for site in one.sites:
        np.testing.assert_allclose(one.matrix(site), three.matrix(site), rtol=1e-4, atol=1e-5)


def test_complete_stores_are_left_alone(
    stores: dict[str, Path], checkpoints: dict[str, Path], world: Path, capsys: pytest.CaptureFixture
) -> None:
    path = stores["internvl"]
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    argv = ["--model", checkpoints["internvl"], "--dataset", world, "--limit", 24, "--batch_size", 3, "--store", path]
    assert extract(*argv) == 0
    assert "complete already" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (["--pool", "last"], 'pool: there "mean", here "last"'),
        (["--store_dtype", "bfloat16"], 'store_dtype: there "float32", here "bfloat16"'),
        (["--prompt", "What is it?"], 'prompt: there "Describe this image.", here "What is it?"'),
        (["--system", "You see."], 'system: there null, here "You see."'),
        (["--limit", "23"], "(it holds 24 images, this is 23 (limit))"),
        (["--split", "leaf-disjoint"], "(dataset.split_source: there"),
        (["--max_pixels", "3136"], "pixels.max: there null, here 3136"),
        (["--batch_size", "4"], "(batch_size: there 3, here 4)"),
        (["--random_init", "true"], "model.random_init: there false, here true"),
    ],
)
def test_other_settings_are_refused_by_name(
    stores: dict[str, Path], checkpoints: dict[str, Path], world: Path, capsys, change: list[str], difference: str
) -> None:
    argv = ["--model", checkpoints["qwen2_5_vl"], "--dataset", world, "--limit", 24, "--batch_size", 3]
    assert extract(*argv, "--store", stores["qwen2_5_vl"], *change) == 2
    error = capsys.readouterr().err
    assert difference in error
    assert "use those settings, give another --store (STORE=), or remove it" in error


@pytest.fixture
def unfinished(stores: dict[str, Path], tmp_path: Path) -> Path:
    """A store whose only unit is missing a chunk, so that the command goes on with it."""
    path = shutil.copytree(stores["llava_onevision"], tmp_path / "s.zarr")
    (path / "projector" / "c.0.0").unlink()
    return path


def test_other_weights_dtypes_and_sites_are_refused(
    unfinished: Path, checkpoints: dict[str, Path], world: Path, capsys, tmp_path: Path
) -> None:
    """What only the loaded model can tell: the same name with other weights, another dtype, fewer sites."""
    argv = ["--dataset", world, "--limit", 24, "--batch_size", 3, "--store", unfinished]
    model = checkpoints["llava_onevision"]
    assert extract("--model", model, *argv, "--dtype", "bfloat16") == 2
    assert 'model.dtype: there "float32", here "bfloat16"' in capsys.readouterr().err
    assert extract("--model", model, *argv, "--sites", "llm.*") == 2
    assert "only there: encoder.1" in capsys.readouterr().err
    other = tmp_path / model.name
    trained = load(model)
    next(trained.model.parameters()).data.add_(0.01)
    shutil.copytree(model, other)
    trained.model.save_pretrained(other)
    assert extract("--model", other, *argv) == 2
    assert "model.weights_hash" in capsys.readouterr().err
    assert extract("--model", model, *argv) == 0
    assert Store.open(unfinished).ok.all()


def test_a_complete_store_of_other_weights_is_not_taken_for_this_models(
    stores: dict[str, Path], checkpoints: dict[str, Path], world: Path, tmp_path: Path, capsys
) -> None:
    """Trained on under the same name, in the same place."""
    model = shutil.copytree(checkpoints["internvl"], tmp_path / checkpoints["internvl"].name)
    path = shutil.copytree(stores["internvl"], tmp_path / "s.zarr")
    argv = ["--model", model, "--dataset", world, "--limit", 24, "--batch_size", 3, "--store", path]
    assert extract(*argv) == 0
    trained = load(model)
    *_, last = trained.model.parameters()
    last.data.add_(0.01)
    trained.model.save_pretrained(model)
    assert extract(*argv) == 2
    assert re.search(r"model\.weights_hash: there [0-9a-f]{8}, here [0-9a-f]{8}\)", capsys.readouterr().err)


@pytest.mark.parametrize("change", ["image mean", "tokenizer"])
def test_another_processor_is_refused(
    unfinished: Path, checkpoints: dict[str, Path], world: Path, tmp_path: Path, capsys, change: str
) -> None:
    """The weights are the same and the inputs are not."""
    model = tmp_path / "other" / checkpoints["llava_onevision"].name
    shutil.copytree(checkpoints["llava_onevision"], model)
    if change == "tokenizer":
        file = model / "tokenizer.json"
        content = json.loads(file.read_text())
        first, second = list(content["model"]["vocab"])[-2:]
        vocab = content["model"]["vocab"]
        vocab[first], vocab[second] = vocab[second], vocab[first]
        file.write_text(json.dumps(content))
    else:
        for file in model.glob("*processor*config.json"):
            content = json.loads(file.read_text())
            for part in (content, content.get("image_processor", {})):
                if "image_mean" in part:
                    part["image_mean"] = [0.1, 0.2, 0.3]
            file.write_text(json.dumps(content))
    assert extract("--model", model, "--dataset", world, "--limit", 24, "--batch_size", 3, "--store", unfinished) == 2
    assert re.search(r"\(processor_hash: there [0-9a-f]{8}, here [0-9a-f]{8}\)", capsys.readouterr().err)


def test_a_store_says_who_worked_on_it(
    unfinished: Path, checkpoints: dict[str, Path], world: Path, capsys: pytest.CaptureFixture
) -> None:
    zarr.open_group(unfinished, mode="r+").attrs["versions"] = {"torch": "1.0"}
    argv = ["--model", checkpoints["llava_onevision"], "--dataset", world, "--limit", 24, "--batch_size", 3]
    assert extract(*argv, "--store", unfinished) == 0
    assert "was begun with torch 1.0, and goes on with" in capsys.readouterr().err
    store = Store.open(unfinished, mode="r+")
    first, second = store.attrs["runs"]
    assert first["when"] <= second["when"]
    assert (second["device"], second["batch_size"]) == ("cpu", 3)
    assert second["versions"]["torch"] == torch.__version__
    record_batch_size(store, 1)
    assert [run["batch_size"] for run in Store.open(unfinished).attrs["runs"]] == [3, 1]
    assert Store.open(unfinished).attrs["batch_size"] == 3


def test_a_moved_model_goes_on(unfinished: Path, checkpoints: dict[str, Path], world: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / checkpoints["llava_onevision"].name
    shutil.copytree(checkpoints["llava_onevision"], moved)
    assert extract("--model", moved, "--dataset", world, "--limit", 24, "--batch_size", 3, "--store", unfinished) == 0


def odd_images(folder: Path) -> dict[str, str | None]:
    """One file of every odd kind; the reason expected in the store, or None where it is extracted."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    (folder / "images").mkdir(parents=True)

    def save(name: str, image: Image.Image, **options) -> None:
        image.save(folder / "images" / name, **options)

    save("a_good.jpg", colour)
    save("b_cmyk.jpg", colour.convert("CMYK"))
    save("c_sixteen.png", Image.fromarray(rng.integers(0, 65535, (40, 50), dtype=np.uint16)))
    save("d_animated.gif", colour, save_all=True, append_images=[colour.rotate(90)])
    save("e_alpha.png", colour.convert("RGBA"))
    save("f_one_pixel.png", colour.crop((0, 0, 1, 1)))
    save("h_last.jpg", colour)
    data = (folder / "images" / "a_good.jpg").read_bytes()
    (folder / "images" / "g_truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "images" / "g_empty.jpg").write_bytes(b"")
    (folder / "images" / "g_text.jpg").write_bytes(b"404 not found")
    files = sorted(file.name for file in (folder / "images").iterdir())
    rows = [{"image": f"images/{name}", "label": f"leaf {i % 2}", "kind": "thing"} for i, name in enumerate(files)]
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "taxonomy.json").write_text(json.dumps({"leaf 0": ["thing", "leaf 0"], "leaf 1": ["thing", "leaf 1"]}))
    reasons: dict[str, str | None] = dict.fromkeys(files)
    return reasons | {"g_truncated.jpg": "truncated JPEG", "g_empty.jpg": "empty", "g_text.jpg": "not an image"}


def test_odd_images_are_read_or_quarantined_and_nothing_shifts(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    expected = odd_images(tmp_path)
    argv = ["--model", checkpoints["llava_onevision"], "--dataset", tmp_path / "manifest.jsonl"]
    assert extract(*argv, "--taxonomy", tmp_path / "taxonomy.json", "--store", tmp_path / "s.zarr") == 0
    store = Store.open(tmp_path / "s.zarr")
    names = [Path(name).name for name in store.samples.id]
    assert names == sorted(expected)
    for row, name in enumerate(names):
        assert store.samples.leaf[row] == row % 2
        status, reason = store.samples.status[row], expected[name]
        assert status == "ok" if reason is None else reason in status, name
        assert np.isnan(store.matrix("llm.2", [row])).all() == (reason is not None)
    same = store.matrix("projector", [names.index("a_good.jpg"), names.index("h_last.jpg")])
    np.testing.assert_allclose(same[0], same[1], rtol=1e-5, atol=1e-6)
    assert "quarantined 1: truncated JPEG" in capsys.readouterr().out
    assert extract("verify", tmp_path / "s.zarr", "--images", "true") == 0


def test_no_good_image_at_all(checkpoints: dict[str, Path], tmp_path: Path, capsys) -> None:
    for name in ("x/a.jpg", "y/b.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        (tmp_path / "images" / name).write_bytes(b"junk")
    argv = ["--model", checkpoints["internvl"], "--dataset", tmp_path / "images", "--store", tmp_path / "s.zarr"]
    assert extract(*argv) == 2
    assert "none of the 2 images of images can be used" in capsys.readouterr().err
    assert not (tmp_path / "s.zarr").exists()


def test_a_dataset_of_junk_is_not_decoded_to_its_end(checkpoints: dict[str, Path], tmp_path: Path, capsys) -> None:
    for number in range(90):
        file = tmp_path / "images" / "xy"[number % 2] / f"{number:02}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"junk")
    argv = ["--model", checkpoints["llava_onevision"], "--dataset", tmp_path / "images"]
    assert extract(*argv, "--store", tmp_path / "s.zarr") == 2
    assert "none of 64 images tried among the images of images can be used; x/00.jpg: not an" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model", "/no/such/model"], "no such directory"),
        (["--dataset", "/no/such/data.jsonl"], "no such|not exist|not found|no file"),
        (["--sites", "llm.99"], "no site matches 'llm.99'"),
        (["--pool", "cls"], "pool=cls reads a tower's class token"),
        (["--device", "cuda:7"], "CUDA devices"),
        (["--dtype", "float7"], "dtype 'float7' is not known"),
        (["--store", "/proc/nowhere/s.zarr"], "cannot write to /proc/nowhere"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(
    checkpoints: dict[str, Path], world: Path, tmp_path: Path, capsys, argv: list[str], message: str
) -> None:
    start = ["--model", checkpoints["qwen3_vl"], "--dataset", world, "--store", tmp_path / "s.zarr"]
    assert extract(*start, *argv) == 2
    error = capsys.readouterr().err
    assert error.count("error:") == 1
    assert re.search(message, error), error
    assert not list(tmp_path.iterdir())


def test_a_model_without_vision_is_refused(causal_lm: Path, world: Path, tmp_path: Path, capsys) -> None:
    assert extract("--model", causal_lm, "--dataset", world, "--store", tmp_path / "s.zarr") == 2
    assert "without vision" in capsys.readouterr().err


def test_random_init_is_the_same_architecture_with_other_weights(
    stores: dict[str, Path], checkpoints: dict[str, Path], world: Path, tmp_path: Path
) -> None:
    argv = ["--model", checkpoints["qwen2_5_vl"], "--dataset", world, "--limit", 24, "--batch_size", 3]
    for number in (1, 2):
        assert extract(*argv, "--random_init", "true", "--store", tmp_path / f"{number}.zarr") == 0
    first, second = (Store.open(tmp_path / f"{number}.zarr") for number in (1, 2))
    trained = Store.open(stores["qwen2_5_vl"])
    assert first.attrs["model"]["random_init"] is True
    assert list(first.sites) == list(trained.sites)
    np.testing.assert_array_equal(first.matrix("llm.3"), second.matrix("llm.3"))
    assert np.abs(first.matrix("llm.3") - trained.matrix("llm.3")).max() > 0.01


def test_bfloat16_and_chosen_sites(checkpoints: dict[str, Path], world: Path, tmp_path: Path) -> None:
    argv = ["--model", checkpoints["qwen3_vl"], "--dataset", world, "--limit", 6, "--store", tmp_path / "s.zarr"]
    assert extract(*argv, "--dtype", "bfloat16", "--sites", "encoder.*,llm.final") == 0
    store = Store.open(tmp_path / "s.zarr")
    assert {site.stage for site in store.sites.values()} == {"encoder", "llm"}
    assert store.sites["llm.final"].logical_dtype == "bfloat16"
    assert store.bits("llm.final").dtype == np.uint16
    assert np.isfinite(store.matrix("llm.final")).all()


def test_limit_draws_evenly_and_a_smaller_one_is_part_of_a_larger(world: Path) -> None:
    from extract.config import ExtractConfig
    from extract.settings import read_images

    small, large = (read_images(ExtractConfig(model="m", dataset=str(world), limit=n)) for n in (20, 60))
    assert len(small) == 20
    assert set(small.ids) < set(large.ids)
    assert list(small.ids) == sorted(small.ids)
    assert len(set(large.leaf.tolist())) > 20
