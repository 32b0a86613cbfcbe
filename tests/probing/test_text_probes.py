"""Text probes from the prompts on: with and without the label, the name's tokens and all, and the tokens alone.

The names tell nothing of their families. What is read of a family is then the label in the prompt, and a causal model
cannot have it at the tokens of the name, which come before it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from commandline import InputError, main
from extract import Store
from extract.__main__ import COMMANDS
from hooks import load
from hooks.text import TextPrompt, _tokenize
from probing.__main__ import COMMANDS as PROBING
from probing.baselines import TEXT_NAMES, TOKENS, pooled_tokens, text_baselines, token_counts
from probing.plan import make_plan
from probing.protocol import Settings, probe_site
from probing.results import ProbeRun
from taxonomy import Taxonomy

FAMILIES = ("Zibud", "Kolam", "Rupet", "Vofin")


def names(count: int) -> list[str]:
    rng = np.random.default_rng(3)
    syllables = [consonant + vowel for consonant in "bdfgklmnprtvz" for vowel in "aeiou"]
    return ["".join(rng.choice(syllables, 3)).capitalize() for _ in range(count)]


@pytest.fixture(scope="module")
def stores(causal_lm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Store]:
    folder = tmp_path_factory.mktemp("text")
    paths = [(FAMILIES[index // 12], name) for index, name in enumerate(names(48))]
    Taxonomy.from_paths(paths, levels=("family", "species")).to_json(folder / "names.json")
    argv = ["--model", causal_lm, "--taxonomy", folder / "names.json", "--templates", "question,answered"]
    found = {}
    for pool in ("mean", "name", "last"):
        options = [*argv, "--pool", pool, "--store", folder / pool, "--sites", "text.0,text.final"]
        assert main("python -m extract", COMMANDS, "images", ["text", *map(str, options)]) == 0
        for template in ("question", "answered"):
            found[template, pool] = Store.open(folder / f"{pool}-{template}.zarr")
    return found


def every(store: Store) -> np.ndarray:
    return np.arange(len(store))


def read(store: Store, X: np.ndarray) -> float:
    """Accuracy of the family on leaves that were never trained on."""
    samples = store.samples
    assert samples.level is not None
    split, asked = samples.split.astype(str), samples.level.astype(str)
    plan = make_plan(store.taxonomy, samples.leaf, split, samples.id.tolist(), asked=asked)
    assert plan.scored == ("family",)
    found = probe_site(X, plan, Settings((1.0, 1e-1, 1e-2, 1e-3), shuffles=1, controls=0)).levels["family"]
    return float((found.predicted == plan.scored_path[plan.test_units, 0]).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "features",
    [
        lambda store: text_baselines(store, every(store))[TOKENS],
        lambda store: store.matrix("text.0"),
    ],
    ids=["tokens", "embeddings"],
)
def test_the_label_is_read_where_the_prompt_has_it_and_the_pool_sees_it(
    stores: dict[tuple[str, str], Store], features: Callable[[Store], np.ndarray]
) -> None:
    accuracy = {which: read(store, features(store)) for which, store in stores.items()}
    assert accuracy["answered", "mean"] >= 0.9, accuracy
    blind = [which for which in accuracy if which[0] == "question" or which[1] == "name"]
    assert max(accuracy[which] for which in blind) <= 0.6, accuracy


@pytest.mark.slow
def test_a_causal_model_s_name_does_not_know_what_follows_it(stores: dict[tuple[str, str], Store]) -> None:
    answered, question = (stores[template, "name"].matrix("text.final") for template in ("answered", "question"))
    np.testing.assert_allclose(answered, question, rtol=1e-3, atol=1e-4)
    assert np.abs(stores["answered", "mean"].matrix("text.final") - question).max() > 0.01


@pytest.mark.slow
def test_the_tokens_are_those_that_the_store_pools(stores: dict[tuple[str, str], Store], causal_lm: Path) -> None:
    tokenizer = load(causal_lm).tokenizer
    for (template, pool), store in stores.items():
        ids = pooled_tokens(store, every(store))
        for row in (0, 17, 47):
            leaf = store.samples.leaf[row]
            family, name = store.taxonomy.paths[leaf]
            text = f"Given the {name}, what is its taxonomic classification at the family level?"
            text += f" It belongs to {family}." if template == "answered" else ""
            prompt = _tokenize(tokenizer, TextPrompt(text, name), "name", False, None)
            mask = prompt.name if pool == "name" else prompt.own
            expected = [token for token, inside in zip(prompt.ids, mask, strict=True) if inside]
            assert ids[row] == (expected[-1:] if pool == "last" else expected)


@pytest.mark.slow
def test_a_tokenizer_that_is_gone_is_told(stores: dict[tuple[str, str], Store], tmp_path: Path) -> None:
    copy = tmp_path / "copy.zarr"
    shutil.copytree(stores["question", "mean"].path, copy)
    store = Store.open(copy, mode="r+")
    store.group.attrs["model"] = {**store.attrs["model"], "id": "/nowhere/model"}
    with pytest.raises(InputError, match=r"the tokenizer of /nowhere/model cannot be loaded"):
        pooled_tokens(Store.open(copy), every(store))


def test_counts_are_of_tokens_in_two_kinds_of_rows() -> None:
    found = token_counts([[7, 5, 5], [7, 9], [5], [5], [3]])
    np.testing.assert_array_equal(found, [[2, 1], [0, 1], [1, 0], [1, 0], [0, 0]])
    np.testing.assert_array_equal(token_counts([[1, 1], [1, 1], [2]]), [[2, 0], [2, 0], [0, 1]])
    assert TOKENS not in TEXT_NAMES


@pytest.mark.slow
def test_the_command_puts_the_baselines_of_a_text_store_beside_its_sites(
    stores: dict[tuple[str, str], Store], tmp_path: Path
) -> None:
    """With the label in the prompt its tokens give the family away, the name's words and characters do not."""
    for template in ("question", "answered"):
        store, out = stores[template, "mean"], tmp_path / template
        argv = [store.path, "--baselines=true", "--sites=text.0", "--penalties=[1.0,0.1,0.01]", f"--out={out}"]
        assert main("python -m probing", PROBING, "run", [str(word) for word in argv]) == 0
    asked, answered = (ProbeRun.open(tmp_path / template) for template in ("question", "answered"))
    assert [record["site"] for record in answered.hca] == [*TEXT_NAMES, TOKENS, "text.0"]
    assert {record["stage"] for record in answered.hca[:3]} == {"baseline"}
    accuracy = {
        (name, record["site"]): record["accuracy"]
        for name, run in (("question", asked), ("answered", answered))
        for record in run.probes
        if record["level"] == "family"
    }
    assert min(accuracy["answered", TOKENS], accuracy["answered", "text.0"]) >= 0.9, accuracy
    assert max(accuracy[template, name] for template in ("question", "answered") for name in TEXT_NAMES) <= 0.6
    assert accuracy["question", TOKENS] <= 0.6
    counts = text_baselines(stores["answered", "mean"], every(stores["answered", "mean"]))
    assert {record["site"]: record["width"] for record in answered.hca[:3]} == {
        name: X.shape[1] for name, X in counts.items()
    }
