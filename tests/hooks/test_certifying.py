"""Certification passes what is right and fails what is wrong: every check is shown a fault it must see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from commandline import InputError
from hooks import Certificate, Loaded, SiteMap, capture, certify, find_sites, load, text_sites
from hooks.checks.case import Case
from hooks.checks.raster import Patch, Picture, fit
from hooks.checks.silent import null_read
from hooks.checks.states import restored
from hooks.checks.units import Unsplit, alone, pixel_units
from hooks.encoding import encode
from hooks.positions import ownership
from hooks.recording import in_evaluation
from hooks.text import text_sample
from hooks.tracing import trace
from organisms.zoo import build_family
from tests.hooks.conftest import PROMPT, SIZES, picture

pytestmark = pytest.mark.slow

Rows = dict[str, list[Tensor]]
RAGGED = "qwen2_5_vl_ragged"


@cache
def built(name: str) -> tuple[nn.Module, dict[str, Any], SiteMap]:
    model, inputs = build_family(name)
    return model, inputs, find_sites(model, inputs)


def plain(model: nn.Module, inputs: Any, sites: SiteMap) -> Rows:
    return capture(model, inputs, sites, "tokens")


def failed(certificate: Certificate) -> dict[str, set[str]]:
    """{check: sites that failed it}."""
    found: dict[str, set[str]] = {}
    for check in certificate.checks:
        if check.status == "fail":
            found.setdefault(check.name, set()).add(check.site)
    return found


def passed(certificate: Certificate) -> set[str]:
    return {check.name for check in certificate.checks if check.status == "pass"}


EVERY = {
    "sees its pixels",
    "own image",
    "batch of one",
    "projected rows",
    "image features",
    "carries the image",
    "causal reach",
    "raster order",
    "null read",
    "hidden states",
}


def test_checkpoints_are_certified_and_every_check_is_made(loaded: Loaded, sample: dict) -> None:
    certificate = certify(loaded.model, sample)
    assert certificate.ok, failed(certificate)
    assert passed(certificate) >= EVERY - {"raster order"}
    assert certificate.sites == find_sites(loaded.model, sample).names
    assert certificate.samples == 2  # the sample, and its twin
    assert set(certificate.versions) == {"torch", "transformers", "nnsight", "taxoprobe"}


def test_images_of_different_sizes_are_one_certificate(loaded_of: Callable[[str], Loaded]) -> None:
    loaded = loaded_of("qwen2_5_vl")
    batches = [encode(loaded.processor, picture(*size), PROMPT) for size in SIZES[:2]]
    certificate = certify(loaded.model, batches)
    assert certificate.ok
    assert certificate.samples == 4


@pytest.mark.parametrize(
    "name", [RAGGED, "llava_two_images", "llava_next", "got_ocr2", "qwen3_vl", "blip2_t5", "kosmos2", "mamba", "dinov2"]
)
def test_families_are_certified(name: str) -> None:
    certificate = certify(*built(name))
    assert certificate.ok, failed(certificate)


def test_text_of_a_causal_model(causal_lm: Any) -> None:
    loaded = load(causal_lm, "cpu")
    certificate = certify(loaded.model, text_sample(loaded, ("A robin is a bird.", "No.")), text_sites(loaded))
    assert certificate.ok, failed(certificate)
    assert passed(certificate) == {
        "sees its text",
        "own text",
        "batch of one",
        "causal reach",
        "null read",
        "hidden states",
    }


def test_a_dual_encoder_with_more_texts_than_images() -> None:
    certificate = certify(*built("clip"))
    assert certificate.ok, failed(certificate)
    assert passed(certificate) == {"sees its pixels", "own image", "batch of one", "raster order", "null read"} | (
        passed(certificate) & {"causal reach", "hidden states"}
    )


def test_deepstack_rows_are_found_again() -> None:
    certificate = certify(*built("qwen3_vl"))
    told = {check.site: check.reason for check in certificate.checks if check.name == "hidden states"}
    assert told["llm.1"].startswith("hidden_states[1] and the rows of model.visual.deepstack_merger_list.0")
    assert told["llm.0"] == "equal to hidden_states[0]"


def test_attention_both_ways_is_told_and_not_failed() -> None:
    certificate = certify(*built("paligemma"))
    told = {check.site: check for check in certificate.checks if check.name == "causal reach"}
    assert told["llm.0"].status == "pass"
    assert told["llm.2"].status == "n/a"
    assert "both ways" in told["llm.2"].reason


# Faults in the reader.


def swapped(model: nn.Module, inputs: Any, sites: SiteMap) -> Rows:
    return {name: rows[::-1] for name, rows in plain(model, inputs, sites).items()}


def shifted(model: nn.Module, inputs: Any, sites: SiteMap) -> Rows:
    owner = ownership(model, inputs, sites)
    return trace(model, sites, inputs, replace(owner, index=owner.index + 1), "tokens")


def halved(model: nn.Module, inputs: Any, sites: SiteMap) -> Rows:
    rows = plain(model, inputs, sites)
    equal = {name: list(torch.cat(parts).tensor_split(len(parts))) for name, parts in rows.items()}
    return rows | {name: parts for name, parts in equal.items() if not sites[name].in_sequence}


def shuffled(model: nn.Module, inputs: Any, sites: SiteMap) -> Rows:
    rows = plain(model, inputs, sites)
    return {name: [torch.cat([part[::2], part[1::2]]) for part in parts] for name, parts in rows.items()}


def cut(model: nn.Module, inputs: Any, sites: SiteMap) -> Rows:
    return {name: [part[:-1] for part in parts] for name, parts in plain(model, inputs, sites).items()}


def constant(model: nn.Module, inputs: Any, sites: SiteMap) -> Rows:
    return {name: [torch.ones_like(part) for part in parts] for name, parts in plain(model, inputs, sites).items()}


@pytest.mark.parametrize(
    ("read", "checks", "stages"),
    [
        (swapped, {"own image", "batch of one", "projected rows", "image features", "hidden states"}, "all"),
        (shifted, {"projected rows", "hidden states"}, "llm"),
        (halved, {"own image", "batch of one"}, "encoder"),
        (shuffled, {"projected rows", "image features", "raster order", "hidden states", "causal reach"}, "all"),
        (cut, {"projected rows", "hidden states"}, "all"),
        (constant, {"sees its pixels", "own image", "projected rows", "hidden states", "causal reach"}, "all"),
    ],
)
def test_a_faulty_reader_is_seen(read: Any, checks: set[str], stages: str) -> None:
    model, inputs, sites = built(RAGGED)
    certificate = certify(model, inputs, sites, read=read)
    assert not certificate.ok
    assert set(failed(certificate)) >= checks
    wrong = {site for site in certificate.sites if not certificate.certified(site)}
    for stage in ("encoder", "llm"):
        blocks = {site.name for site in sites.values() if site.stage == stage and site.name != "encoder.final"}
        assert blocks <= wrong if stages in (stage, "all") else not blocks & wrong


@pytest.mark.parametrize(
    ("site", "place", "checks"),
    [
        ("llm.2", "llm.1", {"hidden states"}),
        ("llm.0", "llm.1", {"hidden states", "causal reach"}),
        ("llm.final", "llm.4", {"hidden states"}),
        ("encoder.2", "encoder.1", {"hidden states"}),
        ("projector", "llm.1", {"projected rows", "causal reach"}),
    ],
)
def test_a_site_read_at_another_place_is_seen(site: str, place: str, checks: set[str]) -> None:
    model, inputs, sites = built(RAGGED)
    wrong = replace(sites[place], name=site, stage=sites[site].stage, layer=sites[site].layer)
    certificate = certify(model, inputs, replace(sites, sites={**sites.sites, site: wrong}))
    assert not certificate.certified(site)
    assert {check for check, where in failed(certificate).items() if site in where} == checks


def test_what_the_projector_does_not_read_is_seen() -> None:
    """LLaVA reads the last block but one: what the last one makes of the image goes nowhere."""
    model, inputs, sites = built("llava")
    last = max((site for site in sites.values() if site.stage == "encoder" and site.layer), key=lambda s: s.layer or 0)
    wrong = replace(last, name="encoder.final", layer=None)
    certificate = certify(model, inputs, replace(sites, sites={**sites.sites, "encoder.final": wrong}))
    assert failed(certificate) == {"carries the image": {"encoder.final"}}


def test_axes_that_mix_the_samples_are_seen() -> None:
    model, inputs, sites = built("llava")
    wrong = replace(sites["encoder.1"], axes=("row", "unit", "feature"))
    sites = replace(sites, sites={**sites.sites, "encoder.1": wrong})
    certificate = certify(
        model, inputs, sites, read=lambda model, inputs, sites: capture(model, inputs, sites, "tokens", alike=True)
    )
    assert "encoder.1" in failed(certificate)["own image"]
    assert not certificate.certified("encoder.1")


def test_proportions_that_mislead_are_seen() -> None:
    """One image and two: rows cut into equal halves, as a rule that counts samples would."""
    model, inputs, sites = built("llava_two_images")
    certificate = certify(model, inputs, sites, read=halved)
    assert {"encoder.1", "encoder.2"} <= failed(certificate)["own image"] & failed(certificate)["batch of one"]


# Blindness.


@pytest.fixture
def blind() -> tuple[nn.Module, dict[str, Any], SiteMap]:
    model, inputs = build_family("llava")
    sites = find_sites(model, inputs)
    with torch.no_grad():
        for weight in model.get_submodule(sites.projector_module or "").parameters():
            weight.zero_()
    return model, inputs, sites


def test_a_blind_model_is_said_to_be_blind(blind: tuple) -> None:
    model, inputs, sites = blind
    certificate = certify(model, inputs, sites)
    assert not certificate.ok
    assert "LlavaForConditionalGeneration is blind: its output does not change at all" in certificate.checks[0].reason
    assert all("is blind" in (certificate.refusal(site) or "") for site in sites)
    assert not certify(model, inputs).ok


# The model is left as it was.


def state_of(model: nn.Module) -> list[Any]:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return [hooks, [m.training for m in model.modules()], *(w.clone() for w in model.state_dict().values())]


def test_the_model_is_left_as_it_was() -> None:
    model, inputs = build_family("qwen2_5_vl")
    list(model.modules())[3].training = True
    before = state_of(model)
    with torch.no_grad():
        output = model(**inputs).logits
    with in_evaluation(model):
        expected = certify(model, inputs).to_dict()
    assert expected["checks"]
    assert all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(state_of(model), before, strict=True)
    )
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, output)


def test_and_after_an_error_too() -> None:
    model, inputs = build_family("llava")
    sites = find_sites(model, inputs)
    model.train()
    before, reads = state_of(model), iter(range(100))

    def breaks(model: nn.Module, inputs: Any, sites: SiteMap) -> Rows:
        if next(reads) == 8:
            raise RuntimeError("out of luck")
        return plain(model, inputs, sites)

    with pytest.raises(RuntimeError, match="out of luck"):
        certify(model, inputs, sites, read=breaks)
    assert all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(state_of(model), before, strict=True)
    )


def test_attributes_and_hooks_come_back() -> None:
    model: Any = nn.Sequential(nn.Linear(2, 2))
    model.other = 2
    with restored(model):
        model.other, model.new = 3, 4
        model[0].register_forward_hook(lambda *_: None)
    assert model.other == 2
    assert not hasattr(model, "new")
    assert not model[0]._forward_hooks


def test_a_read_that_leaves_a_trace_is_seen() -> None:
    model, inputs, sites = built("llava_pixtral")
    forwards = iter(range(100))

    def drift(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return output + 1.0 if next(forwards) >= 3 else output

    case = Case(model, inputs, sites, plain, samples=2)
    handle = model.get_output_embeddings().register_forward_hook(drift)  # pyright: ignore[reportCallIssue]
    try:
        (check,) = null_read(case)
    finally:
        handle.remove()
    assert check.status == "fail"


# Whose pixels are whose.


@pytest.mark.parametrize(
    ("name", "counts"), [(RAGGED, None), ("llava_two_images", None), ("internvl", [1, 2]), ("mistral3", [1, 1])]
)
def test_pixels_are_divided_by_what_they_move(name: str, counts: list[int] | None) -> None:
    model, inputs, sites = built(name)
    units = pixel_units(Case(model, inputs, sites, plain, samples=2))
    (pixels,) = units.axes
    if "image_grid_thw" in inputs:
        images = [int((inputs["input_ids"][i] == model.config.vision_start_token_id).sum()) for i in range(2)]  # pyright: ignore
        counts = [int(part.prod(1).sum()) for part in inputs["image_grid_thw"].split(images)]
    own = [units.own[sample][pixels] for sample in range(2)]
    if counts is not None:
        assert [int(mask.sum()) for mask in own] == counts
    assert not (own[0] & own[1]).any()
    assert (own[0] | own[1]).all()


def test_inputs_of_unknown_make_are_not_taken_apart() -> None:
    model, inputs, sites = built("llava")
    case = Case(model, inputs | {"extra": torch.zeros(7, 3)}, sites, plain, samples=2)
    with pytest.raises(Unsplit, match=r"which part of extra, \(7, 3\), is whose"):
        alone(case, None, 0)


# The order of rows.


def orders(side: int) -> Iterator[tuple[str, np.ndarray, bool]]:
    """(name, place of each patch's row, whether that is the raster)."""
    raster = np.arange(side * side)
    grid = raster.reshape(side, side)
    windows = grid.reshape(side // 4, 4, side // 4, 4).transpose(0, 2, 1, 3).ravel()
    snake = grid.copy()
    snake[1::2] = snake[1::2, ::-1]
    yield "raster", raster, True
    yield "class token first", raster + 1, True
    yield "merged by two", (grid // side // 2 * (side // 2) + grid % side // 2).ravel(), True
    yield "windows", np.argsort(windows), False
    yield "columns", grid.T.ravel(), False
    yield "snake", snake.ravel(), False
    yield "random", np.random.default_rng(0).permutation(raster), False


@pytest.mark.parametrize("side", [8, 24])
@pytest.mark.parametrize("packed", [False, True])
def test_only_the_raster_fits_the_raster(side: int, packed: bool) -> None:
    lines = (0, 1, side // 2, side // 2 + 1)
    patches = tuple(Patch(row, column, (), row * side + column) for row in lines for column in lines)
    picture = Picture(0, "pixel_values", (), patches, side * side if packed else 0)
    for name, places, raster in orders(side):
        count = int(places.max()) + 1
        order = fit(picture, [int(places[patch.index]) for patch in patches], count)
        assert (order.ordered >= 0.8) == raster, name
        assert order.local == 1.0
    columns = next(places for name, places, _ in orders(side) if name == "columns")
    assert fit(picture, [int(columns[patch.index]) for patch in patches], side * side).transposed == 1.0


def test_encoder_rows_in_windows_are_told_and_the_projected_ones_are_in_order(
    loaded_of: Callable[[str], Loaded],
) -> None:
    loaded = loaded_of("qwen2_5_vl")
    certificate = certify(loaded.model, encode(loaded.processor, picture(224, 168), PROMPT))
    told = {check.site: check for check in certificate.checks if check.name == "raster order"}
    assert told["projector"].status == "pass"
    assert told["encoder.1"].status == "n/a"
    assert told["encoder.1"].reason.startswith("rows are in the model's own order; mean and max pooling do not depend")


# Numbers and settings.


def test_the_noise_floor_is_measured() -> None:
    model, inputs = build_family("qwen2_5_vl")
    certificate = certify(model.to(torch.bfloat16), inputs)
    assert certificate.ok, failed(certificate)
    noise = certificate.noise
    assert set(noise) == set(certificate.sites)
    assert all(floor.batch is not None and floor.batch < 0.1 for floor in noise.values())
    assert all(floor.dtype is not None and 1e-4 < floor.dtype < 0.5 for floor in noise.values())
    assert certify(*built(RAGGED)).noise["llm.0"].dtype is None  # it is float32 already


def test_the_cheap_checks_are_fewer_and_certify_too() -> None:
    certificate = certify(*built(RAGGED), thorough=False)
    assert certificate.ok
    assert passed(certificate) == EVERY - {"raster order", "batch of one"}
    assert not certificate.thorough


def test_some_sites_only() -> None:
    model, inputs, _ = built(RAGGED)
    certificate = certify(model, inputs, ["llm.2", "encoder.*"])
    assert certificate.ok
    assert {check.site for check in certificate.checks} == {*certificate.sites, "model"}
    with pytest.raises(InputError, match=r"llm\.fnal"):
        certify(model, inputs, ["llm.fnal"])
    with pytest.raises(InputError, match="no inputs"):
        certify(model, [])
