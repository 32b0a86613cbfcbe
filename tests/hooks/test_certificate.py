"""What a certificate says, and how several become one."""

from __future__ import annotations

import json

import pytest

from hooks.certificate import MODEL, Certificate, Check, Noise, certificate_table, merged, summary

PASS = Check("own image", "llm.0", "pass", 0.0, "its own")
FAIL = Check("own image", "llm.0", "fail", 0.5, "rows of sample 1 move when the pixels of sample 0 do")
IDLE = Check("raster order", "llm.0", "n/a", None, "mixed")


def of(*checks: Check, sites: tuple[str, ...] = ("llm.0",), **options) -> Certificate:
    return Certificate(checks, sites, **options)


def test_a_site_needs_a_passed_check_and_no_failed_one() -> None:
    assert of(PASS, IDLE).certified("llm.0")
    assert not of(PASS, FAIL).certified("llm.0")
    assert not of(IDLE).certified("llm.0")
    assert not of().certified("llm.0")
    assert not of(PASS, Check("null read", MODEL, "fail", 0.1, "another output")).certified("llm.0")
    assert not of(Check("null read", MODEL, "pass", 0.0, "the same")).certified("llm.0")


def test_nothing_checked_is_not_ok() -> None:
    assert not of(sites=()).ok
    assert not of(PASS, sites=("llm.0", "llm.1")).ok
    assert of(PASS).ok


def test_a_refusal_names_site_check_and_reason() -> None:
    refusal = of(PASS, FAIL).refusal("llm.0")
    assert refusal == "llm.0 failed the check 'own image': rows of sample 1 move when the pixels of sample 0 do"
    assert of(IDLE).refusal("llm.0") == "llm.0 passed no check, so nothing is known of it"
    assert of(PASS).refusal("llm.9") == "llm.9 was not checked"
    assert of(PASS).refusal("llm.0") is None


def test_through_json_and_back() -> None:
    certificate = of(
        PASS, FAIL, IDLE, noise={"llm.0": Noise(1e-6, None)}, model="M", versions={"torch": "2"}, seed=3, seconds=0.5
    )
    assert Certificate.from_dict(json.loads(json.dumps(certificate.to_dict(), allow_nan=False))) == certificate


@pytest.mark.parametrize("values", [{}, {"checks": [], "sites": []}, {"checks": [{}], "sites": [], "noise": {}}])
def test_what_is_no_certificate_is_refused(values: dict) -> None:
    with pytest.raises((KeyError, TypeError)):
        Certificate.from_dict(values)


def test_of_several_batches_the_worst_is_told() -> None:
    fine = of(PASS, IDLE, noise={"llm.0": Noise(1e-6, None)}, samples=2, seconds=1.0)
    other = of(FAIL, PASS, noise={"llm.0": Noise(1e-5, 0.1)}, samples=1, seconds=2.0, thorough=False)
    both = merged([fine, other])
    assert not both.ok
    assert FAIL in both.checks
    assert IDLE in both.checks
    assert PASS not in both.checks
    assert both.noise == {"llm.0": Noise(1e-5, 0.1)}
    assert (both.samples, both.seconds, both.thorough) == (3, 3.0, False)


def test_where_one_batch_can_tell_the_other_need_not() -> None:
    told = Check("raster order", "llm.0", "pass", 0.0, "in order")
    assert merged([of(IDLE), of(told)]).checks == (told,)


def test_the_table_shows_counts_failures_and_noise() -> None:
    checks = (PASS, FAIL, IDLE, Check("own image", "llm.1", "pass", 0.0, ""))
    table = certificate_table(of(*checks, sites=("llm.0", "llm.1"), noise={"llm.0": Noise(1.2e-6, None)}, model="M"))
    assert [line.split() for line in table.splitlines()[1:3]] == [
        ["own", "image", "2", "1", "-"],
        ["raster", "order", "-", "-", "1"],
    ]
    assert "failed: own image, llm.0: rows of sample 1 move when the pixels of sample 0 do" in table
    assert "not applicable: raster order, llm.0: mixed" in table
    assert "1.2e-06" in table
    assert table.splitlines()[-1].startswith("M, 0 samples: certified 1 of 2 sites")


def test_the_summary_is_one_line() -> None:
    assert summary(of(PASS, seconds=1.25)) == "certified 1 of 1 sites in 1.2 s"
    refused = summary(of(FAIL, sites=("llm.0", "llm.1"), seconds=0.0))
    assert refused.startswith("certified 0 of 2 sites in 0.0 s; llm.0 failed the check 'own image'")
    assert refused.endswith("(and 1 more)")
