"""Check a model's sites on that very model: every claim derived anew, and compared with what `capture` returns."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from commandline import InputError
from hooks.certificate import Certificate, Check, Noise, merged
from hooks.checks.carries import carries_image
from hooks.checks.case import Case, Read, apart, check, duplicate, small
from hooks.checks.entry import Pairing, find_entry, pair
from hooks.checks.hidden import hidden_states
from hooks.checks.projected import image_features, projected_rows
from hooks.checks.raster import raster_order
from hooks.checks.reach import image_reach, text_reach
from hooks.checks.samples import batch_of_one, own_image, own_text
from hooks.checks.sight import blindness, sees_pixels, sees_text
from hooks.checks.silent import null_read
from hooks.checks.units import twin
from hooks.discovery import find_sites
from hooks.inputs import pixel_names, to_device, to_model
from hooks.positions import sample_count
from hooks.recording import in_evaluation
from hooks.sites import SiteMap
from hooks.tracing import capture

LIBRARIES = ("torch", "transformers", "nnsight", "taxoprobe")
LARGE = 1_000_000_000
"""Parameters from which only the cheap checks are made unless asked otherwise."""
READABLE = "can be read"


def certify(
    model: nn.Module,
    inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    sites: SiteMap | Sequence[str] | None = None,
    *,
    thorough: bool | None = None,
    seed: int = 0,
    read: Read | None = None,
) -> Certificate:
    """Check that what `capture` returns at a model's sites is what their names say.

    Checks of images: `sees its pixels`, `own image` (one sample's pixels move its rows and no other's), `batch of one`
    (its rows are the same without the others), `projected rows` (they are the embeddings at the image's positions),
    `image features` (and what `get_image_features` returns), `hidden states` (`llm.k` is what the model itself calls
    hidden_states[k]), `causal reach` (one visual row's change is seen there and not before), `raster order`, and `null
    read` (reading changes no output). Of text: `sees its text`, `own text`, and those of these that apply. Each one
    passes, fails, or does not apply to this model, with the reason.

    The model is left as it was: training mode, hooks, weights.

    Args:
        inputs: what the model's forward takes, of one sample or more; a single one is tested beside a twin with other
            pixels. Several such batches (images of different sizes) are tested one by one, and the worst is told.
        sites: as for `capture`.
        thorough: False leaves out what takes many forwards (`raster order`, `batch of one`, the blank image, float32);
            None: False from a billion parameters on.
        seed: which patches are painted.
        read: reads rows (token, feature) per sample in place of `capture`; to certify another reader.

    Raises:
        InputError: as `find_sites` and `capture` do. A blind model is no error: its certificate says so.
    """
    batches = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    if not batches:
        raise InputError("there are no inputs to certify on; give the processor's output")
    with in_evaluation(model):
        return merged([_certify(model, batch, sites, thorough, seed, read or _capture) for batch in batches])


def _capture(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap) -> dict[str, Any]:
    return {name: [part.cpu() for part in rows] for name, rows in capture(model, inputs, sites, "tokens").items()}


def _certify(
    model: nn.Module,
    inputs: Mapping[str, Any],
    sites: SiteMap | Sequence[str] | None,
    thorough: bool | None,
    seed: int,
    read: Read,
) -> Certificate:
    started = time.monotonic()
    weight = next(weight for weight in model.parameters() if weight.is_floating_point())
    inputs = to_model(model, inputs)
    if thorough is None:
        thorough = sum(weight.numel() for weight in model.parameters()) < LARGE
    certificate = Certificate(
        (),
        (),
        model=type(model).__name__,
        dtype=str(weight.dtype).removeprefix("torch."),
        device=str(weight.device),
        thorough=thorough,
        seed=seed,
        versions={name: _version(name) for name in LIBRARIES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if pixel_names(inputs) and (sight := blindness(model, inputs)).status == "fail":
        names = sites.names if isinstance(sites, SiteMap) else ()
        return replace(certificate, checks=(sight,), sites=names, samples=sample_count(inputs))
    if not isinstance(sites, SiteMap):
        sites = find_sites(model, inputs).select(sites)
    case = _case(model, inputs, sites, read, thorough)
    broken, case = _readable(case)
    checks, noise = (_of_text if case.stage == "text" else _of_images)(case, seed) if case.names else ([], {})
    return replace(
        certificate,
        checks=(*broken, *checks),
        sites=sites.names,
        noise=noise,
        samples=case.samples,
        seconds=round(time.monotonic() - started, 2),
    )


def _case(model: nn.Module, inputs: Mapping[str, Any], sites: SiteMap, read: Read, thorough: bool) -> Case:
    """The batch to test; a single sample beside its twin, where the model takes them together."""
    count = sample_count(inputs, sites.fusion == "none")
    case = Case(model, inputs, sites, read, count, thorough)
    if count > 1 or not pixel_names(inputs):
        return case
    both = Case(model, twin(inputs), sites, read, 2, thorough)
    try:
        return both if both.answer_key is not None else case
    except Exception:  # a foreign model may refuse a batch that no processor made
        return case


def _readable(case: Case) -> tuple[list[Check], Case]:
    """The sites that cannot be read on this batch have failed; the rest goes on."""
    try:
        _ = case.base
        return [], case
    except InputError as error:
        reasons = dict.fromkeys(case.names, error)
    failed = []
    for name in case.names:
        try:
            case.rows(case.inputs, [name])
            del reasons[name]
        except InputError as error:
            failed.append(check(READABLE, name, False, reason=str(error)))
    left = [name for name in case.names if name not in {c.site for c in failed}]
    sites = replace(case.sites, sites={name: case.sites[name] for name in left})
    return failed, replace(case, sites=sites)


def _of_images(case: Case, seed: int) -> tuple[list[Check], dict[str, Noise]]:
    checks = sees_pixels(case)
    own, units = own_image(case)
    checks += own
    batch: dict[str, float] = {}
    if case.thorough:
        alone, batch = batch_of_one(case, units)
        checks += alone
    entry = find_entry(case) if case.sites.in_sequence else None
    paired: Pairing | None = None
    if entry and any(site.in_sequence for site in case.sites.values()):
        paired = pair(case, entry)
    projected = projected_rows(case, entry)
    checks += projected
    checks += image_features(case)
    checks += carries_image(case)
    checks += image_reach(case, paired)
    if case.thorough:
        checks += raster_order(case, units, any(c.status == "pass" for c in projected), seed)
    checks += null_read(case)
    noise = _noise(case, batch)
    return [*checks, *hidden_states(case, paired)], noise


def _of_text(case: Case, seed: int) -> tuple[list[Check], dict[str, Noise]]:
    checks = [*sees_text(case), *own_text(case)]
    alone, batch = batch_of_one(case, None)
    checks += [*alone, *text_reach(case), *null_read(case)]
    noise = _noise(case, batch)
    return [*checks, *hidden_states(case, None)], noise


def _noise(case: Case, batch: Mapping[str, float]) -> dict[str, Noise]:
    """The noise floor of every site: alone against in a batch, and the model's dtype against float32."""
    wide: dict[str, float] = {}
    if case.thorough and case.dtype != torch.float32 and small(case.model):
        exact = duplicate(case.model).float()
        inputs = to_device(case.inputs, next(exact.parameters()).device, torch.float32)
        rows = case.read(exact, inputs, case.sites)
        for name in case.names:
            pairs = zip(case.base[name], rows[name], strict=True)
            wide[name] = max(apart(own, other) for own, other in pairs)
    rounded = {name: {"batch": batch.get(name), "dtype": wide.get(name)} for name in case.names}
    return {
        name: Noise(**{what: None if value is None else float(f"{value:.3g}") for what, value in both.items()})
        for name, both in rounded.items()
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"
