"""Words as tokens, sets as nodes, and the command on a causal language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from analysis.__main__ import COMMANDS
from analysis.geometry import park_criterion, unified_space, writing
from analysis.geometry.unembedding import as_published, node_sets
from analysis.geometry.words import LeafTokens, leaf_tokens, single_tokens, spellings, words_of
from commandline import InputError, main
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree

TREE = balanced_tree((2, 4, 8), ("order", "family", "species"))


class Vocabulary:
    """A tokenizer of whole words: what it does not know is two unknown tokens."""

    unk_token_id = 0

    def __init__(self, *words: str) -> None:
        self.ids = {word: place for place, word in enumerate(words, 1)}

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [self.ids[text]] if text in self.ids else [0, 0] if len(text) > 3 else [0]}


def test_spellings_and_what_is_one_token() -> None:
    assert spellings("sea_fox") == ["sea fox", "Sea fox", "sea foxes", "Sea foxes"]
    assert spellings("Fly") == ["Fly", "fly", "Flies", "flies"]
    assert spellings("ray")[2:] == ["rays", "Rays"]
    known = Vocabulary("cat", " cat", " Cats", "dog")
    assert single_tokens(known, spellings("cat")) == [1, 2, 3]
    assert single_tokens(known, ["ox", "whale"]) == []


def test_a_token_of_two_leaves_is_no_leafs() -> None:
    known = Vocabulary("bat", " bat", "owl", " owl", " cat")
    found = leaf_tokens(known, {0: ["bat"], 1: ["bat", "owl", "emu"], 2: ["cat"]}, variants=True)
    assert found.token.tolist() == [3, 4, 5]
    assert found.leaf.tolist() == [1, 1, 2]
    assert (found.asked, found.found, found.shared) == (5, 4, 2)


def test_words_come_from_a_file_or_are_the_names(tmp_path: Path) -> None:
    assert words_of(TREE, None)[3] == ["species 3"]
    (tmp_path / "w.json").write_text(json.dumps({"species 3": ["a", "b"]}))
    assert words_of(TREE, str(tmp_path / "w.json")) == {3: ["a", "b"]}
    (tmp_path / "w.json").write_text(json.dumps({"species 3": "ab"}))
    with pytest.raises(InputError, match="should hold"):
        words_of(TREE, str(tmp_path / "w.json"))
    (tmp_path / "w.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        words_of(TREE, str(tmp_path / "w.json"))


def test_sets_are_nested_and_an_only_child_is_its_parent() -> None:
    tree = Taxonomy.from_paths([["a", "b", "c"], ["a", "b", "d"], ["e", "f", "g"], ["e", "h", "i"]], list("xyz"))
    tokens = LeafTokens(np.arange(10), np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3]), 4, 4, 0)
    sets, parents = node_sets(tokens, tree)
    assert parents == {"e/f": "e", "e/h": "e", "a/b/c": "a", "a/b/d": "a"}
    assert {name: rows.tolist() for name, rows in sets.items()} == {
        "a": [0, 1, 2, 3, 4, 5],
        "e": [6, 7, 8, 9],
        "e/f": [6, 7],
        "e/h": [8, 9],
        "a/b/c": [0, 1, 2],
        "a/b/d": [3, 4, 5],
    }


def test_what_is_called_published_is() -> None:
    rng = np.random.default_rng(0)
    space = unified_space(rng.normal(size=(400, 16)))
    tokens = LeafTokens(np.arange(80), np.repeat(np.arange(8), 10), 8, 8, 0)
    sets, parents = node_sets(tokens, TREE)
    for estimator in ("lda", "mean"):
        mine = as_published(estimator, space, tokens, TREE)
        wanted = park_criterion(space, sets, parents, estimator)
        assert [(record["parent"], record["child"]) for record in mine] == list(wanted.edges)
        assert [record["cos"] for record in mine] == wanted.true.tolist()
        assert [record["random_parent"] for record in mine] == wanted.random_parent.tolist()


def unembedding(*words: str | Path) -> int:
    return main("python -m analysis", COMMANDS, None, ["unembedding", *map(str, words)])


@pytest.fixture
def vocabulary(causal_lm: Path, tmp_path: Path) -> tuple[Path, Path, Any]:
    """A tree and words for it, each a token of the tiny model; and which tokens these are, by leaf."""
    tokenizer = AutoTokenizer.from_pretrained(causal_lm)
    whole = [word for word, _ in sorted(tokenizer.get_vocab().items()) if word.isalpha() and word.isascii()]
    words = [word for word in whole if len(single_tokens(tokenizer, [word])) == 1][:48]
    assert len(words) == 48
    given = {f"species {leaf}": words[leaf::8] for leaf in range(8)}
    TREE.to_json(tmp_path / "tree.json")
    (tmp_path / "words.json").write_text(json.dumps(given))
    return tmp_path / "tree.json", tmp_path / "words.json", tokenizer


def test_an_untrained_language_model_has_no_tree(
    causal_lm: Path, vocabulary: tuple[Path, Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verdict is that of no tree; the published numbers are those of the model's own matrix."""
    tree, words, tokenizer = vocabulary
    out = tmp_path / "lm.geometry"
    settings = ("--variants", "false", "--draws", "60", "--out", out, "--device", "cpu")
    assert unembedding(causal_lm, "--taxonomy", tree, "--words", words, *settings) == 0
    assert "not identifiable" in capsys.readouterr().out
    verdicts = pq.read_table(out / "verdicts.parquet").to_pylist()
    assert [record["verdict"] for record in verdicts] == ["not identifiable"] * 2
    assert {(record["site"], record["inner_product"], record["n"]) for record in verdicts} == {
        ("unembedding", "causal", 48)
    }
    head: Any = AutoModelForCausalLM.from_pretrained(causal_lm).get_output_embeddings()
    matrix = head.weight.detach().numpy()
    tokens = leaf_tokens(tokenizer, words_of(TREE, str(words)), variants=False)
    wanted = park_criterion(unified_space(matrix[: len(tokenizer)]), *node_sets(tokens, TREE), "lda")
    published = pq.read_table(out / "published.parquet").to_pylist()
    mine = [record["cos"] for record in published if record["estimator"] == "lda"]
    assert np.allclose(mine, wanted.true, atol=1e-6)
    page = (out / "orthogonality.html").read_text(encoding="utf-8")
    assert "The published criterion" in page
    assert "unseen leaves" not in page


def test_bad_input_is_told(
    causal_lm: Path,
    vocabulary: tuple[Path, Path, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "drawings", lambda *_: [])
    tree, _, _ = vocabulary
    for settings, said in (
        (("--taxonomy", tmp_path / "no.json"), "no.json"),
        (("--taxonomy", tree, "--estimators", "median"), "'median' is none of lda, mean"),
        (("--taxonomy", tree, "--words", tmp_path / "none.json"), "cannot be read as JSON"),
        (("--taxonomy", tree), "0 of 8 leaves have two such tokens or more"),
    ):
        assert unembedding(causal_lm, *settings) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_trained_language_model(shared: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real unembeddings of few words: the published criterion and ours, side by side."""
    if shared is None:
        pytest.skip("real data")
    monkeypatch.setattr(writing, "drawings", lambda *_: [])
    kinds = {"girl": ["Lily", "she", "her", "mom"], "boy": ["Tim", "Timmy", "his", "he"]}
    deeds = {"saying": ["said", "named", "that"], "wishing": ["want", "play", "happy"], "link": ["and", "but", "with"]}
    paths = [["person", name] for name in kinds] + [["deed", name] for name in deeds]
    Taxonomy.from_paths(paths, ["kind", "what"]).to_json(tmp_path / "tree.json")
    (tmp_path / "words.json").write_text(json.dumps(kinds | deeds))
    settings = ("--taxonomy", tmp_path / "tree.json", "--words", tmp_path / "words.json", "--draws", "60")
    assert unembedding(shared / "data/stories260k_llama", *settings, "--out", tmp_path / "out") == 0
    published = pq.read_table(tmp_path / "out/published.parquet").to_pylist()
    assert len(published) == 2 * 5
    assert all(np.isfinite(record["cos"]) for record in published)
    (verdict,) = pq.read_table(tmp_path / "out/verdicts.parquet").to_pylist()
    assert verdict["d"] == 64
