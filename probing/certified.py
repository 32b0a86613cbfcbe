"""Which sites of a store are certified: checked, on the model they were read from, to be what their names say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from commandline import InputError
from extract import Store
from hooks.certificate import Certificate


def certificate_of(store: Store) -> Certificate | None:
    """The certificate that was written at extraction; None without. Raises InputError for one that cannot be read."""
    found = store.attrs.get("certificate")
    if found is None:
        return None
    try:
        return Certificate.from_dict(found)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{store.path}: its certificate cannot be read ({error!r}); extract it again") from error


def uncertified(store: Store, sites: Sequence[str], allow: bool) -> dict[str, str]:
    """The sites that are not certified, each with the reason.

    Raises:
        InputError: there are some, and `allow` is false.
    """
    certificate = certificate_of(store)
    if certificate is None:
        reasons = dict.fromkeys(sites, "the store was made without a certificate")
    else:
        reasons = {site: reason for site in sites if (reason := certificate.refusal(site)) is not None}
    if reasons and not allow:
        site, reason = next(iter(reasons.items()))
        others = f" (and {len(reasons) - 1} more sites)" if len(reasons) > 1 else ""
        raise InputError(
            f"{store.path}: {site} is not certified{others}: {reason}. Extract it with --certify true, choose other "
            "--sites, or probe it all the same with --allow_uncertified true"
        )
    return reasons


def overview(store: Store) -> dict[str, Any] | None:
    """What a report says of a store's certificate: outcomes by check, what failed or could not apply and why, the noise
    floor of each site."""
    certificate = certificate_of(store)
    if certificate is None:
        return None
    statuses = ("pass", "fail", "n/a")
    names = list(dict.fromkeys(check.name for check in certificate.checks))
    counts = Counter((check.name, check.status) for check in certificate.checks)
    return {
        "sites": len(certificate.sites),
        "certified": sum(certificate.certified(site) for site in certificate.sites),
        "checks": [{"check": name} | {status: counts[name, status] for status in statuses} for name in names],
        "not_passed": [
            {"check": check.name, "site": check.site, "status": check.status, "reason": check.reason}
            for check in certificate.checks
            if check.status != "pass"
        ],
        "noise": {site: {"batch": noise.batch, "dtype": noise.dtype} for site, noise in certificate.noise.items()},
        "model": certificate.model,
        "dtype": certificate.dtype,
        "thorough": certificate.thorough,
        "samples": certificate.samples,
        "created": certificate.created,
        "versions": dict(certificate.versions),
    }
