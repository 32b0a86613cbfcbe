"""Prompts: the study's wording, names that try to break out of it, and catalogues that are wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from commandline import InputError
from taxonomy import Taxonomy
from taxonomy.questions import Prompt, Question, prompts, render, system_turn
from tests.taxonomy.questions.trees import AWKWARD

TREE = Taxonomy.from_paths([("dog", "beagle"), ("cat", "tabby"), ("eel",)], ("kind", "breed"))
ASKED = Question(
    id="1.jpg#family",
    dataset="cub200",
    image="1.jpg",
    path="1.jpg",
    leaf="procellariiformes / diomedeidae / phoebastria / black-footed albatross",
    level="family",
    options=("diomedeidae", "stercorariidae", "alcidae"),
    nodes=(0, 1, 2),
    answer=0,
    scored=True,
    distractor_depth=(2, 0, 0),
    parent_offered=(True, False, False),
    name="Black-footed Albatross",
    finest=False,
)
CATALOGUE = prompts()


def test_the_studys_first_prompt() -> None:
    assert render(ASKED, CATALOGUE["cub-0"], (2, 0, 1), text_only=False) == (
        "Based on taxonomy, what is the family of the bird in this image?\n"
        "A. alcidae\nB. diomedeidae\nC. stercorariidae\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert render(ASKED, CATALOGUE["cub-1"], (0, 1, 2), text_only=True).startswith(
        "Given the Black-footed Albatross, what is its taxonomic classification at the family level?\nA. diomedeidae\n"
    )
    assert system_turn(CATALOGUE["cub-0"], text_only=False) is None
    assert system_turn(CATALOGUE["cub-0"], text_only=True) == "You are a helpful assistant."


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("text_only", [False, True])
def test_every_prompt_has_all_it_needs(name: str, text_only: bool) -> None:
    prompt = CATALOGUE[name]
    order = (1,) if prompt.reads == "yes_no" else (0, 1, 2)
    text = render(ASKED, prompt, order, text_only, TREE)
    said = f"{text}\n{system_turn(prompt, text_only, TREE)}"
    tree = str({"beagle": ["dog", "beagle"], "tabby": ["cat", "tabby"], "eel": ["eel"]})
    assert not re.search(r"[{}]", said.replace(tree, ""))
    assert (ASKED.name in text) == text_only
    lines = [f"{letter}. {ASKED.options[place]}" for letter, place in zip("ABC", order, strict=False)]
    assert prompt.reads == "yes_no" or "\n".join(lines) in text
    if "taxonomy" in name.split("-"):
        assert f"Here is a taxonomy: {tree}" in said
    if prompt.reads == "chain":
        assert prompt.max_new_tokens >= 256


def test_every_data_set_of_the_study_has_every_way_of_asking() -> None:
    for family in ("cub", "inat-animal", "inat-plant", "imagenet-animal", "imagenet-artifact", "food"):
        for way in ("0", "1", "2", "3", "4", "cot", "taxonomy", "yes-no"):
            assert f"{family}-{way}" in CATALOGUE
    assert len({CATALOGUE[f"food-{k}"].question for k in range(5)}) == 5
    assert [CATALOGUE[f"cub-{k}"].names_level for k in range(5)] == [True, True, False, False, False]


def test_names_stay_on_their_lines() -> None:
    options = AWKWARD.names("species")
    asked = replace(ASKED, level="species", options=options, name="line\nbreak {options}")
    text = render(asked, CATALOGUE["cub-0"], range(len(options)), text_only=False)
    lines = text.split("\n")
    assert len(lines) == len(options) + 2
    assert lines[1:-1] == [
        f"{letter}. {name}".replace("\n", " ") for letter, name in zip("ABCDEFG", options, strict=False)
    ]
    assert "does line break {options} fall" in render(asked, CATALOGUE["cub-0"], range(len(options)), text_only=True)


def test_ones_own_prompt_is_a_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        'mine: "Which {level}?"\n'
        'placed: {question: "{options}\\nWhich of these, and {{why}}?", ending: "", text_only: "{name}? {options}"}\n'
        "cub-0: {question: Look., text_only: null, max_new_tokens: 3}\n"
    )
    found = prompts(file)
    assert set(found) == {*CATALOGUE, "mine", "placed"}
    assert render(ASKED, found["mine"], (0, 1, 2), False).split("\n")[0] == "Which family?"
    assert render(ASKED, found["placed"], (0, 1, 2), False).endswith("C. alcidae\nWhich of these, and {why}?")
    assert found["cub-0"].max_new_tokens == 3
    with pytest.raises(InputError, match="'mine' has no text-only twin"):
        render(ASKED, found["mine"], (0, 1, 2), True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 3", "'a' should be a question"),
        ("- a", "should hold prompts by name"),
        ("a: [", "cannot read the prompts"),
        ("a: {question: Q, colour: red}", "'a' has 'colour'; its fields are"),
        ("a: 'Which {rank}?'", r"`question` has the placeholder \{rank\}; there may be \{level\}"),
        ("a: 'Which {?'", "a brace that is meant as one is written twice"),
        ("a: 'Which {}?'", r"has the placeholder \{\}"),
        ("a: 'Which {level!r}?'", r"has the placeholder \{level\}"),
        ("a: 'What is {name}?'", "gives the answer away"),
        ("a: {question: Q, text_only: 'What {level}?'}", r"`text_only` lacks \{name\}"),
        ("a: {question: Q, reads: yes_no}", r"`question` lacks \{option\}"),
        ("a: 'Is it {option}?'", "belongs to `reads: yes_no`"),
        ("a: {question: Q, reads: maybe}", "`reads` is one of letter, chain, yes_no"),
        ("a: {question: Q, max_new_tokens: 0}", "a whole number of at least 1"),
        ("a: {question: Q, max_new_tokens: true}", "a whole number of at least 1"),
        ("a: {question: ' '}", "`question` should be text"),
        ("a: {question: Q, system: 'You see {level}'}", "`system` has the placeholder"),
    ],
)
def test_a_catalogue_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        prompts(tmp_path / "p.yaml")


def test_what_cannot_be_put() -> None:
    with pytest.raises(InputError, match="is no order of 3 options"):
        render(ASKED, CATALOGUE["cub-0"], (0, 1), False)
    with pytest.raises(InputError, match="one option at a time"):
        render(ASKED, CATALOGUE["cub-yes-no"], (0, 1, 2), False)
    with pytest.raises(InputError, match="name the levels"):
        render(replace(ASKED, level="level2"), CATALOGUE["cub-0"], (0, 1, 2), False)
    assert "classification" in render(replace(ASKED, level="level2"), CATALOGUE["cub-2"], (0, 1, 2), False)
    with pytest.raises(InputError, match="none is given"):
        system_turn(CATALOGUE["cub-taxonomy"], False)
    with pytest.raises(InputError, match="should be text"):
        Prompt("p", None)  # pyright: ignore[reportArgumentType]
