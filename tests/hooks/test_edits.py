"""The usual edits against numpy's float64 closed forms, and on a model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from commandline import InputError
from hooks import Loaded, capture, edit, find_sites
from hooks.editing import Places
from hooks.edits import add, project_out, replace_with, swap
from hooks.encoding import encode
from hooks.inputs import collate
from tests.hooks.conftest import PROMPT, picture


def _places(*lengths: int) -> Places:
    sample = [who for who, length in enumerate(lengths) for _ in range(length)]
    token = [place for length in lengths for place in range(length)]
    return Places(torch.tensor(sample), torch.tensor(token), lengths)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_add_to_chosen_samples() -> None:
    rows, direction = _random(5, 8), _random(8, seed=1)
    got = add(direction, -2.0, samples=[1])(rows, _places(2, 3))
    assert torch.equal(got[:2], rows[:2])
    assert np.allclose(got[2:], rows[2:].double().numpy() - 2 * direction.double().numpy())
    assert not torch.equal(add(direction)(rows, _places(2, 3))[:2], rows[:2])


@settings(deadline=None, max_examples=30)
@given(width=st.integers(2, 12), count=st.integers(1, 4), seed=st.integers(0, 1000))
def test_nothing_is_left_in_a_projected_out_span(width: int, count: int, seed: int) -> None:
    """Of directions that are not orthogonal, one of them a sum of others; what is orthogonal to them stays."""
    basis = _random(min(count, width - 1), width, seed=seed) * 7
    dependent = torch.cat([basis, basis.sum(0, keepdim=True)])
    rows, mean = _random(6, width, seed=seed + 1), _random(width, seed=seed + 2)
    plane = np.linalg.qr(basis.double().numpy().T)[0]
    for centre in (None, mean):
        got = project_out(dependent, centre)(rows, _places(6)).double().numpy()
        away = rows.double().numpy() - (0 if centre is None else centre.double().numpy())
        assert np.allclose(got, rows.double().numpy() - away @ plane @ plane.T, atol=1e-4)
    twice = project_out(basis)(project_out(basis)(rows, _places(6)), _places(6))
    assert torch.allclose(twice, project_out(basis)(rows, _places(6)), atol=1e-5)


def test_replace_with_tokens_rows_and_a_mean() -> None:
    rows, places = _random(5, 4), _places(2, 3)
    parts = [_random(2, 4, seed=1), _random(3, 4, seed=2)]
    assert torch.equal(replace_with(parts)(rows, places), torch.cat(parts))
    one = replace_with([parts[1]], samples=[1])(rows, places)
    assert torch.equal(one, torch.cat([rows[:2], parts[1]]))
    each = _random(2, 4, seed=3)
    assert torch.equal(replace_with(each)(rows, places), each[places.sample])
    mean = _random(4, seed=4)
    assert torch.equal(replace_with(mean)(rows, places), mean.expand(5, 4))


def test_swap_by_hand() -> None:
    rows = _random(6, 4)
    got = swap([2, 0, 2])(rows, _places(2, 2, 2))
    assert torch.equal(got, rows[[4, 5, 0, 1, 4, 5]])


def test_half_precision_is_rounded_once() -> None:
    rows, direction = _random(4, 64).bfloat16(), _random(64, seed=1)
    got = project_out(direction)(rows, _places(4))
    assert got.dtype == torch.bfloat16
    unit = direction.double() / direction.double().norm()
    exact = rows.double() - rows.double() @ torch.outer(unit, unit)
    assert torch.allclose(got.double(), exact, rtol=2**-8, atol=1e-5)


def test_the_callers_tensor_may_change_afterwards() -> None:
    rows, direction = _random(3, 4), _random(4, seed=1)
    function, wanted = add(direction), rows + direction
    direction.zero_()
    assert torch.equal(function(rows, _places(3)), wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: add(torch.ones(2, 4)), r"direction must be \(feature,\), and has shape \(2, 4\)"),
        (lambda: add(torch.tensor([1.0, float("nan")])), "direction holds NaN"),
        (lambda: add(torch.ones(3)), "direction has 3 features, and the rows have 4"),
        (lambda: add(torch.ones(4), samples=[2]), "no sample 2 in a batch of 2"),
        (lambda: project_out(torch.zeros(2, 4)), "all zeros"),
        (lambda: project_out(torch.ones(2, 2, 4)), r"basis must be \(row, feature\)|basis must be"),
        (lambda: project_out(torch.ones(3)), "basis has 3 features, and the rows have 4"),
        (lambda: project_out(torch.ones(4), torch.ones(5)), "mean has 5 features"),
        (lambda: replace_with([torch.ones(2, 4)]), "rows of 1 samples to put in and 2 samples to edit"),
        (lambda: replace_with([torch.ones(2, 4)] * 2), "sample 1 has 3 rows here, and 2 are to be put in"),
        (lambda: replace_with(torch.ones(2, 5)), "rows to put in has 5 features"),
        (lambda: swap([1, 0]), "sample 0 has 2 rows and sample 1, to be put in its place, 3"),
        (lambda: swap([0]), "order names 1 samples, and the batch has 2"),
        (lambda: swap([0, 7]), "no sample 7 in a batch of 2"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Callable[..., Tensor]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()(torch.ones(5, 4), _places(2, 3))


def test_swapping_rows_that_come_call_by_call_is_refused() -> None:
    places = Places(torch.tensor([0, 0]), torch.tensor([0, 1]), (2, 2))
    with pytest.raises(InputError, match="runs several times"):
        swap([1, 0])(torch.ones(2, 4), places)


def test_on_a_model(loaded: Loaded) -> None:
    pair = collate([encode(loaded.processor, picture(80, 80, seed), PROMPT) for seed in range(2)])
    sites = find_sites(loaded.model, pair)
    tokens = capture(loaded.model, pair, sites, "tokens")
    # What stood there, put in again.
    with torch.no_grad():
        before = loaded.model(**pair).logits
    for name in sites:
        assert torch.equal(edit(loaded.model, pair, {name: replace_with(tokens[name])}, sites, ()).logits, before), name
    # A direction that is projected out is gone there, and its rows alone are changed.
    direction = _random(sites["llm.2"].width)
    got = edit(loaded.model, pair, {"llm.2": project_out(direction, samples=[1])}, sites, ["llm.2"], "tokens")
    first, second = got.activations["llm.2"]
    assert torch.equal(first, tokens["llm.2"][0])
    assert (second @ direction).abs().max() < 1e-4 < (first @ direction).abs().max()
    # Patching one sample's rows with the other's is what swapping does.
    patched = edit(loaded.model, pair, {"llm.0": replace_with(tokens["llm.0"][::-1])}, sites)
    swapped = edit(loaded.model, pair, {"llm.0": swap([1, 0])}, sites)
    assert torch.equal(patched.logits, swapped.logits)
    with pytest.raises(InputError, match=r"the edit of llm\.0: the direction has 3 features"):
        edit(loaded.model, pair, {"llm.0": add(torch.ones(3))}, sites)
