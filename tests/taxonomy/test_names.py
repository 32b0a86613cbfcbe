"""The normaliser on the publishers' own spellings, and the index that refuses to guess."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from commandline import InputError
from taxonomy import Taxonomy
from taxonomy.names import normalise


@pytest.mark.parametrize(
    ("label", "form"),
    [
        ("001.Black_footed_Albatross", "black footed albatross"),
        ("Black-footed  Albatross ", "black footed albatross"),
        ("Brandt_Cormorant", "brandt cormorant"),
        ("Brandt\u2019s Cormorant", "brandt cormorant"),
        ("Chuck_will_Widow", "chuck will widow"),
        ("Chuck-will's-widow", "chuck will widow"),
        ("jack-o'-lantern", "jack o lantern"),
        ("Nelson's sharp-tailed Sparrow", "nelson sharp tailed sparrow"),
        ("kite (bird of prey)", "kite (bird of prey)"),
        ("3.5 inch floppy", "3.5 inch floppy"),
        ("12.", "12."),
        ("7 up", "7 up"),
        ("cre\u0300me bru\u0302le\u0301e", "cr\u00e8me br\u00fbl\u00e9e"),
        ("\uff21lpha", "alpha"),
        ("Stra\u00dfe", "strasse"),
        ("Red\u2013winged", "red winged"),
        ("", ""),
    ],
)
def test_normal_forms(label: str, form: str) -> None:
    assert normalise(label) == form


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("0123456789._-' sS\u2019\u0130\u00df"))))
@example("'1.a")
@example("1.-1.a")
def test_normalising_twice_changes_nothing(label: str) -> None:
    assert normalise(normalise(label)) == normalise(label)
    assert normalise(f"_{label}- ") == normalise(label)


def test_every_label_of_the_study_s_lists_finds_its_leaf(published: Path) -> None:
    tree = Taxonomy.from_json(published / "hierarchy_CUB200.json")
    with gzip.open(published.parent / "questions" / "CUB200_probe_images.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    found = {row["image"].split("/")[2]: tree.index(row["label"]) for row in rows}
    assert len(rows) == 11_788
    assert sorted(found.values()) == list(range(200))
    folders = {folder for folder in found if tree.labels.find(folder) != found[folder]}
    assert folders == {"141.Artic_Tern", "146.Forsters_Tern"}  # misspelled by the publisher; the preset knows them


def test_no_published_leaf_is_ambiguous(published: Path) -> None:
    for file in published.glob("*.json"):
        tree = Taxonomy.from_json(file)
        assert [tree.labels.find(normalise(leaf)) for leaf in tree.leaves] == list(range(len(tree)))


def test_a_label_that_fits_two_leaves_is_refused_by_name() -> None:
    tree = Taxonomy.from_paths(
        [("bird", "Crane"), ("machine", "crane"), ("machine", "tall-crane"), ("bird", "Tall crane")]
    )
    with pytest.raises(InputError, match="'CRANE' fits 2 leaves of the taxonomy \\('Crane', 'crane'\\)"):
        tree.labels.find("CRANE")
    with pytest.raises(InputError, match="'tall_crane' fits 2 leaves"):
        tree.labels.find("tall_crane")
    assert tree.labels.find("crane") == 1
    assert tree.labels.find("Bird/CRANE") == 0
    assert tree.labels.find("machine / tall crane") == 2
    assert tree.labels.find("fish/crane") is None


def test_folders_match_by_their_longest_end_that_fits() -> None:
    tree = Taxonomy.from_paths([("home", "other"), ("garden", "other"), ("garden", "spade")])
    assert tree.labels.find_path(("photos", "Garden", "other")) == 1
    assert tree.labels.find_path(("photos", "spade")) == 2
    assert tree.labels.find_path(("photos", "rake")) is None
    with pytest.raises(InputError, match="'other' fits 2 leaves"):
        tree.labels.find_path(("photos", "other"))


def test_a_slash_in_a_name_is_part_of_it() -> None:
    tree = Taxonomy.from_paths([("shop", "bed and/or breakfast"), ("shop", "inn")])
    assert tree.labels.find("Bed_and/or_Breakfast") == 0


def test_nearest_names() -> None:
    tree = Taxonomy.from_paths([("bird", "Arctic Tern"), ("bird", "Forster's Tern"), ("bird", "Ovenbird")])
    assert tree.labels.nearest("141.Artic_Tern")[0] == "Arctic Tern"
    assert tree.labels.nearest("xyz") == ()
