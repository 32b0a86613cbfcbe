"""Edits against the same ones made by plain torch hooks, and against forwards without any."""

from __future__ import annotations

import gc
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from commandline import InputError
from hooks import Loaded, Site, SiteMap, capture, edit, find_sites, load
from hooks.editing import Places, put
from hooks.edits import replace_with
from hooks.encoding import encode
from hooks.inputs import collate
from hooks.recording import at
from organisms.zoo import build_family
from tests.hooks.conftest import PROMPT, picture

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(loaded: Loaded) -> dict:
    """Two different images of one size in a batch."""
    return collate([encode(loaded.processor, picture(80, 80, seed), PROMPT) for seed in range(2)])


@pytest.fixture
def sites(loaded: Loaded, pair: dict) -> SiteMap:
    return find_sites(loaded.model, pair)


def _logits(loaded: Loaded, inputs: dict) -> Tensor:
    with torch.no_grad():
        return loaded.model(**inputs).logits


def _equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


def _turn(rows: Tensor) -> Tensor:
    """Some edit that depends on what it is given and mixes features."""
    return 0.5 * rows.flip(-1) + rows.tanh()


def test_null_edits_change_nothing_bit_for_bit(loaded: Loaded, batch: dict) -> None:
    """Images of three sizes in one padded batch; an identity at every site at once."""
    sites = find_sites(loaded.model, batch)
    plain = capture(loaded.model, batch, sites, "tokens")
    calls: list[str] = []

    def identity(rows: Tensor) -> Tensor:
        calls.append("")
        return rows

    got = edit(loaded.model, batch, dict.fromkeys(sites, identity), sites, pool="tokens")
    assert len(calls) == len(sites)
    assert torch.equal(got.logits, _logits(loaded, batch))
    assert list(got.activations) == list(sites)
    assert all(_equal(plain[name], got.activations[name]) for name in sites)


def test_an_edit_equals_the_same_by_a_torch_hook(loaded: Loaded, batch: dict) -> None:
    """At the input of an LLM block, visual rows only; images of different sizes."""
    sites = find_sites(loaded.model, batch)
    visual = batch["input_ids"] == loaded.model.config.image_token_id
    seen: list[Tensor] = []

    def change(_: Any, args: tuple[Tensor, ...]) -> tuple[Any, ...]:
        hidden = args[0].clone()
        hidden[visual] = _turn(hidden[visual])
        return (hidden, *args[1:])

    blocks = loaded.model.get_decoder().layers
    handles = [
        blocks[2].register_forward_pre_hook(change),
        blocks[3].register_forward_pre_hook(lambda _, args: seen.append(args[0].clone())),
    ]
    wanted = _logits(loaded, batch)
    for handle in handles:
        handle.remove()
    got = edit(loaded.model, batch, {"llm.2": _turn}, sites, ["llm.3"], "tokens")
    assert torch.equal(got.logits, wanted)
    assert not torch.equal(got.logits, _logits(loaded, batch))
    assert torch.equal(torch.cat(got.activations["llm.3"]), seen[0][visual])


def test_an_encoder_edit_equals_the_same_by_a_torch_hook(loaded: Loaded, sample: dict) -> None:
    """At the output of a vision block: all rows of one sample."""
    sites = find_sites(loaded.model, sample)
    block = loaded.model.get_submodule(sites["encoder.2"].module)
    handle = block.register_forward_hook(lambda _, args, out: _turn(out))
    wanted = _logits(loaded, sample)
    handle.remove()
    got = edit(loaded.model, sample, {"encoder.2": _turn}, sites, ())
    assert torch.equal(got.logits, wanted)
    assert got.activations == {}


def test_an_edit_moves_what_is_downstream_and_nothing_else(loaded: Loaded, pair: dict, sites: SiteMap) -> None:
    """And only in the sample that it was made in, bit for bit, logits included."""
    plain, before = capture(loaded.model, pair, sites), _logits(loaded, pair)

    def first_only(rows: Tensor, places: Places) -> Tensor:
        return torch.where((places.sample == 0)[:, None], _turn(rows), rows)

    for name in sites:
        got = edit(loaded.model, pair, {name: first_only}, sites)
        moved = [site for site in sites if not torch.equal(got.activations[site][0], plain[site][0])]
        assert moved == list(sites)[list(sites).index(name) :], name
        assert all(torch.equal(got.activations[site][1], plain[site][1]) for site in sites), name
        assert not torch.equal(got.logits[0], before[0]), name
        assert torch.equal(got.logits[1], before[1]), name


def test_places_say_whose_the_rows_are(loaded: Loaded, batch: dict) -> None:
    """What an edit sees is what `capture` gives, sample by sample."""
    sites = find_sites(loaded.model, batch)
    tokens = capture(loaded.model, batch, sites, "tokens")
    seen: dict[str, tuple[Tensor, Places]] = {}

    def look(name: str) -> Callable[[Tensor, Places], Tensor]:
        def function(rows: Tensor, places: Places) -> Tensor:
            seen[name] = rows.clone(), places
            return rows

        return function

    edit(loaded.model, batch, {name: look(name) for name in sites}, sites, ())
    for name, (rows, places) in seen.items():
        assert places.lengths == tuple(map(len, tokens[name])), name
        assert len(set(places.lengths)) > 1, name
        for row, sample, token in zip(rows, places.sample.tolist(), places.token.tolist(), strict=True):
            assert torch.equal(row, tokens[name][sample][token]), name


def test_edits_of_several_sites_act_one_after_another(loaded: Loaded, pair: dict, sites: SiteMap) -> None:
    first = edit(loaded.model, pair, {"llm.1": _turn}, sites, ["llm.3"], "tokens").activations["llm.3"]
    seen: list[Tensor] = []

    def look(rows: Tensor) -> Tensor:
        seen.append(rows.clone())
        return rows * 0

    # Given in the other order: what counts is the model's.
    got = edit(loaded.model, pair, {"llm.3": look, "llm.1": _turn}, sites, ["llm.3"], "tokens")
    assert torch.equal(seen[0], torch.cat(first))
    assert not any(rows.any() for rows in got.activations["llm.3"])


def test_visual_rows_of_another_image_make_its_answer(loaded: Loaded, pair: dict, sites: SiteMap) -> None:
    """Swapped at the projector, each sample answers as the other one does: the prompts are the same."""

    def crossed(rows: Tensor, places: Places) -> Tensor:
        return rows.view(2, places.lengths[0], -1).flip(0).flatten(0, 1)

    plain, got = capture(loaded.model, pair, sites), edit(loaded.model, pair, {"projector": crossed}, sites)
    for name in ("projector", "llm.0"):
        assert torch.equal(got.activations[name], plain[name].flip(0))
    if "deepstack" not in str(loaded.model.config.vision_config):  # its later additions are the own image's
        assert torch.allclose(got.logits, _logits(loaded, pair).flip(0), atol=1e-5)


def test_text_of_a_causal_lm(causal_lm: Path) -> None:
    loaded = load(causal_lm, "cpu")
    inputs = dict(loaded.tokenizer(["A quick fox jumps.", "A lazy dog"], return_tensors="pt", padding=True))
    sites = find_sites(loaded.model, inputs)
    assert torch.equal(edit(loaded.model, inputs, {}, sites).logits, _logits(loaded, inputs))

    def change(_: Any, args: tuple[Tensor, ...]) -> tuple[Any, ...]:
        hidden, mask = args[0].clone(), inputs["attention_mask"].bool()
        hidden[mask] = _turn(hidden[mask])
        return (hidden, *args[1:])

    handle = loaded.model.get_decoder().layers[1].register_forward_pre_hook(change)
    wanted = _logits(loaded, inputs)
    handle.remove()
    assert torch.equal(edit(loaded.model, inputs, {"text.1": _turn}, sites).logits, wanted)


def test_rows_come_in_the_models_dtype(loaded: Loaded, pair: dict, sites: SiteMap) -> None:
    half = load(loaded.source, "cpu", "bfloat16")
    kinds = []
    got = edit(half.model, pair, {"llm.1": lambda rows: kinds.append(rows.dtype) or rows}, sites, ["llm.1"])
    assert kinds == [torch.bfloat16]
    assert got.logits.dtype == torch.bfloat16
    assert got.activations["llm.1"].dtype == torch.float32
    with pytest.raises(InputError, match=r"edit of llm\.1 returns float32 on cpu; it must be bfloat16 on cpu"):
        edit(half.model, pair, {"llm.1": lambda rows: rows.float()}, sites)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda rows: rows[:-1], r"edit of llm\.1 returns rows of shape \(.*\); they must be \("),
        (lambda rows: rows.mean(0), r"edit of llm\.1 returns rows of shape \(64,\)"),
        (lambda rows: rows.double(), r"edit of llm\.1 returns float64 on cpu; it must be float32"),
        (lambda rows: rows.numpy(), r"edit of llm\.1 returns a ndarray; return the rows as a tensor"),
        (lambda rows: rows / 0, r"edit of llm\.1 makes NaN or infinity of [\d,]+ finite values"),
        (lambda rows, places, scale: rows, r"edit of llm\.1 needs rows, places, scale; it is given"),
        (torch.ones(64), r"edit of llm\.1 is a Tensor; give a function of its rows"),
    ],
)
def test_a_bad_edit_is_refused_and_leaves_the_model_as_it_was(
    loaded_of: Callable[[str], Loaded], function: Any, message: str
) -> None:
    loaded = loaded_of("internvl")
    inputs = encode(loaded.processor, picture(80, 80), PROMPT)
    sites, before = find_sites(loaded.model, inputs), _logits(loaded, inputs)
    with pytest.raises(InputError, match=message):
        edit(loaded.model, inputs, {"llm.1": function}, sites)
    assert torch.equal(_logits(loaded, inputs), before)


def test_an_exception_in_an_edit_comes_through_and_leaves_nothing(loaded: Loaded, pair: dict, sites: SiteMap) -> None:
    before = _logits(loaded, pair)

    def fails(rows: Tensor) -> Tensor:
        raise LookupError("the function's own")

    with pytest.raises(LookupError, match="the function's own"):
        edit(loaded.model, pair, {"encoder.1": fails}, sites)
    assert torch.equal(_logits(loaded, pair), before)
    assert torch.equal(edit(loaded.model, pair, {}, sites).logits, before)


def test_the_callers_tensors_stay_as_they_are(loaded: Loaded, pair: dict, sites: SiteMap) -> None:
    """Even under functions that change their rows in place."""
    kept = {name: value.clone() for name, value in pair.items()}
    weights = [weight.clone() for weight in loaded.model.parameters()]
    edit(loaded.model, pair, {name: lambda rows: rows.zero_() for name in sites}, sites)
    assert all(torch.equal(pair[name], value) for name, value in kept.items())
    assert all(map(torch.equal, loaded.model.parameters(), weights))


def test_memory_does_not_grow(loaded: Loaded, pair: dict, sites: SiteMap) -> None:
    def count() -> int:
        return sum(type(thing) is Tensor for thing in gc.get_objects())

    edit(loaded.model, pair, {"llm.1": _turn}, sites)
    gc.collect()
    gc.disable()
    try:
        before = count()
        for _ in range(5):
            edit(loaded.model, pair, {"llm.1": _turn, "encoder.1": _turn}, sites)
        assert count() - before <= 5
    finally:
        gc.enable()


def test_sites_are_found_and_names_are_checked(loaded: Loaded, pair: dict) -> None:
    assert list(edit(loaded.model, pair, {}, read=["llm.0"]).activations) == ["llm.0"]
    with pytest.raises(InputError, match=r"llm\.fnal.*llm\.final"):
        edit(loaded.model, pair, {"llm.fnal": _turn})
    with pytest.raises(InputError, match=r"projctor.*projector"):
        edit(loaded.model, pair, {"llm.1": _turn}, read=["projctor"])
    with pytest.raises(InputError, match=r"an edit has one site, and 'llm\.\*' is a pattern"):
        edit(loaded.model, pair, {"llm.*": _turn})
    with pytest.raises(InputError, match=r"pool=cls .* projector"):
        edit(loaded.model, pair, {}, read=["projector"], pool="cls")


@pytest.mark.parametrize("name", ["step3p7", "unlimited_ocr", "hunyuan_vl"])
def test_modules_that_run_several_times(name: str) -> None:
    """Once per image, or on a global and a local view: each run's rows in turn, by sample and place."""
    model, inputs = build_family(name)
    sites = find_sites(model, inputs)
    last = "encoder.final"
    assert sites[last].call is None
    tokens = capture(model, inputs, sites, "tokens")
    seen: list[tuple[Tensor, Places]] = []

    def look(rows: Tensor, places: Places) -> Tensor:
        seen.append((rows.clone(), places))
        return rows

    with torch.no_grad():
        before = model(**inputs).logits
    assert torch.equal(edit(model, inputs, {last: look}, sites, ()).logits, before)
    assert len(seen) > 1
    read = {
        (sample, token): row
        for rows, places in seen
        for row, sample, token in zip(rows, places.sample.tolist(), places.token.tolist(), strict=True)
    }
    assert len(read) == sum(map(len, tokens[last]))
    assert all(torch.equal(row, tokens[last][sample][token]) for (sample, token), row in read.items())

    def first_only(rows: Tensor, places: Places) -> Tensor:
        return torch.where((places.sample == 0)[:, None], _turn(rows), rows)

    got = edit(model, inputs, {last: first_only}, sites, pool="tokens")
    assert not torch.equal(got.activations["projector"][0], tokens["projector"][0])
    assert torch.equal(got.activations["projector"][1], tokens["projector"][1])
    assert torch.equal(got.activations[last][0], _turn(tokens[last][0]))
    assert torch.equal(edit(model, inputs, {last: replace_with(tokens[last])}, sites, ()).logits, before)


class _Overwriting(torch.nn.Module):
    """Hands its caller's own tensor to a block, and works in place on what the block returns."""

    def __init__(self) -> None:
        super().__init__()
        self.block = torch.nn.Linear(4, 4)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        return self.block(pixel_values).mul_(2)


@pytest.mark.parametrize("axes", [("unit", "row", "feature"), ("sample", "token", "feature")])
def test_tensors_that_others_hold_are_neither_changed_nor_trusted(axes: Any) -> None:
    model, pixels = _Overwriting(), torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    inputs, kept = {"pixel_values": pixels, "input_ids": torch.ones(2, 3, dtype=torch.int64)}, pixels.clone()
    stage: Any = "text" if "token" in axes else "encoder"
    places = {"input": ("args", 0), "output": ()}
    sites = SiteMap(
        {
            reads: Site(reads, stage, 0, "block", reads, key, 4, order, axes=axes)  # pyright: ignore[reportArgumentType]
            for order, (reads, key) in enumerate(places.items())
        }
    )
    got = edit(model, inputs, {"input": lambda rows: rows.mul_(3)}, sites, pool="tokens")
    assert torch.equal(pixels, kept)
    with torch.no_grad():
        assert torch.equal(torch.stack(got.activations["output"]), model.block(3 * pixels))
        assert torch.equal(got.logits, 2 * model.block(3 * pixels))


def test_put_copies_and_never_mutates() -> None:
    Pair = namedtuple("Pair", "left right")
    old, new = torch.zeros(2), torch.ones(2)
    for value, key in (
        ((old, "kept"), (0,)),
        ([["kept", old]], (0, 1)),
        ({"a": {"b": old, "c": "kept"}}, ("a", "b")),
        (Pair("kept", (old,)), (1, 0)),
        (BaseModelOutput(last_hidden_state=old), ("last_hidden_state",)),
    ):
        changed = put(value, key, new)
        assert type(changed) is type(value)
        assert at(changed, key) is new
        assert at(value, key) is old
    output = put(BaseModelOutput(last_hidden_state=old, hidden_states=(old,)), ("last_hidden_state",), new)
    assert output.last_hidden_state is new
    assert output["last_hidden_state"] is new
    assert output.hidden_states[0] is old
    assert put(old, (), new) is new
