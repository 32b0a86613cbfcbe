"""A certificate: what was claimed of a model's sites, checked again on that very model, and what came of it."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, Literal

Status = Literal["pass", "fail", "n/a"]
MODEL = "model"
"""The `site` of a check on the whole model."""


@dataclass(frozen=True)
class Check:
    """One claim about one site, and what came of checking it."""

    name: str
    site: str
    """A site's name, or "model" for what concerns all of them."""
    status: Status
    difference: float | None
    """What was measured, in the check's own terms (mostly a distance relative to the rows' size); None without."""
    reason: str
    """In words: what was found, or why the claim does not apply."""


@dataclass(frozen=True)
class Noise:
    """How far a site's rows are off for reasons that are not the image: the largest distance of a row from its like,
    relative to the mean row's size. None where it could not be measured."""

    batch: float | None = None
    """A sample alone against the same sample in its batch."""
    dtype: float | None = None
    """The model's own dtype against float32."""


@dataclass(frozen=True)
class Certificate:
    """The outcome of every check of a model's sites, by `hooks.certify`.

    A site is certified when it passed at least one check and neither it nor the model failed any.
    """

    checks: tuple[Check, ...]
    sites: tuple[str, ...]
    noise: Mapping[str, Noise] = field(default_factory=dict)
    model: str = ""
    """The model's class."""
    dtype: str = ""
    device: str = ""
    samples: int = 0
    """Samples in the batch, twins made for the purpose included."""
    thorough: bool = True
    """Whether every check was made, or the cheap ones only."""
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether there are sites, and every one of them is certified."""
        return bool(self.sites) and all(self.certified(site) for site in self.sites)

    def certified(self, site: str) -> bool:
        return self.refusal(site) is None

    def refusal(self, site: str) -> str | None:
        """Why a site is not certified, in one sentence; None where it is."""
        if site not in self.sites:
            return f"{site} was not checked"
        own = [check for check in self.checks if check.site in (site, MODEL)]
        for check in own:
            if check.status == "fail":
                return f"{site} failed the check {check.name!r}: {check.reason}"
        if not any(check.status == "pass" and check.site == site for check in own):
            return f"{site} passed no check, so nothing is known of it"
        return None

    def select(self, patterns: Sequence[str]) -> tuple[Check, ...]:
        """The checks whose name matches any of `patterns`."""
        return tuple(check for check in self.checks if any(fnmatch.fnmatch(check.name, p) for p in patterns))

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it; `from_dict` is the inverse."""
        return asdict(self) | {
            "checks": [asdict(check) for check in self.checks],
            "sites": list(self.sites),
            "noise": {site: asdict(noise) for site, noise in self.noise.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Certificate:
        """Raises KeyError or TypeError for what is no certificate."""
        return cls(
            **{
                **values,
                "checks": tuple(Check(**check) for check in values["checks"]),
                "sites": tuple(values["sites"]),
                "noise": {site: Noise(**noise) for site, noise in values["noise"].items()},
            }
        )


def merged(certificates: Sequence[Certificate]) -> Certificate:
    """One certificate of several batches on one model: the worst of every check, the largest of every noise."""
    first = certificates[0]
    grouped: dict[tuple[str, str], list[Check]] = {}
    for certificate in certificates:
        for check in certificate.checks:
            grouped.setdefault((check.name, check.site), []).append(check)
    rank = {"fail": 0, "pass": 1, "n/a": 2}
    # Batches repeat each other's checks: of equals, the one that differs most is told.
    worst = [min(same, key=lambda c: (rank[c.status], -(c.difference or 0.0))) for same in grouped.values()]
    sites = tuple(dict.fromkeys(site for certificate in certificates for site in certificate.sites))
    noise = {site: _largest([c.noise[site] for c in certificates if site in c.noise]) for site in sites}
    return Certificate(
        tuple(worst),
        sites,
        noise,
        first.model,
        first.dtype,
        first.device,
        sum(certificate.samples for certificate in certificates),
        all(certificate.thorough for certificate in certificates),
        first.seed,
        first.versions,
        first.created,
        round(sum(certificate.seconds for certificate in certificates), 2),
    )


def _largest(found: Sequence[Noise]) -> Noise:
    def most(values: Iterable[float | None]) -> float | None:
        return max((value for value in values if value is not None), default=None)

    return Noise(most(noise.batch for noise in found), most(noise.dtype for noise in found))


def summary(certificate: Certificate) -> str:
    """One line: how many sites are certified, and what the first that is not lacks."""
    refused = [reason for site in certificate.sites if (reason := certificate.refusal(site))]
    count = len(certificate.sites) - len(refused)
    line = f"certified {count} of {len(certificate.sites)} sites in {certificate.seconds:.1f} s"
    return line + (f"; {refused[0]}" + (f" (and {len(refused) - 1} more)" if refused[1:] else "") if refused else "")


def certificate_table(certificate: Certificate) -> str:
    """A certificate for a reader: counts of each check, what failed or does not apply and why, and the noise floor."""
    names = list(dict.fromkeys(check.name for check in certificate.checks))
    counts = Counter((check.name, check.status) for check in certificate.checks)
    rows = [("check", "pass", "fail", "n/a")]
    rows += [(name, *(str(counts[name, status] or "-") for status in ("pass", "fail", "n/a"))) for name in names]
    lines = [*_columns(rows), ""]
    lines += [f"failed: {line}" for line in _grouped(certificate, "fail")]
    lines += [f"not applicable: {line}" for line in _grouped(certificate, "n/a")]
    noise = [
        (site, _number(certificate.noise[site].batch), _number(certificate.noise[site].dtype))
        for site in certificate.sites
        if site in certificate.noise
    ]
    if noise:
        lines += ["", *_columns([("noise floor", "alone in a batch", f"{certificate.dtype} in float32"), *noise])]
    verdict = "every site is certified" if certificate.ok else summary(certificate)
    return "\n".join([*lines, "", f"{certificate.model}, {certificate.samples} samples: {verdict}"])


def _grouped(certificate: Certificate, status: Status) -> list[str]:
    """Checks of one status with one reason on one line, sites in a row by their ends."""
    found = [check for check in certificate.checks if check.status == status]
    found.sort(key=lambda check: (check.name, check.reason))
    lines = []
    for (name, reason), same in groupby(found, key=lambda check: (check.name, check.reason)):
        sites = [check.site for check in same]
        where = ", ".join(sites) if len(sites) < 4 else f"{sites[0]} ... {sites[-1]} ({len(sites)})"
        lines.append(f"{name}, {where}: {reason}")
    return lines


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"
