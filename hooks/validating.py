"""Inputs that do not fit together: told in one sentence, before any result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from commandline import InputError, first_line
from hooks.inputs import pixel_names, token_name
from hooks.measuring import changed_where
from hooks.recording import entry_hashes, remembered
from hooks.sites import SiteMap


def check_inputs(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap) -> None:
    """Check that the prompts have places for the images, each as many as its own images fill.

    A model compares the two in total at most: in a batch, rows that are missing in one prompt and left over in another
    would go into the wrong sample without a word. Samples with images of one shape must have equally many places; where
    shapes differ, a few forwards as far as the LLM tell whose rows an image fills, once for each layout of a batch.

    Raises:
        InputError: no pixels though the sites are an image's, a prompt without a place for its image, or image rows
            that end up in another sample.
    """
    if not sites or any(site.stage == "text" for site in sites.values()):
        return
    if not pixel_names(inputs):
        raise InputError(
            f"these inputs hold no pixels (there are {', '.join(inputs)}), and {next(iter(sites))} is read of an image"
        )
    if sites.fusion != "tokens" or not sites.placeholder_ids:
        return
    counts = sites.visual_positions(inputs).sum(1).tolist()
    if missing := [sample for sample, count in enumerate(counts) if not count]:
        raise InputError(f"no visual token in sample {missing} of the batch: its prompt holds no image placeholder")
    if len(counts) > 1:
        _check_batch(model, inputs, sites, counts)


def _check_batch(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap, counts: list[int]) -> None:
    shapes = _image_shapes(inputs, len(counts))
    if shapes is None:  # nothing says which pixels are whose
        return
    for sample, (shape, count) in enumerate(zip(shapes, counts, strict=True)):
        first = shapes.index(shape)
        if count != counts[first]:
            raise InputError(
                f"samples {first} and {sample} have images of one shape, and {counts[first]} and {count} image tokens "
                "in their prompts: one prompt was cut or lengthened"
            )
    if len(set(shapes)) > 1 and sites.entry is not None:
        spilt = remembered(model, ("spilt", tuple(counts)), inputs, lambda: _spilt(model, inputs, sites, len(counts)))
        if spilt:
            raise InputError(
                f"rows of the images of samples {spilt} end up in other samples: their prompts have not as many image "
                "tokens as their images have rows"
            )


def _image_shapes(inputs: Mapping[str, Any], samples: int) -> list[tuple[Any, ...]] | None:
    """What the integers beside the pixels say of each sample's image; None unless there is one image a sample."""
    units = _units(inputs, samples)
    if units is None:
        return None
    beside = _beside(inputs, samples)
    lists = [value for value in inputs.values() if isinstance(value, (list, tuple)) and len(value) == samples]
    shapes = [
        (*(tuple(value[sample].flatten().tolist()) for value in beside), *(repr(value[sample]) for value in lists))
        for sample in range(samples)
    ]
    value = inputs[pixel_names(inputs)[0]]
    if value.ndim == 5 and len(value) == samples:  # images of zeros fill the list up
        real = value.flatten(2).any(-1).sum(1).tolist()
        shapes = [(*shape, count) for shape, count in zip(shapes, real, strict=True)]
    return shapes


def _beside(inputs: Mapping[str, Any], samples: int) -> list[Tensor]:
    """The integers that come with the pixels, one row a sample."""
    ids = inputs[token_name(inputs) or "input_ids"].shape
    whole = [value for value in inputs.values() if isinstance(value, Tensor) and not value.is_floating_point()]
    return [value for value in whole if value.ndim and value.shape != ids and len(value) == samples]


def _units(inputs: Mapping[str, Any], samples: int) -> Tensor | None:
    """How many entries of the pixels are each sample's, int64 (sample,): one, or as many as its grid has patches.

    None where that is not plain: images apart in several inputs, or several a sample.
    """
    names = pixel_names(inputs)
    if len(names) != 1:
        return None
    pixels = inputs[names[0]]
    if len(pixels) == samples:
        return torch.ones(samples, dtype=torch.int64)
    grids = [grid for grid in _beside(inputs, samples) if grid.ndim == 2 and grid.dtype != torch.bool]
    return next((grid.prod(1).cpu() for grid in grids if int(grid.prod(1).sum()) == len(pixels)), None)


def _spilt(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap, samples: int) -> list[int]:
    """The samples whose image fills rows of others: changed pixels must move rows of their own sample alone.

    Samples are told apart by the bits of their numbers: one forward changes those that have a bit, another the rest.
    Rows that no pixel moves (newlines) are not seen.
    """
    entry = sites.entry
    assert entry is not None

    (name,), units = pixel_names(inputs), _units(inputs, samples)
    assert units is not None
    base, numbers = entry_hashes(model, inputs, entry, samples), torch.arange(samples)
    reached = torch.ones(samples, samples, dtype=torch.bool)  # (changed, moved): not yet ruled out
    for bit in range((samples - 1).bit_length()):
        for value in (0, 1):
            chosen = (numbers >> bit & 1) == value
            changed = changed_where(inputs, {name: chosen.repeat_interleave(units)}, 1)
            reached[chosen] &= base.ne(entry_hashes(model, changed, entry, samples)).any(1)
    reached[numbers, numbers] = False
    return reached.any(1).nonzero().flatten().tolist()


def _raised_in(error: BaseException) -> str:
    """The file whose code raised it."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last.tb_frame.f_code.co_filename if last is not None else ""


@contextmanager
def refusals(model: nn.Module) -> Iterator[None]:
    """What a model's own forward finds wrong with its inputs, as an InputError in one sentence.

    Running out of memory, errors of a device and what goes wrong in this package come through as they are.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        name = type(model).__name__
        if type(error).__name__ == "OutOfOrderError":
            raise InputError(
                f"{name} does not pass through all its sites on these inputs; find the sites on inputs of this kind"
            ) from error
        ours = Path(_raised_in(error)).parent == Path(__file__).parent
        if type(error) in (ValueError, RuntimeError, IndexError, TypeError, AssertionError) and not ours:
            raise InputError(
                f"{name} does not take these inputs: {first_line(error)}; give it all that its processor returns"
            ) from error
        raise
