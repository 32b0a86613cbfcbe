"""Texts of a taxonomy's leaves: the prompts, their rows, and what stands in them, judged by transformers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from commandline import InputError, main
from extract import Store
from extract.__main__ import COMMANDS
from extract.text import TEMPLATES, rows
from hooks import load
from taxonomy import Taxonomy

BIRDS = Taxonomy.from_paths(
    [
        ("Passeriformes", "Icteridae", "Icterus", "Orchard Oriole"),
        ("Passeriformes", "Icteridae", "Icterus", "Hooded Oriole"),
        ("Passeriformes", "Tyrannidae", "Sayornis", "Sayornis"),
        ("Piciformes", "Picidae"),
    ],
    levels=("order", "family", "genus", "species"),
)


def extract(*argv: object) -> int:
    return main("python -m extract", COMMANDS, "images", [str(arg) for arg in argv])


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    BIRDS.to_json(tmp_path / "birds.json")
    return tmp_path / "birds.json"


def test_every_leaf_is_asked_about_every_level_above_it_by_its_own_name() -> None:
    """The published generator called CUB's order a kingdom, and asked for a level it never wrote."""
    asked = rows(BIRDS, range(4), TEMPLATES["statement"])
    assert [(BIRDS.leaves[row.leaf], row.level) for row in asked] == [
        *(("Orchard Oriole", level) for level in ("order", "family", "genus")),
        *(("Hooded Oriole", level) for level in ("order", "family", "genus")),
        *((BIRDS.leaves[2], level) for level in ("order", "family", "genus")),
        ("Picidae", "order"),
    ]
    assert asked[1].text == "Orchard Oriole belongs to the family Icteridae."
    assert asked[8].text == "Sayornis belongs to the genus Sayornis."
    assert asked[9].text == "Picidae belongs to the order Piciformes."


def test_only_the_templates_that_say_so_contain_the_label() -> None:
    for name, template in TEMPLATES.items():
        for row in rows(BIRDS, [0, 1, 3], template):
            label = BIRDS.paths[row.leaf][BIRDS.levels.index(row.level)]
            assert (label in row.text) == template.contains_label == (name != "question")
            assert row.name in row.text and row.level in row.text


def test_levels_without_names_are_not_named() -> None:
    tree = Taxonomy.from_paths([("thing", "tool", "hammer")])
    texts = {row.text for template in TEMPLATES.values() for row in rows(tree, [0], template)}
    assert not any("level" in text for text in texts)
    assert len({row.text for row in rows(tree, [0], TEMPLATES["question"])}) == 1


def test_the_counts_of_the_study(shared: Path | None) -> None:
    """CUB: 200 species, 3 levels above; 137 of the study's species train and 63 are tested."""
    if shared is None:
        pytest.skip("no real data here")
    tree = Taxonomy.from_json(shared / "data/taxonomies/hierarchy_CUB200.json", ("order", "family", "genus", "species"))
    assert len(rows(tree, range(200), TEMPLATES["question"])) == 600


def test_a_flat_taxonomy_has_nothing_to_ask() -> None:
    with pytest.raises(InputError, match="nothing to ask"):
        rows(Taxonomy.from_paths([("a",), ("b",)]), range(2), TEMPLATES["question"])


def own_tokens_mean(loaded, text: str, layer: int) -> np.ndarray:
    """Oracle: the hidden states of a plain forward over one prompt, averaged over the tokens that cover characters."""
    encoded = loaded.tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
    own = (encoded.pop("offset_mapping")[0].diff(dim=-1) > 0).flatten()
    with torch.no_grad():
        states = loaded.model(**encoded, output_hidden_states=True).hidden_states
    return states[layer][0, own].mean(0).numpy()


def test_stores_hold_what_transformers_computes(causal_lm: Path, birds: Path, tmp_path: Path) -> None:
    argv = ["text", "--model", causal_lm, "--taxonomy", birds, "--store", tmp_path / "t.zarr", "--batch_size", 3]
    assert extract(*argv, "--templates", "question,answered,statement") == 0
    loaded = load(causal_lm)
    for name, template in TEMPLATES.items():
        store = Store.open(tmp_path / f"t-{name}.zarr")
        asked = rows(BIRDS, range(4), template)
        assert store.ok.all()
        assert store.attrs["contains_label"] == (name != "question")
        assert next(iter(store.sites)) == "text.0"
        assert list(store.sites)[-1] == "text.final"
        assert store.samples.leaf.tolist() == [row.leaf for row in asked]
        assert store.samples.level is not None
        assert store.samples.level.tolist() == [row.level for row in asked]
        for index in (0, 4, 9):
            for site, layer in (("text.0", 0), ("text.2", 2), ("text.final", -1)):
                expected = own_tokens_mean(loaded, asked[index].text, layer)
                np.testing.assert_allclose(store.matrix(site, [index])[0], expected, rtol=2e-4, atol=2e-5)
        assert extract("verify", store.path) == 0


def test_equal_prompts_are_read_once_and_stored_for_each_level(causal_lm: Path, tmp_path: Path) -> None:
    tree = Taxonomy.from_paths([("thing", "tool", f"tool {i}") for i in range(5)])
    tree.to_json(tmp_path / "tools.json")
    argv = ["text", "--model", causal_lm, "--taxonomy", tmp_path / "tools.json", "--store", tmp_path / "t"]
    assert extract(*argv, "--templates", "question") == 0
    matrix = Store.open(tmp_path / "t-question.zarr").matrix("text.2")
    np.testing.assert_array_equal(matrix[0::2], matrix[1::2])
    assert np.abs(matrix[0] - matrix[2]).max() > 0


def test_the_language_model_of_a_vlm_and_the_names_pool(
    checkpoints: dict[str, Path], birds: Path, tmp_path: Path
) -> None:
    argv = ["text", "--model", checkpoints["qwen2_5_vl"], "--taxonomy", birds, "--templates", "question"]
    for pool in ("mean", "name", "last"):
        assert extract(*argv, "--pool", pool, "--store", tmp_path / pool) == 0
    mean, name, last = (Store.open(tmp_path / f"{pool}-question.zarr") for pool in ("mean", "name", "last"))
    assert np.isfinite(name.matrix("text.3")).all()
    assert np.abs(mean.matrix("text.3") - name.matrix("text.3")).max() > 0
    # At the embeddings, a name's rows do not depend on the level asked for; the whole prompt's do.
    np.testing.assert_allclose(name.matrix("text.0")[0], name.matrix("text.0")[1], rtol=1e-5)
    assert np.abs(mean.matrix("text.0")[0] - mean.matrix("text.0")[1]).max() > 1e-4
    np.testing.assert_allclose(last.matrix("text.0")[0], last.matrix("text.0")[5], rtol=1e-5)  # the question mark


def test_whole_leaves_are_held_out_and_every_parent_is_trained_on(causal_lm: Path, tmp_path: Path) -> None:
    paths = [(f"o{o}", f"f{o}.{f}", f"s{o}.{f}.{s}") for o in range(2) for f in range(3) for s in range(2 + o + f)]
    tree = Taxonomy.from_paths(paths, levels=("order", "family", "species"))
    tree.to_json(tmp_path / "t.json")
    argv = [
        "text",
        "--model",
        causal_lm,
        "--taxonomy",
        tmp_path / "t.json",
        "--templates",
        "question",
        "--sites",
        "text.0",
    ]
    assert extract(*argv, "--store", tmp_path / "t") == 0
    samples = Store.open(tmp_path / "t-question.zarr").samples
    sides = [{str(side) for side in samples.split[samples.leaf == leaf]} for leaf in range(len(paths))]
    assert all(len(side) == 1 for side in sides)
    for family in tree.nodes("family"):
        leaves = [leaf for leaf, path in enumerate(paths) if path[:2] == family]
        tested = sum(sides[leaf] == {"test"} for leaf in leaves)
        assert tested == min(-(-len(leaves) // 2), len(leaves) - 1)
        assert any(sides[leaf] == {"train"} for leaf in leaves)


def test_an_interrupted_store_goes_on_and_another_one_is_refused(
    causal_lm: Path, birds: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = ["text", "--model", causal_lm, "--taxonomy", birds, "--templates", "answered", "--chunk_rows", "4"]
    assert extract(*argv, "--store", tmp_path / "t") == 0
    path = tmp_path / "t-answered.zarr"
    before = Store.open(path).bits("text.3")
    (path / "sample" / "status" / "c.1").unlink()
    (path / "text" / "c.3.1.0").unlink()
    assert extract(*argv, "--store", tmp_path / "t") == 0
    np.testing.assert_array_equal(Store.open(path).bits("text.3"), before)
    capsys.readouterr()
    status = (path / "sample" / "status" / "c.1").read_bytes()
    assert extract(*argv, "--store", tmp_path / "t") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{path} is complete already",
        f"{path}: 10 of 10 prompts at 6 sites",
    ]
    zarr.open_group(path, mode="r+").attrs["versions"] = {"torch": "1.0"}
    (path / "sample" / "status" / "c.1").unlink()
    assert extract(*argv, "--store", tmp_path / "t") == 0
    assert "was begun with torch 1.0, and goes on with" in capsys.readouterr().err
    assert (path / "sample" / "status" / "c.1").read_bytes() == status
    assert [run["batch_size"] for run in Store.open(path).attrs["runs"]] == [32, 32, 32]
    assert extract(*argv, "--store", tmp_path / "t", "--pool", "last") == 2
    assert 'pool: there "mean", here "last"' in capsys.readouterr().err


def test_prompts_that_fail_are_told(causal_lm: Path, birds: Path, tmp_path: Path, capsys) -> None:
    """Numbers too large for the stored dtype, in every prompt: the reason is printed, and it is an error."""
    model = shutil.copytree(causal_lm, tmp_path / "model")
    loaded = load(model)
    loaded.model.get_input_embeddings().weight.data.mul_(1e8)
    loaded.model.save_pretrained(model)
    argv = ["text", "--model", model, "--taxonomy", birds, "--templates", "question", "--store", tmp_path / "t"]
    assert extract(*argv, "--store_dtype", "float16") == 2
    captured = capsys.readouterr()
    assert "quarantined 10: NaN or infinity at text.0 (such as" in captured.out
    assert "not one prompt is good" in captured.err


def test_the_disk_is_looked_at_before_the_model_is_loaded(
    causal_lm: Path, birds: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two templates of 10 prompts, 6 sites of 64 float32 numbers; every store is one chunk of 10 rows."""
    usage = shutil.disk_usage(tmp_path)._replace(free=30_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    argv = ["text", "--model", causal_lm, "--taxonomy", birds, "--store", tmp_path / "new" / "t"]
    assert extract(*argv) == 2
    error = capsys.readouterr().err
    assert "has 30 kB free and 30.7 kB are needed" in error
    assert "Loading weights" not in error
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--device", "bogus"], "device 'bogus' is not known"),
        (["--templates", "riddle"], "no template 'riddle'; there are question, answered, statement"),
        (["--sites", "llm.*"], "no site matches 'llm.*'"),
        (["--taxonomy", "/no/such.json"], "no such file"),
    ],
)
def test_mistakes_are_told(causal_lm: Path, birds: Path, tmp_path: Path, capsys, argv: list[str], message: str) -> None:
    assert extract("text", "--model", causal_lm, "--taxonomy", birds, "--store", tmp_path / "t", *argv) == 2
    assert message in capsys.readouterr().err
