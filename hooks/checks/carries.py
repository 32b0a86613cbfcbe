"""Does the image get on through a site? What stood there is put back into a forward on other pixels."""

from __future__ import annotations

from torch import Tensor

from hooks.certificate import Check
from hooks.checks.case import BLIND, Case, apart, check, run
from hooks.checks.entry import replaced
from hooks.sites import Site

NAME = "carries the image"


def carries_image(case: Case) -> list[Check]:
    """The image reaches the projected rows through `encoder.final`, and the last block of the language model through
    the projected rows: with what was there put back, other pixels change nothing behind it."""
    llm = [site.name for site in case.sites.values() if site.stage == "llm" and site.layer is not None]
    ways = [("encoder.final", "projector"), *(("projector", name) for name in llm[-1:])]
    return [_carries(case, here, there) for here, there in ways if here in case.sites and there in case.sites]


def _carries(case: Case, here: str, there: str) -> Check:
    site = case.sites[here]
    before, changed = case.base[there], case.other[there]
    stood = _values(case, site)
    with replaced(case.model, site, lambda value, call: stood[call]):
        back = case.rows(case.other_inputs)[there]
    whole = max(apart(a, b) for a, b in zip(changed, before, strict=True))
    rest = max(apart(a, b) for a, b in zip(back, before, strict=True))
    if rest <= max(BLIND, 0.01 * case.slack):
        return check(NAME, here, True, rest, f"the image reaches {there} through it")
    if max(apart(a, b) for a, b in zip(back, changed, strict=True)) <= BLIND * whole:
        return check(NAME, here, False, rest, f"{there} is the same whatever stands there")
    return check(NAME, here, "n/a", rest, f"the image reaches {there} in other ways too")


def _values(case: Case, site: Site) -> list[Tensor]:
    """What stands at a site, once per call of its module that the site reads."""
    found: list[Tensor] = []

    def keep(value: Tensor, call: int) -> Tensor:
        found.append(value.detach().clone())
        return value

    with replaced(case.model, site, keep):
        run(case.model, case.inputs)
    return found
