"""Discovery on models that no library has, whose truth is known because they were made for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hooks import SiteMap, capture, find_sites
from hooks.inputs import collate
from tests.hooks.foreign import READ, SEEN, Cell, Grid, Overwriting, Reader, Tupling, Wrapping, foreign

CASES: dict[str, dict[str, Any]] = {
    "scattered over placeholders": {},
    "projected image by image": {"joins": "one by one"},
    "added to the placeholders": {"joins": "add"},
    "put amid the words": {"joins": "amid"},
    "put where an index says": {"joins": "rows"},
    "added before a later block": {"joins": "later"},
    "scaled on the way": {"scaled": 4.0},
    "blocks write into their input": {
        "eye": lambda: Overwriting(SEEN),
        "brain": lambda: Overwriting(READ, causal=True),
    },
    "blocks hand out dataclasses": {"eye": lambda: Wrapping(SEEN), "brain": lambda: Wrapping(READ, causal=True)},
    "blocks hand out tuples, states second": {
        "eye": lambda: Tupling(SEEN),
        "brain": lambda: Tupling(READ, causal=True),
    },
    "tokens before samples": {"order": "tokens first", "eye": lambda: Cell(SEEN, tokens=0)},
    "a convolutional tower": {"order": "grid", "eye": lambda: Grid(SEEN)},
    "weights run through twice": {"looped": 2},
}


def blocks(sites: SiteMap, stage: str) -> list[str]:
    return [site.module for site in sites.values() if site.stage == stage]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_sites_are_where_the_model_was_built(case: str, samples: int) -> None:
    model, inputs = foreign(samples, **CASES[case])
    sites = find_sites(model, inputs)
    looped = CASES[case].get("looped", 1)
    assert blocks(sites, "encoder") == ["eye.0", "eye.1", "eye.2", "bridge"]
    brain = [f"brain.{block}" for block in range(4)] * looped
    first = 2 if CASES[case].get("joins") == "later" else 0
    assert blocks(sites, "llm") == [*brain[first:], "brain.3", "calm"]
    assert sites.projector_module == "bridge"
    assert sites.head == "mouth"
    assert sites.fusion == ("sequence" if CASES[case].get("joins") == "amid" else "tokens")


def truth(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the bridge reads and hands on, (sample, token, feature)."""
    with torch.no_grad():
        seen = model.look(inputs["picture"])
        return seen, model.bridge(seen)


@pytest.mark.parametrize("case", CASES)
def test_rows_are_the_models_own_whatever_batch_the_sites_were_found_on(case: str) -> None:
    """Found on one sample, read on three: against the parts called by hand."""
    model, first = foreign(1, seed=0, **CASES[case])
    sites = find_sites(model, first)
    _, other = foreign(3, seed=1, **CASES[case])
    got = capture(model, other, sites, "tokens")
    seen, handed = truth(model, other)
    for sample in range(3):
        assert torch.allclose(got["encoder.final"][sample], seen[sample], atol=1e-5)
        rows = got["projector"][sample]
        if CASES[case].get("joins") in ("add", "later"):  # beside what stood there
            rows = rows - rows.mean(0) - (handed[sample] - handed[sample].mean(0))
            assert CASES[case]["joins"] == "later" or torch.allclose(rows, torch.zeros_like(rows), atol=1e-5)
        elif CASES[case].get("joins") == "rows":
            order = other["rows"][sample].argsort()
            assert torch.allclose(rows, handed[sample][order], atol=1e-5)
        else:
            assert torch.allclose(rows, handed[sample] * CASES[case].get("scaled", 1.0), atol=1e-5)
        alone = {name: value[sample : sample + 1] for name, value in other.items()}
        single = capture(model, alone, sites, "tokens")
        for site in sites:
            assert torch.allclose(got[site][sample], single[site][0], atol=1e-5), site


def test_samples_put_together_by_the_extraction_are_told_apart() -> None:
    """`alike` shares rows out without looking: also where tokens come before samples."""
    model, _ = foreign(1, order="tokens first", eye=lambda: Cell(SEEN, tokens=0))
    singles = [foreign(1, seed=seed, order="tokens first")[1] for seed in range(3)]
    sites = find_sites(model, singles[0])
    together = capture(model, collate(singles), sites, alike=True)
    for sample, inputs in enumerate(singles):
        for site, rows in capture(model, inputs, sites).items():
            assert torch.allclose(together[site][sample], rows[0], atol=1e-5), site


def test_cross_attention_has_no_rows_in_the_sequence_and_says_so() -> None:
    model, inputs = foreign(joins="none", brain=Reader)
    sites = find_sites(model, inputs)
    assert sites.fusion == "cross-attention"
    assert "llm" in sites.missing and "cross-attention" in sites.missing["llm"]
    assert blocks(sites, "encoder") == ["eye.0", "eye.1", "eye.2", "bridge"]
    got = capture(model, inputs, sites, "tokens")
    _, handed = truth(model, inputs)
    assert torch.equal(torch.stack(got["projector"]), handed)
