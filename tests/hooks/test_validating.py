"""Inputs made by hand that do not fit together, on the four checkpoints: each one sentence, before any result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from commandline import InputError
from hooks import Loaded, Site, SiteMap, capture, edit, find_sites
from hooks.encoding import encode
from hooks.inputs import collate
from hooks.rows import unflatten
from hooks.validating import check_inputs, refusals
from tests.hooks.conftest import PROMPT, SIZES, picture

pytestmark = pytest.mark.slow


def _read(loaded: Loaded, inputs: dict, sites: SiteMap) -> dict[str, Any]:
    with refusals(loaded.model):
        check_inputs(loaded.model, inputs, sites)
        return capture(loaded.model, inputs, sites)


def _with_ids(loaded: Loaded, inputs: dict, ids: Tensor) -> dict:
    changed = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "mm_token_type_ids" in inputs:
        changed["mm_token_type_ids"] = (ids == loaded.model.config.image_token_id).long()
    return changed


@pytest.fixture
def sites(loaded: Loaded, sample: dict) -> SiteMap:
    return find_sites(loaded.model, sample)


@pytest.fixture
def pair(loaded: Loaded) -> dict:
    return collate([encode(loaded.processor, picture(80, 80, seed), PROMPT) for seed in range(2)])


def _refused(loaded: Loaded, inputs: dict, sites: SiteMap, message: str) -> None:
    for read in (_read, lambda loaded, inputs, sites: edit(loaded.model, inputs, {}, sites)):
        with pytest.raises(InputError, match=message) as caught:
            read(loaded, inputs, sites)
        assert "\n" not in str(caught.value)


def test_good_inputs_pass(loaded: Loaded, sample: dict, pair: dict, batch: dict, sites: SiteMap) -> None:
    for inputs in (sample, pair, batch):
        got = _read(loaded, inputs, sites)
        assert all(len(rows) == len(inputs["input_ids"]) for rows in got.values())


@pytest.mark.parametrize("change", [-1, 1])
def test_an_image_token_too_few_or_too_many(loaded: Loaded, sample: dict, sites: SiteMap, change: int) -> None:
    ids = sample["input_ids"]
    last = int((ids[0] == loaded.model.config.image_token_id).nonzero()[-1])
    tail = last if change > 0 else last + 1
    cut = torch.cat([ids[:, : last + (change > 0)], ids[:, tail:]], 1)
    assert cut.shape[1] == ids.shape[1] + change
    _refused(loaded, _with_ids(loaded, sample, cut), sites, "does not take these inputs: .*tokens.* give it all that")


def test_no_image_token(loaded: Loaded, sample: dict, sites: SiteMap) -> None:
    ids = sample["input_ids"]
    bare = ids[:, ids[0] != loaded.model.config.image_token_id]
    _refused(loaded, _with_ids(loaded, sample, bare), sites, r"no visual token in sample \[0\]")


def test_one_prompt_of_two_without_its_image(loaded: Loaded, pair: dict, sites: SiteMap) -> None:
    ids = pair["input_ids"].clone()
    ids[1] = torch.where(ids[1] == loaded.model.config.image_token_id, ids[1, 0], ids[1])
    _refused(loaded, _with_ids(loaded, pair, ids), sites, r"no visual token in sample \[1\]")


def test_as_many_prompts_as_images_or_not(loaded: Loaded, pair: dict, sample: dict, sites: SiteMap) -> None:
    single = encode(loaded.processor, picture(80, 80), PROMPT)
    text = ("input_ids", "attention_mask", "mm_token_type_ids")
    for words, pixels in ((single, pair), (pair, single)):
        mixed = {name: (words if name in text else pixels)[name] for name in pair}
        _refused(loaded, mixed, sites, "does not take these inputs")


def test_a_token_moved_from_one_prompt_into_another(loaded: Loaded, pair: dict, sites: SiteMap) -> None:
    """As many tokens as rows in total: no model of these notices by itself that a row went to the other sample."""
    ids, image = pair["input_ids"].clone(), loaded.model.config.image_token_id
    ids[0, int((ids[0] == image).nonzero()[-1])] = int(ids[0, -1])
    ids[1, int((ids[1] != image).nonzero()[-3])] = image
    if len(pair["pixel_values"]) == 2 or "image_grid_thw" in pair:
        message = "samples 0 and 1 have images of one shape, and .* image tokens in their prompts"
    else:  # tiles in one list: what is whose is measured, and does not come out even
        message = "one entry holds the images of samples"
    _refused(loaded, _with_ids(loaded, pair, ids), sites, message)


def test_prompts_in_another_order_than_their_images(loaded_of: Callable[[str], Loaded]) -> None:
    """Images of two shapes: each prompt has the tokens of the other's image."""
    loaded = loaded_of("llava_onevision")
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}]
    text = loaded.processor.apply_chat_template(turn, add_generation_prompt=True)
    images = [[picture(*size)] for size in SIZES[:2]]
    good = dict(loaded.processor(text=[text] * 2, images=images, return_tensors="pt", padding=True))
    counts = (good["input_ids"] == loaded.model.config.image_token_id).sum(1).tolist()
    if counts[0] == counts[1]:
        images[1] = [picture(80, 80)]
        good = dict(loaded.processor(text=[text] * 2, images=images, return_tensors="pt", padding=True))
    sites = find_sites(loaded.model, good)
    _read(loaded, good, sites)
    swapped = {**good, "input_ids": good["input_ids"].flip(0), "attention_mask": good["attention_mask"].flip(0)}
    _refused(loaded, swapped, sites, r"rows of the images of samples \[\d\] end up in other samples")


def test_no_pixels(loaded: Loaded, sample: dict, sites: SiteMap) -> None:
    words = {name: value for name, value in sample.items() if name in ("input_ids", "attention_mask")}
    _refused(loaded, words, sites, r"hold no pixels \(there are input_ids, attention_mask\)")


def test_what_goes_wrong_in_the_model_is_told_and_memory_is_not(loaded: Loaded) -> None:
    with pytest.raises(InputError, match=r"does not take these inputs: the first line; give"), refusals(loaded.model):
        raise ValueError("the first line\nand more")
    with pytest.raises(torch.OutOfMemoryError), refusals(loaded.model):
        raise torch.OutOfMemoryError("no memory")
    with pytest.raises(KeyboardInterrupt), refusals(loaded.model):
        raise KeyboardInterrupt
    # A mistake of this package is not the inputs' fault.
    site = Site("encoder.1", "encoder", 1, "", "output", (), 4, 0, axes=("unit", "row", "feature"))
    with pytest.raises(ValueError, match="zip") as caught, refusals(loaded.model):
        unflatten(site, torch.ones(6, 4), (6, 4))
    assert not isinstance(caught.value, InputError)
