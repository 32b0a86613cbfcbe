"""The usual edits, as functions for `hooks.edit`: add a direction, project a subspace out, put other rows in, swap.

Those that take `samples`, the places in the batch of the samples to edit (None: every one), leave the others' rows as
they are, bit for bit. Arithmetic is done in float32 at least, and rounded once to the model's dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from commandline import InputError
from hooks.editing import Places

EditRows = Callable[[Tensor, Places], Tensor]


def add(direction: Tensor, scale: float = 1.0, samples: Sequence[int] | None = None) -> EditRows:
    """Add `scale` times a direction, (feature,), to every row (steering). Raises InputError for another shape."""
    step = scale * _checked("direction", direction, 1)

    def added(rows: Tensor, places: Places) -> Tensor:
        _same_width("direction", step, rows)
        wide = _wide(rows)
        return _where(samples, places, rows, wide + step.to(wide))

    return added


def project_out(basis: Tensor, mean: Tensor | None = None, samples: Sequence[int] | None = None) -> EditRows:
    """Take away every row's component in the span of `basis`: (direction, feature), or one direction (feature,).

    The directions need be neither orthogonal nor of unit length: a probe's coefficients will do. With `mean`,
    (feature,), the component becomes that point's instead of 0: the rows stay where the model knows them. Raises
    InputError for other shapes, or a basis of zeros.
    """
    directions = _checked("basis", basis if basis.ndim == 2 else basis[None], 2)
    _, sizes, span = torch.linalg.svd(directions.double(), full_matrices=False)
    # Numerical rank as numpy.linalg.matrix_rank counts it: a direction that depends on others has no part of its own.
    span = span[sizes > sizes.max() * max(directions.shape) * torch.finfo(torch.float32).eps]
    if not len(span):
        raise InputError("the basis to project out is all zeros")
    centre = torch.zeros(span.shape[1]) if mean is None else _checked("mean", mean, 1)
    _same_width("mean", centre, directions)

    def projected(rows: Tensor, places: Places) -> Tensor:
        _same_width("basis", span, rows)
        wide = _wide(rows)
        plane = span.to(wide)
        return _where(samples, places, rows, wide - (wide - centre.to(wide)) @ plane.T @ plane)

    return projected


def replace_with(rows: Tensor | Sequence[Tensor], samples: Sequence[int] | None = None) -> EditRows:
    """Put other rows in place of the samples' own.

    Args:
        rows: one (token, feature) for each of `samples`, in a list, as `capture(pool="tokens")` gives them (patching);
            or a tensor (sample, feature), each repeated over all tokens of its sample, or (feature,), over all of all
            samples (mean ablation).
    """
    if isinstance(rows, Tensor):
        whole = _checked("rows", rows if rows.ndim == 2 else rows[None], 2)
        given, repeated, common = list(whole[:, None]), True, rows.ndim == 1
    else:
        given, repeated, common = [_checked("rows", part, 2) for part in rows], False, False

    def replaced(old: Tensor, places: Places) -> Tensor:
        chosen = _chosen(samples, places)
        parts = given * len(chosen) if common else given
        if len(parts) != len(chosen):
            raise InputError(f"there are rows of {len(parts)} samples to put in and {len(chosen)} samples to edit")
        new = old.clone()
        for part, sample in zip(parts, chosen, strict=True):
            _same_width("rows to put in", part, old)
            if not repeated and len(part) != places.lengths[sample]:
                raise InputError(
                    f"sample {sample} has {places.lengths[sample]} rows here, and {len(part)} are to be put in"
                )
            mine = places.sample == sample
            source = part.to(old)
            new[mine] = source[places.token[mine]] if not repeated else source
        return new

    return replaced


def swap(order: Sequence[int]) -> EditRows:
    """Give sample i of the batch the rows of sample `order[i]`, which must have as many (interchange intervention)."""
    wanted = tuple(int(sample) for sample in order)

    def swapped(rows: Tensor, places: Places) -> Tensor:
        if len(wanted) != len(places.lengths):
            raise InputError(f"the order names {len(wanted)} samples, and the batch has {len(places.lengths)}")
        _chosen(wanted, places)
        for sample, source in enumerate(wanted):
            if places.lengths[sample] != places.lengths[source]:
                raise InputError(
                    f"sample {sample} has {places.lengths[sample]} rows and sample {source}, to be put in its place, "
                    f"{places.lengths[source]}; swap samples of equally many"
                )
        if len(rows) != sum(places.lengths):
            raise InputError(
                "the module runs several times, so that not all samples' rows are there at once; capture them with "
                'pool="tokens" and use replace_with'
            )
        first = torch.tensor([0, *places.lengths]).cumsum(0)[torch.tensor(wanted)].to(rows.device)
        return rows[first[places.sample] + places.token]

    return swapped


def _checked(what: str, value: Tensor, rank: int) -> Tensor:
    """A copy of the caller's tensor: nothing that happens to it later changes the edit."""
    axes = {1: "(feature,)", 2: "(row, feature)"}[rank]
    if value.ndim != rank or not value.numel():
        raise InputError(f"the {what} must be {axes}, and has shape {tuple(value.shape)}")
    if not value.isfinite().all():
        raise InputError(f"the {what} holds NaN or infinity")
    return value.detach().clone()


def _same_width(what: str, value: Tensor, rows: Tensor) -> None:
    if value.shape[-1] != rows.shape[-1]:
        raise InputError(f"the {what} has {value.shape[-1]} features, and the rows have {rows.shape[-1]}")


def _wide(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _chosen(samples: Sequence[int] | None, places: Places) -> list[int]:
    batch = len(places.lengths)
    chosen = list(range(batch)) if samples is None else [int(sample) for sample in samples]
    if strange := [sample for sample in chosen if not 0 <= sample < batch]:
        raise InputError(f"there is no sample {strange[0]} in a batch of {batch}; they count from 0")
    return chosen


def _where(samples: Sequence[int] | None, places: Places, old: Tensor, new: Tensor) -> Tensor:
    if samples is None:
        return new.to(old.dtype)
    chosen = torch.tensor(_chosen(samples, places), dtype=torch.int64, device=old.device)
    return torch.where(torch.isin(places.sample, chosen)[:, None], new.to(old.dtype), old)
