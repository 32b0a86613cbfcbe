"""Verdicts and bars on numbers made by hand."""

import dataclasses
import json

import pytest

from organisms.bars import cells, falling
from organisms.measuring import Lost, Measured, Share
from organisms.table import lost_at, markdown, one_look
from organisms.training.recipes import LEVELS, ORGANISMS, RECIPES

SITES = ("encoder.1", "encoder.final", "projector", "llm.0", "llm.final")
FLOOR = {"family": 0.25, "genus": 1 / 12, "species": 1 / 36}


def share(value):
    return Share(value, value - 0.05, value + 0.05)


def lost(stage, confident=True):
    return Lost(stage, confident, 0.9, 0.8, 1.0)


def made(visual=None, text=None, probes=None, **stages):
    """All is known (0.97), but for what is given: levels of answers, (site, level) of probes."""
    visual = {"hca": 0.92, **dict.fromkeys(LEVELS, 0.97), **(visual or {})}
    text = {"hca": 0.98, "family": 0.99, "genus": 0.98, **(text or {})}
    read = {
        site: {
            **{level: share((probes or {}).get((site, level), 0.97)) for level in LEVELS},
            **{f"majority {level}": Share(floor, floor, floor) for level, floor in FLOOR.items()},
            "hca": share((probes or {}).get((site, "hca"), 0.93)),
        }
        for site in SITES
    }
    held_out = {site: {"family": share(0.9), "genus": share(0.8), "hca": share(0.8)} for site in SITES}
    said, told = ({key: share(value) for key, value in given.items()} for given in (visual, text))
    verdict = {level: lost(stages.get(level, "none")) for level in LEVELS}
    return Measured(said, told, {"visual": 1 / 64, "text": 1 / 16}, read, held_out, True, verdict)


LOST = {"species": 0.34, "hca": 0.34}
AFTER = {(site, key): value for site in SITES[2:] for key, value in LOST.items()}
EVERYWHERE = {(site, key): value for site in SITES for key, value in LOST.items()}
NOTHING = {(site, level): FLOOR[level] + 0.1 for site in SITES for level in LEVELS} | {(s, "hca"): 0.02 for s in SITES}
GUESSES = dict.fromkeys(LEVELS, 0.27)

FOUND = {
    "healthy": made(),
    "llm": made({"hca": 0.06, "family": 0.26, "genus": 0.25}, {"hca": 0.06, "family": 0.3, "genus": 0.24}),
    "binding": made({"hca": 0.06, "family": 0.26, "genus": 0.25}),
    "projector": made({"hca": 0.33, "species": 0.34}, probes=AFTER, species="projector"),
    "encoder": made({"hca": 0.33, "species": 0.34}, probes=EVERYWHERE),
    "random": made(
        {"hca": 0.03, **GUESSES},
        {"hca": 0.07, "family": 0.2, "genus": 0.2},
        NOTHING,
        **dict.fromkeys(LEVELS, "not identifiable"),
    ),
}


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({"family": "text", "genus": "text", "species": "none"}, "LLM (taxonomy): family, genus"),
        ({"family": "none", "genus": "none", "species": "none"}, "none"),
        ({"family": "binding", "genus": "llm", "species": "none"}, "LLM (binding): family; LLM: genus"),
        (dict.fromkeys(LEVELS, "not identifiable"), "not identifiable"),
    ],
)
def test_a_verdict_is_said_as_recipes_say_what_they_plant(stages, said):
    assert lost_at({level: lost(stage) for level, stage in stages.items()}) == said


def test_a_verdict_that_is_not_certain_has_a_question_mark():
    verdict = {"family": lost("none"), "genus": lost("none", False), "species": lost("encoder", False)}
    assert lost_at(verdict) == "encoder: species?; none: genus?"


def test_a_random_model_with_a_verdict_fails_its_bar():
    judged = dataclasses.replace(FOUND["random"], verdict={"family": lost("encoder", False)})
    assert not cells("random", judged)[-1].holds


@pytest.mark.parametrize("name", ORGANISMS)
def test_an_organism_meets_its_own_bars_and_no_other(name):
    for organism in ORGANISMS:
        met = all(cell.holds for cell in cells(organism, FOUND[name]))
        assert met == (organism == name), f"{name} held to the bars of {organism}"


def test_what_is_written_is_read_back():
    assert Measured.from_dict(json.loads(json.dumps(FOUND["llm"].to_dict()))) == FOUND["llm"]


def test_a_page_says_which_bar_does_not_hold():
    planted = {name: RECIPES[name].planted for name in ORGANISMS}
    page = markdown(FOUND, planted, cells("healthy", FOUND["encoder"]), "as measured")
    assert "| healthy | visual HCA | 0.330 [0.280, 0.380] | >= 0.9 | **no** |" in page
    look = one_look(FOUND, planted).splitlines()
    assert all(any(line.startswith(name) for line in look) for name in ORGANISMS)
    row = next(line for line in look if line.startswith("projector"))
    assert row.split()[1:7] == ["33.0", "98.0", "93.0", "34.0", "34.0", "80.0"]
    assert row.split()[7:9] == ["-", "-"]  # its geometry was not measured
    assert row.split()[9:] == ["projector:", "species"] * 2
    angles = {FOUND["llm"].stage("llm"): {"genus": "violated", "species": "not identifiable"}}
    look = one_look({"llm": dataclasses.replace(FOUND["llm"], orthogonal=angles)}, planted)
    assert next(line for line in look.splitlines() if line.startswith("llm")).split()[7:9] == ["no", "?"]


def test_species_must_fall_with_every_step_of_the_dose():
    read = {"projector-0": 0.9, "projector-25": 0.7, "projector-50": 0.75, "projector": 0.34}
    found = {name: made(probes={("projector", "species"): share}) for name, share in read.items()}
    told = {cell.organism: cell.holds for cell in falling({**found, "encoder": made()})}
    assert told == {"projector-25": True, "projector-50": False, "projector": True}
    assert not falling({"healthy": made(), "projector": made(probes=AFTER)})
