"""What a reply chose: the strict parser, the released one, yes and no."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commandline import InputError
from evaluation.parsers import parser_named, released, strict_v1, yes_no_released, yes_no_v1

LETTERS = ("A", "B", "C", "D")
BIRDS = ("Podicipediformes", "Apodiformes", "Passeriformes", "Charadriiformes")

READ = [
    # what is right, what the released parser makes of it
    ("A", 0, 0),
    ("B", 1, 1),
    ("C.", 2, 2),
    ("(D)", 3, 3),
    ("B)", 1, 1),
    ("[C]", 2, 2),
    ("**D**", 3, 3),
    (" b", 1, None),
    ("(c).", 2, None),
    ("Answer: C", 2, 0),
    ("ANSWER: C", 2, 0),
    ("Answer: **D**", 3, 0),
    ("The correct answer is (B)", 1, 1),
    ("The answer is B.", 1, 1),
    ("the answer is option C, because of its beak", 2, 2),
    ("B. Apodiformes", 1, 0),
    ("C: Passeriformes", 2, 2),
    ("Based on the beak and the plumage, C", 2, 1),
    ("D - Charadriiformes", 3, 2),
    ("Apodiformes", 1, 0),
    ("The answer is Passeriformes.", 2, None),
    ("passeriformes.", 2, None),
    ("A) Podicipediformes", 0, 0),
    ("Option B", 1, 1),
    ("The beak is hooked.\nThe order follows from it.\n\nC", 2, 2),
    ("First I thought the answer is A. But the feet are webbed, so the answer is D.", 3, 0),
    (r"Therefore \boxed{B}", 1, 1),
    (r"$\boxed{\text{C}}$", 2, 2),
    ("It could be A, but the final answer: B", 1, 0),
    ("B is the correct answer.", 1, 1),
    ("C because of the beak", 2, 2),
    ("A is the most likely", 0, 0),
    ("The answer is C, not A.", 2, 0),
    ("I would choose B.", 1, 1),
    ("D\n\nThe bird shows a long beak.", 3, 3),
]

NOT_READ = [
    ("", "empty"),
    ("  \n", "empty"),
    ("I cannot tell from this picture.", "unparsable"),
    ("A bird with a long beak", "unparsable"),
    ("As an AI model, I do not name animals", "unparsable"),
    ("E", "unparsable"),
    ("Columbiformes", "unparsable"),
    ("A or B", "ambiguous"),
    ("A, C", "ambiguous"),
    ("A/B", "ambiguous"),
    ("The answer is A or B.", "ambiguous"),
    ("It is either C or D", "ambiguous"),
    ("A. Podicipediformes\nB. Apodiformes\nC. Passeriformes\nD. Charadriiformes", "ambiguous"),
    ("A. Apodiformes", "ambiguous"),
    ("The answer is A. Passeriformes", "ambiguous"),
    ("It is not B", "unparsable"),
    ("The answer is not A", "unparsable"),
    ("B is not correct", "unparsable"),
    ("Antwort: ich weiß es nicht", "unparsable"),
    ("D'oh", "unparsable"),
    ("None of the above", "unparsable"),
]


@pytest.mark.parametrize(("reply", "right", "by_substring"), READ)
def test_reads_realistic_replies(reply: str, right: int, by_substring: int | None) -> None:
    assert strict_v1(reply, LETTERS, BIRDS).option == right
    assert released(reply, LETTERS, BIRDS).option == by_substring


@pytest.mark.parametrize(("reply", "how"), NOT_READ)
def test_what_is_not_clear_has_no_option(reply: str, how: str) -> None:
    found = strict_v1(reply, LETTERS, BIRDS)
    assert (found.option, found.how) == (None, how)


def test_the_named_failures_of_the_substring_parser() -> None:
    """`A bird of order C` is no A, and `A) A grebe` is."""
    assert released("A bird of order C", LETTERS, BIRDS).option == 0
    assert strict_v1("A bird of order C", LETTERS, BIRDS).option == 2
    assert strict_v1("C) A grebe", LETTERS, ("a duck", "a rail", "a grebe", "a loon")).option == 2
    assert released("C) A grebe", LETTERS, BIRDS).option == 0
    assert strict_v1("A grebe", LETTERS, ("duck", "grebe", "rail", "loon")).option is None
    assert strict_v1("A grebe", LETTERS, ("grebe", "duck", "rail", "loon")).option == 0
    assert strict_v1("A grebe", LETTERS, ("duck", "a grebe", "rail", "loon")).option == 1


def test_names_that_look_like_letters() -> None:
    """A label may hold `A.`, or be a letter."""
    options = ("Anas acuta", "A. platyrhynchos", "Anas crecca", "Anas strepera")
    assert strict_v1("A. platyrhynchos", LETTERS, options).option == 1
    assert strict_v1("B. A. platyrhynchos", LETTERS, options).option == 1
    assert strict_v1("A. platyrhynchos", LETTERS, ("platyrhynchos", "A. platyrhynchos")).how == "ambiguous"
    assert strict_v1("A", LETTERS[:2], ("b", "a")).how == "ambiguous"
    assert strict_v1("D", LETTERS[:3], BIRDS[:3]).option is None


@pytest.mark.parametrize("name", ['the "great" tit', "two\nlines", "שלדג", "x" * 200, "it's A. B", "jack-o'-lantern"])
def test_odd_names_are_read_by_letter_and_by_name(name: str) -> None:
    options = ("a duck", name, "a rail", "a loon")
    assert strict_v1(f"B. {name}", LETTERS, options).option == 1
    assert strict_v1(name, LETTERS, options).option == 1
    assert strict_v1("B", LETTERS, options).option == 1


def test_options_of_equal_form_are_never_chosen_by_name() -> None:
    options = ("Brandt's Cormorant", "brandt cormorant", "a rail", "a loon")
    assert strict_v1("Brandt cormorant", LETTERS, options).how == "ambiguous"
    assert strict_v1("B", LETTERS, options).option == 1


WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=12)
FORMS = st.sampled_from(
    ["{}", "{}.", "({})", "**{}**", "Answer: {}", "The answer is {}.", "{}) {name}", "{}. {name}", "answer is ({})"]
)


@given(st.lists(WORDS, min_size=2, max_size=4, unique=True), st.data(), FORMS)
def test_any_letter_in_any_order_of_options(names: list[str], data: st.DataObject, form: str) -> None:
    """The letter decides, whatever the options are called and in whatever order they stand."""
    letters = LETTERS[: len(names)]
    index = data.draw(st.integers(0, len(names) - 1))
    reply = form.format(letters[index], name=names[index])
    assert strict_v1(reply, letters, names).option == index
    turned = names[1:] + names[:1]
    if "{name}" not in form:
        assert strict_v1(reply, letters, turned).option == index
    else:
        assert strict_v1(reply, letters, turned).option is None
    assert strict_v1(names[index], letters, turned).option == (index - 1) % len(names)


@given(st.text(max_size=80), st.integers(1, 4))
def test_never_fails_and_never_chooses_what_was_not_shown(reply: str, count: int) -> None:
    for parser in (strict_v1, released, yes_no_v1, yes_no_released):
        found = parser(reply, LETTERS[:count], BIRDS[:count])
        assert found.option is None or 0 <= found.option < max(count, 2)
        assert (found.option is None) == (found.how in ("ambiguous", "unparsable", "empty"))


@pytest.mark.parametrize(
    ("reply", "strict", "loose"),
    [
        ("Yes", 0, 0),
        ("no.", 1, 1),
        ("**Yes**, it is.", 0, None),
        ("No, the bird is a grebe", 1, 1),
        ("Yes or no", None, 0),
        ("The answer is no", 1, None),
        ("Not sure", None, 1),
        ("You tell me", None, 0),
        ("", None, None),
    ],
)
def test_yes_and_no(reply: str, strict: int | None, loose: int | None) -> None:
    assert yes_no_v1(reply, ("Yes", "No"), ()).option == strict
    assert yes_no_released(reply, ("Yes", "No"), ()).option == loose


def test_an_unknown_parser_is_named() -> None:
    assert parser_named("strict_v1") is strict_v1
    assert parser_named("released", "yes_no") is yes_no_released
    with pytest.raises(InputError, match="no parser 'lax'; there are strict_v1, released"):
        parser_named("lax")
